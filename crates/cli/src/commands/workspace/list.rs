//! `pyro workspace list`.

use super::status::labels;
use crate::human::{ago, table, until, visible};
use crate::printer::Printer;
use anyhow::Result;
use pyro::workspace::{WorkspaceList, WorkspaceListEntry};

/// Show all workspaces, the most recently active one first
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

pub async fn run(printer: Printer) -> Result<u8> {
    let list = super::pyro()?.list_workspaces().await?;
    printer.data(&list, text)?;
    Ok(0)
}

fn text(list: &WorkspaceList) -> String {
    if list.workspaces.is_empty() {
        return "no workspaces\n".to_owned();
    }
    let headings = ["ID", "STATE", "NAME", "ENVIRONMENT", "EXPIRES", "LAST ACTIVITY", "LABELS"];
    let rows: Vec<_> = list.workspaces.iter().map(row).collect();
    table(headings, &rows)
}

fn row(entry: &WorkspaceListEntry) -> [String; 7] {
    [
        entry.workspace_id.to_string(),
        entry.state.as_str().to_owned(),
        entry.name.as_deref().map_or_else(|| "-".to_owned(), visible),
        entry.environment.clone(),
        until(entry.expires_at.as_second()),
        ago(entry.last_activity_at.as_second()),
        labels(&entry.labels),
    ]
}
