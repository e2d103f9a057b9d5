//! `pyro workspace export`.

use crate::human::{count, size, visible};
use crate::input;
use crate::printer::Printer;
use anyhow::Result;
use pyro::PyroError;
use pyro::workspace::{WorkspaceExport, WorkspaceExportRequest, WorkspaceId, WorkspacePath};
use std::path::PathBuf;

/// Export one file or directory of a running workspace to the host
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Workspace, as shown by `pyro workspace list`
    #[arg(value_name = "ID", value_parser = input::workspace_id)]
    id: WorkspaceId,
    /// File or directory inside /workspace
    path: String,
    /// Path of the host that does not exist yet
    #[arg(long, value_name = "HOST_PATH")]
    output: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

pub async fn run(arguments: Arguments, printer: Printer) -> Result<u8> {
    let Arguments { id, path, output, json: _ } = arguments;
    let path = WorkspacePath::parse(&path).map_err(PyroError::from)?;
    let request = WorkspaceExportRequest { path, output_path: output };
    let exported = super::pyro()?.export_workspace(&id, request).await?;
    printer.data(&exported, text)?;
    Ok(0)
}

fn text(exported: &WorkspaceExport) -> String {
    format!(
        "exported the {} {} ({}, {}) to {}\n",
        exported.artifact_type,
        visible(&exported.path),
        count(exported.entry_count, "entry", "entries"),
        size(exported.bytes_written),
        visible(&exported.output_path)
    )
}
