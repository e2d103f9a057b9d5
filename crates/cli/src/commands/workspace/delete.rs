//! `pyro workspace delete`.

use crate::input;
use crate::printer::Printer;
use anyhow::Result;
use pyro::workspace::WorkspaceId;

/// Delete a workspace with everything it has: disk, snapshots and journal
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Workspace, as shown by `pyro workspace list`
    #[arg(value_name = "ID", value_parser = input::workspace_id)]
    id: WorkspaceId,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

pub async fn run(arguments: Arguments, printer: Printer) -> Result<u8> {
    let deleted = super::pyro()?.delete_workspace(&arguments.id).await?;
    printer.data(&deleted, |deleted| format!("{} is deleted\n", deleted.workspace_id))?;
    Ok(0)
}
