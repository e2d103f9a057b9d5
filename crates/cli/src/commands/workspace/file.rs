//! `pyro workspace file`.

use crate::human::{size, visible};
use crate::input;
use crate::printer::{Printer, talk, write_out};
use anyhow::Result;
use clap::Subcommand;
use pyro::PyroError;
use pyro::workspace::{
    ArtifactType, DEFAULT_READ_BYTES, FileListEntry, WorkspaceFile, WorkspaceFileList, WorkspaceId,
    WorkspacePath,
};
use std::path::PathBuf;

/// List, read and write single files of a running workspace
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
    /// Write a text file, which takes the place of the old one at once
    ///
    /// Missing directories are made. What is replaced keeps its mode.
    Write(WriteArguments),
}

#[derive(Debug, clap::Args)]
struct ListArguments {
    /// Workspace, as shown by `pyro workspace list`
    #[arg(value_name = "ID", value_parser = input::workspace_id)]
    id: WorkspaceId,
    /// Path inside /workspace
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
    /// Path inside /workspace
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
struct WriteArguments {
    /// Workspace, as shown by `pyro workspace list`
    #[arg(value_name = "ID", value_parser = input::workspace_id)]
    id: WorkspaceId,
    /// Path inside /workspace
    path: String,
    #[command(flatten)]
    text: TextArguments,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct TextArguments {
    /// The text itself
    #[arg(long, allow_hyphen_values = true)]
    text: Option<String>,
    /// File of the host that holds the text; `-` is standard input
    #[arg(long, value_name = "HOST_PATH")]
    text_file: Option<PathBuf>,
}

impl Arguments {
    pub fn json(&self) -> bool {
        match &self.command {
            Command::List(arguments) => arguments.json,
            Command::Read(arguments) => arguments.json,
            Command::Write(arguments) => arguments.json,
        }
    }
}

pub async fn run(arguments: Arguments, printer: Printer) -> Result<u8> {
    match arguments.command {
        Command::List(arguments) => list(&arguments, printer).await,
        Command::Read(arguments) => read(&arguments, printer).await,
        Command::Write(arguments) => write(arguments, printer).await,
    }
}

async fn list(arguments: &ListArguments, printer: Printer) -> Result<u8> {
    let path = WorkspacePath::parse(&arguments.path).map_err(PyroError::from)?;
    let listed = super::pyro()?.list_workspace_files(&arguments.id, &path, arguments.recursive).await?;
    printer.data(&listed, list_text)?;
    Ok(0)
}

async fn read(arguments: &ReadArguments, printer: Printer) -> Result<u8> {
    let path = WorkspacePath::parse(&arguments.path).map_err(PyroError::from)?;
    let file = super::pyro()?.read_workspace_file(&arguments.id, &path, arguments.max_bytes).await?;
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

async fn write(arguments: WriteArguments, printer: Printer) -> Result<u8> {
    let WriteArguments { id, path, text, json: _ } = arguments;
    let path = WorkspacePath::parse(&path).map_err(PyroError::from)?;
    let text = input::text_or_file(text.text, text.text_file, "the text").await?;
    let written = super::pyro()?.write_workspace_file(&id, &path, &text).await?;
    printer.data(&written, |written| {
        format!("wrote {} ({})\n", visible(&written.path), size(written.size_bytes))
    })?;
    Ok(0)
}

pub(super) fn list_text(listed: &WorkspaceFileList) -> String {
    listed.entries.iter().map(entry_line).collect()
}

fn entry_line(entry: &FileListEntry) -> String {
    let size = match entry.artifact_type {
        ArtifactType::File => entry.size_bytes.to_string(),
        _ => "-".to_owned(),
    };
    let target = entry.link_target.as_deref().map(|target| format!(" -> {}", visible(target)));
    format!(
        "{:9}  {size:>10}  {}{}\n",
        entry.artifact_type.as_str(),
        visible(&entry.path),
        target.unwrap_or_default()
    )
}

/// The content, and the end of its last line where that is missing.
pub(super) fn content_text(file: &WorkspaceFile) -> String {
    let end = if file.content.is_empty() || file.content.ends_with('\n') { "" } else { "\n" };
    format!("{}{end}", file.content)
}

pub(super) fn about(file: &WorkspaceFile) -> String {
    let WorkspaceFile { path, size_bytes, max_bytes, truncated, .. } = file;
    let truncated = if *truncated { format!(" truncated=true max_bytes={max_bytes}") } else { String::new() };
    format!("[file] path={} size_bytes={size_bytes}{truncated}", visible(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_name_their_type_size_and_target() {
        let cases = [
            (ArtifactType::File, "a", None, "file               12  a\n"),
            (ArtifactType::Directory, "d", None, "directory           -  d\n"),
            (ArtifactType::Symlink, "l", Some("\x1b[2J"), "symlink             -  l -> \\u{1b}[2J\n"),
        ];
        for (artifact_type, path, target, expected) in cases {
            let (path, link_target) = (path.to_owned(), target.map(ToOwned::to_owned));
            assert_eq!(
                entry_line(&FileListEntry { path, artifact_type, size_bytes: 12, link_target }),
                expected
            );
        }
    }
}
