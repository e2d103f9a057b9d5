//! `pyro host repair`.

use super::connected_text;
use super::server::Server;
use crate::printer::Printer;
use anyhow::Result;
use pyro_hosts::{Host, Surroundings};
use std::path::PathBuf;

/// Make a chat host start this pyro, where `pyro host doctor` says that it does not
///
/// An entry that is as it should be is left as it is. Flags that pyro was registered with are kept, unless others are given.
/// A file is copied to NAME.pyro-backup-TIMESTAMP before it is changed; one that is malformed is never touched.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Chat host: claude-code, codex or opencode
    host: Host,
    #[command(flatten)]
    server: Server,
    /// Configuration file of the host, if not the usual one: .claude.json, config.toml, or OpenCode's JSON
    #[arg(long, value_name = "PATH")]
    config_path: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

pub async fn run(arguments: Arguments, printer: Printer) -> Result<u8> {
    let expected = arguments.server.expected()?;
    let mut surroundings = Surroundings::from_env()?;
    if let Some(path) = &arguments.config_path {
        surroundings = surroundings.with_config_path_of(arguments.host, path)?;
    }
    let repaired = pyro_hosts::repair(&surroundings, arguments.host, &expected).await?;
    printer.data(&repaired, connected_text)?;
    Ok(0)
}
