//! `pyro workspace reset`.

use crate::human::duration;
use crate::input;
use crate::printer::Printer;
use anyhow::Result;
use pyro::PyroError;
use pyro::workspace::{SnapshotName, WorkspaceId, WorkspaceResetResult};

/// Recreate the whole machine from the baseline or a snapshot: the normal way to try again
///
/// Everything outside the snapshot is gone: files, also outside /workspace, processes and the journal. Id, name, labels and
/// snapshots stay, and `diff` still compares with the baseline.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Workspace, as shown by `pyro workspace list`
    #[arg(value_name = "ID", value_parser = input::workspace_id)]
    id: WorkspaceId,
    /// Snapshot to go back to
    #[arg(long, value_name = "NAME", default_value = SnapshotName::BASELINE)]
    snapshot: String,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

pub async fn run(arguments: Arguments, printer: Printer) -> Result<u8> {
    let snapshot = SnapshotName::parse(&arguments.snapshot).map_err(PyroError::from)?;
    let result = super::pyro()?.reset_workspace(&arguments.id, &snapshot).await?;
    printer.data(&result, text)?;
    Ok(0)
}

fn text(result: &WorkspaceResetResult) -> String {
    let WorkspaceResetResult { status, workspace_reset } = result;
    format!(
        "{} is {}, as it was in the snapshot {} (reset number {}, in {})\n",
        status.workspace_id,
        status.state.as_str(),
        workspace_reset.snapshot_name,
        status.reset_count,
        duration(workspace_reset.duration_ms)
    )
}
