//! `pyro mcp`.

mod serve;

use anyhow::Result;
use clap::Subcommand;

/// Serve the tools of pyro to chat hosts, over the Model Context Protocol
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Arguments),
}

pub async fn run(arguments: Arguments) -> Result<u8> {
    match arguments.command {
        Command::Serve(arguments) => serve::run(arguments).await,
    }
}
