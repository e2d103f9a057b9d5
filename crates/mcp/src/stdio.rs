//! MCP on standard input and output.

use crate::Server;
use rmcp::ServiceExt;
use rmcp::transport::stdio_pipes;

/// Why a server ended other than because its client went away.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The client did not begin as the protocol says.
    #[error("the client did not begin the session as MCP says")]
    Handshake(#[source] Box<rmcp::service::ServerInitializeError>),
    /// The task that serves has failed.
    #[error("the session broke off")]
    Task(#[source] tokio::task::JoinError),
}

/// Serves one client until it goes away.
pub async fn serve_stdio(server: Server) -> Result<(), ServeError> {
    let running =
        server.serve(stdio_pipes()).await.map_err(|error| ServeError::Handshake(Box::new(error)))?;
    running.waiting().await.map_err(ServeError::Task)?;
    Ok(())
}
