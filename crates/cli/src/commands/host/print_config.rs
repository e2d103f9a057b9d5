//! `pyro host print-config`.

use super::server::Server;
use crate::human::visible;
use crate::printer::{Printer, write_out};
use anyhow::Result;
use pyro_hosts::{Host, Written};
use serde::Serialize;
use std::path::PathBuf;

/// Print the entry of a chat host, or write it to a file
///
/// JSON as in OpenCode's opencode.json and a .mcp.json of Claude Code, TOML as in Codex's config.toml. The host need not be
/// installed.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Chat host: claude-code, codex or opencode
    host: Host,
    #[command(flatten)]
    server: Server,
    /// Write it to this file, which keeps everything else that it has
    #[arg(long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Entry {
    host: Host,
    config: String,
}

pub fn run(arguments: &Arguments, printer: Printer) -> Result<u8> {
    let host = arguments.host;
    let registration = arguments.server.registration()?;
    if let Some(path) = &arguments.output {
        printer.data(&pyro_hosts::write(host, &registration, path)?, written_text)?;
        return Ok(0);
    }
    let config = pyro_hosts::render(host, &registration)?;
    if printer.json() {
        printer.data(&Entry { host, config }, |entry| entry.config.clone())?;
    } else {
        write_out(&config)?;
    }
    Ok(0)
}

fn written_text(written: &Written) -> String {
    let path = |path: &PathBuf| visible(&path.display().to_string());
    let done = if written.changed { "is now" } else { "is already" };
    let mut lines = vec![format!("the entry {done} in {}", path(&written.output_path))];
    lines.extend(written.backup_path.iter().map(|backup| format!("backup:   {}", path(backup))));
    lines.join("\n") + "\n"
}
