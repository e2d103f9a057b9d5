//! `pyro workspace update`.

use super::status;
use crate::input;
use crate::printer::Printer;
use anyhow::Result;
use pyro::workspace::{WorkspaceId, WorkspaceUpdate};

/// Change name and labels of a workspace; what is not mentioned stays
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Workspace, as shown by `pyro workspace list`
    #[arg(value_name = "ID", value_parser = input::workspace_id)]
    id: WorkspaceId,
    /// New name
    #[arg(long)]
    name: Option<String>,
    /// Take the name away
    #[arg(long)]
    clear_name: bool,
    /// Label to add or change; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = input::label)]
    labels: Vec<(String, String)>,
    /// Label to take away; may be given several times
    #[arg(long = "clear-label", value_name = "KEY")]
    clear_labels: Vec<String>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

pub async fn run(arguments: Arguments, printer: Printer) -> Result<u8> {
    let Arguments { id, name, clear_name, labels, clear_labels, json: _ } = arguments;
    let labels = labels.into_iter().collect();
    let update = WorkspaceUpdate { name, clear_name, labels, clear_labels };
    let updated = super::pyro()?.update_workspace(&id, update).await?;
    printer.data(&updated, status::text)?;
    Ok(0)
}
