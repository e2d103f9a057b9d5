//! `pyro workspace snapshot`.

use crate::human::{ago, size, table};
use crate::input;
use crate::printer::Printer;
use anyhow::Result;
use clap::Subcommand;
use pyro::PyroError;
use pyro::workspace::{SnapshotInfo, SnapshotList, SnapshotName, WorkspaceId};

/// Take, list and delete snapshots, which `pyro workspace reset` goes back to
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take a snapshot of the whole disk, of a running workspace or a stopped one
    Create {
        /// Workspace, as shown by `pyro workspace list`
        #[arg(value_name = "ID", value_parser = input::workspace_id)]
        id: WorkspaceId,
        /// Name: letters, digits, `.`, `_` and `-`
        name: String,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Show the snapshots of a workspace, `baseline` first
    List {
        /// Workspace, as shown by `pyro workspace list`
        #[arg(value_name = "ID", value_parser = input::workspace_id)]
        id: WorkspaceId,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Delete a snapshot; `baseline` stays
    Delete {
        /// Workspace, as shown by `pyro workspace list`
        #[arg(value_name = "ID", value_parser = input::workspace_id)]
        id: WorkspaceId,
        /// Name, as shown by `pyro workspace snapshot list`
        name: String,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
}

impl Arguments {
    pub fn json(&self) -> bool {
        match self.command {
            Command::Create { json, .. } | Command::List { json, .. } | Command::Delete { json, .. } => json,
        }
    }
}

pub async fn run(arguments: Arguments, printer: Printer) -> Result<u8> {
    match arguments.command {
        Command::Create { id, name, .. } => {
            let name = SnapshotName::parse(&name).map_err(PyroError::from)?;
            let created = super::pyro()?.create_snapshot(&id, &name).await?;
            printer.data(&created, |info| {
                format!("{} is taken ({} on the host)\n", info.snapshot_name, size(info.disk_bytes))
            })?;
        }
        Command::List { id, .. } => {
            let list = super::pyro()?.list_snapshots(&id).await?;
            printer.data(&list, list_text)?;
        }
        Command::Delete { id, name, .. } => {
            let name = SnapshotName::parse(&name).map_err(PyroError::from)?;
            let deleted = super::pyro()?.delete_snapshot(&id, &name).await?;
            printer.data(&deleted, |deleted| format!("{} is deleted\n", deleted.snapshot_name))?;
        }
    }
    Ok(0)
}

fn list_text(list: &SnapshotList) -> String {
    if list.snapshots.is_empty() {
        return "no snapshots\n".to_owned();
    }
    let rows: Vec<_> = list.snapshots.iter().map(row).collect();
    table(["NAME", "TAKEN", "ON THE HOST"], &rows)
}

fn row(info: &SnapshotInfo) -> [String; 3] {
    [info.snapshot_name.clone(), ago(info.created_at.as_second()), size(info.disk_bytes)]
}
