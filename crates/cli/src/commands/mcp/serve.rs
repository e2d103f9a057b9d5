//! `pyro mcp serve`.

use crate::printer::talk;
use crate::server_options::ServerOptions;
use crate::settings;
use anyhow::{Context, Result};
use pyro::EnvVars;
use pyro_mcp::{HttpListener, Server, create_server, serve_stdio};

/// Serve MCP on standard input and output, until the client goes away
///
/// Chat hosts start this themselves: `pyro host connect` tells them how. Started in a Git checkout, workspaces begin with the
/// files that Git tracks in it.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    options: ServerOptions,
    /// Serve streamable HTTP at this port of 127.0.0.1 instead, or at a free one for 0, to any number of clients. They need the
    /// bearer token in PYRO_MCP_TOKEN; without one, one is made and shown
    #[arg(long, value_name = "PORT")]
    http_port: Option<u16>,
}

pub async fn run(arguments: Arguments) -> Result<u8> {
    let pyro = settings::pyro("mcp")?;
    let cwd = std::env::current_dir().context("the working directory cannot be told")?;
    let server = create_server(pyro, arguments.options.into_settings(), &cwd).await?;
    // A chat host shows this in its log.
    talk(&format!("[mcp] project: {}", server.project_report().describe()));
    if let Some(port) = arguments.http_port {
        return serve_http(server, port).await;
    }
    serve_stdio(server).await?;
    Ok(0)
}

async fn serve_http(server: Server, port: u16) -> Result<u8> {
    let given = std::env::var_os(EnvVars::PYRO_MCP_TOKEN).filter(|token| !token.is_empty());
    let is_made = given.is_none();
    let listener = HttpListener::bind(port, given).await?;
    talk(&format!("[mcp] url={}", listener.url()));
    if is_made {
        talk(&format!("[mcp] token={}", listener.token()));
    }
    match listener.serve(server).await {}
}
