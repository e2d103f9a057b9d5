//! `pyro mcp serve`.

use crate::server_options::ServerOptions;
use crate::settings;
use anyhow::Result;

/// Serve MCP on standard input and output, until the client goes away
///
/// Chat hosts start this themselves: `pyro host connect` tells them how. Started in a Git checkout, workspaces begin with its
/// tracked files.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    options: ServerOptions,
}

pub async fn run(arguments: Arguments) -> Result<u8> {
    let pyro = settings::pyro("mcp")?;
    let server = pyro_mcp::create_server(pyro, arguments.options.into_settings());
    pyro_mcp::serve_stdio(server).await?;
    Ok(0)
}
