//! `pyro workspace sync`.

use crate::human::{count, size, visible};
use crate::input;
use crate::printer::Printer;
use anyhow::Result;
use clap::Subcommand;
use pyro::PyroError;
use pyro::workspace::{WorkspaceId, WorkspacePath, WorkspaceSync, WorkspaceSyncRequest};
use std::path::PathBuf;

/// Bring files of the host into a workspace
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Import a directory or archive into a running workspace
    ///
    /// Files of the same names are replaced, others stay. What fails midway leaves part of it behind: `pyro workspace
    /// reset` goes back to a clean state.
    Push {
        /// Workspace, as shown by `pyro workspace list`
        #[arg(value_name = "ID", value_parser = input::workspace_id)]
        id: WorkspaceId,
        /// Directory of the host, or .tar, .tar.gz or .tgz archive
        source: PathBuf,
        /// Directory of the workspace; made where it is missing
        #[arg(long, value_name = "PATH", default_value = "/workspace")]
        dest: String,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
}

impl Arguments {
    pub fn json(&self) -> bool {
        let Command::Push { json, .. } = self.command;
        json
    }
}

pub async fn run(arguments: Arguments, printer: Printer) -> Result<u8> {
    let Command::Push { id, source, dest, json: _ } = arguments.command;
    let dest = WorkspacePath::parse(&dest).map_err(PyroError::from)?;
    let request = WorkspaceSyncRequest { source_path: source, dest };
    let pushed = super::pyro()?.push_workspace_sync(&id, request).await?;
    printer.data(&pushed, text)?;
    Ok(0)
}

fn text(pushed: &WorkspaceSync) -> String {
    format!(
        "imported {} ({}, {}) into {}\n",
        visible(&pushed.source_path),
        count(pushed.entry_count, "entry", "entries"),
        size(pushed.bytes_written),
        visible(&pushed.destination)
    )
}
