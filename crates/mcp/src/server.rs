//! The server.

use crate::Exposure;
use pyro::{DEFAULT_ENVIRONMENT, Pyro};
use rmcp::ServerHandler;
use rmcp::model::{Implementation, ServerCapabilities, ServerConfig};

/// What a server offers.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Which tools.
    pub exposure: Exposure,
    /// Environment of workspaces for which none is named.
    pub environment: String,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self { exposure: Exposure::default(), environment: DEFAULT_ENVIRONMENT.to_owned() }
    }
}

/// An MCP server over the SDK.
#[derive(Clone)]
pub struct Server {
    pub(crate) pyro: Pyro,
    pub(crate) settings: ServerSettings,
}

/// A server over `pyro`.
pub fn create_server(pyro: Pyro, settings: ServerSettings) -> Server {
    Server { pyro, settings }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().build();
        ServerConfig::new(capabilities).with_server_info(Implementation::new("pyro", env!("CARGO_PKG_VERSION")))
    }
}
