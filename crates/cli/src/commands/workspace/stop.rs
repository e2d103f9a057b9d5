//! `pyro workspace stop`.

use super::status::standing;
use crate::input;
use crate::printer::Printer;
use anyhow::Result;
use pyro::workspace::WorkspaceId;

/// Stop a running workspace; its disk, snapshots and journal stay
///
/// Its processes end, and what they wrote is flushed to the disk. Its time to live goes on.
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
    let status = super::pyro()?.stop_workspace(&arguments.id).await?;
    printer.data(&status, |status| {
        format!("{} is {}\n", status.workspace_id, standing(status.state, status.stop_reason.as_deref()))
    })?;
    Ok(0)
}
