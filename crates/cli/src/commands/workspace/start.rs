//! `pyro workspace start`.

use super::status::standing;
use crate::input;
use crate::printer::Printer;
use anyhow::Result;
use pyro::workspace::WorkspaceId;

/// Start a stopped workspace again, from its disk
///
/// A workspace that runs is left as it is.
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
    let status = super::pyro()?.start_workspace(&arguments.id).await?;
    printer.data(&status, |status| {
        format!("{} is {}\n", status.workspace_id, standing(status.state, status.stop_reason.as_deref()))
    })?;
    Ok(0)
}
