//! `pyro host connect`.

use super::connected_text;
use super::server::{Server, is_in_path};
use crate::human::visible;
use crate::printer::{Printer, talk};
use anyhow::Result;
use pyro_hosts::{Host, Surroundings};

/// Register pyro with a chat host, in the place of an older entry
///
/// Claude Code and Codex are registered with by their own `mcp` commands, for all projects; OpenCode by its configuration
/// file. A file is copied to NAME.pyro-backup-TIMESTAMP before it is changed, and its other entries stay as they are.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Chat host: claude-code, codex or opencode
    host: Host,
    #[command(flatten)]
    server: Server,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

pub async fn run(arguments: Arguments, printer: Printer) -> Result<u8> {
    let registration = arguments.server.registration()?;
    let project = arguments.server.project().await?;
    let surroundings = Surroundings::from_env()?;
    let connected = pyro_hosts::connect(&surroundings, arguments.host, &registration).await?;
    if let Some(program) = registration.command.first().filter(|program| !is_in_path(program)) {
        talk(&format!("note: there is no `{}` in PATH; the host needs one", program.to_string_lossy()));
    }
    talk(&format!("project here: {}", visible(&project.describe())));
    printer.data(&connected, connected_text)?;
    Ok(0)
}
