//! `pyro workspace patch`.

use crate::human::{count, visible};
use crate::input;
use crate::printer::Printer;
use anyhow::Result;
use clap::Subcommand;
use pyro::workspace::{WorkspaceId, WorkspacePatched};
use std::fmt::Write;
use std::path::PathBuf;

/// Edit a running workspace by unified diffs
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Apply a unified diff, whole or not at all
    ///
    /// Files are added, modified and deleted; paths are relative to /workspace. Renames, copies, changes of modes and binary
    /// patches are refused.
    Apply {
        /// Workspace, as shown by `pyro workspace list`
        #[arg(value_name = "ID", value_parser = input::workspace_id)]
        id: WorkspaceId,
        #[command(flatten)]
        patch: PatchArguments,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct PatchArguments {
    /// The patch itself
    #[arg(long, allow_hyphen_values = true)]
    patch: Option<String>,
    /// File of the host that holds the patch; `-` is standard input
    #[arg(long, value_name = "HOST_PATH")]
    patch_file: Option<PathBuf>,
}

impl Arguments {
    pub fn json(&self) -> bool {
        let Command::Apply { json, .. } = self.command;
        json
    }
}

pub async fn run(arguments: Arguments, printer: Printer) -> Result<u8> {
    let Command::Apply { id, patch, json: _ } = arguments.command;
    let patch = input::text_or_file(patch.patch, patch.patch_file, "the patch").await?;
    let patched = super::pyro()?.apply_workspace_patch(&id, &patch).await?;
    printer.data(&patched, text)?;
    Ok(0)
}

fn text(patched: &WorkspacePatched) -> String {
    let WorkspacePatched { total, added, modified, deleted, entries, .. } = patched;
    let mut text = format!(
        "patched {}: {added} added, {modified} modified, {deleted} deleted\n",
        count(*total as u64, "file", "files")
    );
    for entry in entries {
        // Writing to a String cannot fail.
        let _written = writeln!(text, "{:8}  {}", entry.status, visible(&entry.path));
    }
    text
}
