//! `pyro workspace disk`.

use super::file::{about, content_text, list_text};
use crate::human::{count, size, visible};
use crate::input;
use crate::printer::{Printer, talk, write_out};
use anyhow::Result;
use clap::Subcommand;
use pyro::PyroError;
use pyro::workspace::{DEFAULT_READ_BYTES, DiskPath, WorkspaceDiskExport, WorkspaceError, WorkspaceId};
use std::path::PathBuf;

/// Look at the disk of a stopped workspace, without starting it
///
/// The whole root is there, as the guest saw it, with nothing of what it had in memory: `/dev`, `/proc`, `/run` and `/sys` are
/// empty. Stop a workspace with `pyro workspace stop`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List a directory, or one file
    List(ListArguments),
    /// Print a text file
    Read(ReadArguments),
    /// Write the whole root to a new file of the host, as a raw ext4 file system
    ///
    /// Values of secrets are replaced in contents, targets of links and extended attributes; names stay as they are.
    Export(ExportArguments),
}

#[derive(Debug, clap::Args)]
struct ListArguments {
    /// Workspace, as shown by `pyro workspace list`
    #[arg(value_name = "ID", value_parser = input::workspace_id)]
    id: WorkspaceId,
    /// Absolute path, or one inside /workspace
    #[arg(default_value = "/workspace")]
    path: String,
    /// With everything below
    #[arg(long)]
    recursive: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct ReadArguments {
    /// Workspace, as shown by `pyro workspace list`
    #[arg(value_name = "ID", value_parser = input::workspace_id)]
    id: WorkspaceId,
    /// Absolute path, or one inside /workspace
    path: String,
    /// Read so many bytes at most, up to 1 MiB
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_READ_BYTES)]
    max_bytes: u64,
    /// Print exactly the content
    #[arg(long, conflicts_with = "json")]
    content_only: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct ExportArguments {
    /// Workspace, as shown by `pyro workspace list`
    #[arg(value_name = "ID", value_parser = input::workspace_id)]
    id: WorkspaceId,
    /// Path of the host that does not exist yet
    #[arg(long, value_name = "HOST_PATH")]
    output: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub fn json(&self) -> bool {
        match &self.command {
            Command::List(arguments) => arguments.json,
            Command::Read(arguments) => arguments.json,
            Command::Export(arguments) => arguments.json,
        }
    }
}

pub async fn run(arguments: Arguments, printer: Printer) -> Result<u8> {
    match arguments.command {
        Command::List(arguments) => list(&arguments, printer).await,
        Command::Read(arguments) => read(&arguments, printer).await,
        Command::Export(arguments) => export(&arguments, printer).await,
    }
}

async fn list(arguments: &ListArguments, printer: Printer) -> Result<u8> {
    let path = path(&arguments.path)?;
    let listed = super::pyro()?.list_workspace_disk(&arguments.id, &path, arguments.recursive).await?;
    printer.data(&listed, list_text)?;
    Ok(0)
}

async fn read(arguments: &ReadArguments, printer: Printer) -> Result<u8> {
    let path = path(&arguments.path)?;
    let file = super::pyro()?.read_workspace_disk(&arguments.id, &path, arguments.max_bytes).await?;
    if arguments.content_only {
        write_out(&file.content)?;
    } else {
        printer.data(&file, content_text)?;
    }
    if !printer.json() && (file.truncated || !arguments.content_only) {
        talk(&about(&file));
    }
    Ok(0)
}

async fn export(arguments: &ExportArguments, printer: Printer) -> Result<u8> {
    let exported = super::pyro()?.export_workspace_disk(&arguments.id, &arguments.output).await?;
    printer.data(&exported, exported_text)?;
    Ok(0)
}

fn exported_text(exported: &WorkspaceDiskExport) -> String {
    format!(
        "exported the disk ({}, {} of {}) to {}\n",
        count(exported.entry_count, "entry", "entries"),
        size(exported.allocated_bytes),
        size(exported.size_bytes),
        visible(&exported.output_path)
    )
}

fn path(text: &str) -> Result<DiskPath, PyroError> {
    Ok(DiskPath::parse(text).map_err(WorkspaceError::from)?)
}
