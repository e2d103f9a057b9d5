//! `pyro workspace status`, and how a workspace reads in the results of other commands.

use crate::human::{self, ago, count, size, until, visible};
use crate::input;
use crate::printer::Printer;
use anyhow::Result;
use pyro::workspace::{Seed, SeedMode, WorkspaceId, WorkspaceStatus};
use pyro::{StartKind, WorkspaceState};
use std::collections::BTreeMap;

/// Show how a workspace stands
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Workspace, as shown by `pyro workspace list`
    #[arg(value_name = "ID", value_parser = input::workspace_id)]
    id: WorkspaceId,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

pub async fn run(arguments: Arguments, printer: Printer) -> Result<u8> {
    let status = super::pyro()?.status_workspace(&arguments.id).await?;
    printer.data(&status, text)?;
    Ok(0)
}

/// Everything that is known of a workspace, a line for each.
pub fn text(status: &WorkspaceStatus) -> String {
    let mut lines = vec![format!("workspace:   {}", status.workspace_id)];
    lines.extend(status.name.iter().map(|name| format!("name:        {}", visible(name))));
    if !status.labels.is_empty() {
        lines.push(format!("labels:      {}", labels(&status.labels)));
    }
    lines.extend([
        format!("environment: {}", status.environment),
        format!("state:       {}", standing(status.state, status.stop_reason.as_deref())),
    ]);
    lines.extend(
        status
            .guest_responsive
            .map(|answers| format!("guest:       {}", if answers { "answers" } else { "does not answer" })),
    );
    lines.extend([
        format!(
            "machine:     {}, {} MiB, network {}",
            count(status.vcpu_count, "virtual CPU", "virtual CPUs"),
            status.mem_mib,
            status.network_policy
        ),
        format!("engine:      {}", engine(status)),
        format!("created:     {:.0} ({})", status.created_at, ago(status.created_at.as_second())),
        format!("expires:     {}", expiry(status)),
        format!("activity:    {:.0} ({})", status.last_activity_at, ago(status.last_activity_at.as_second())),
        format!("seed:        {}", seed(&status.workspace_seed)),
        format!("commands:    {}", status.command_count),
        format!("snapshots:   {}", snapshots(&status.snapshots)),
        format!("resets:      {}", resets(status)),
    ]);
    if !status.secrets.is_empty() {
        let names: Vec<_> = status.secrets.iter().map(|secret| secret.name.as_str()).collect();
        lines.push(format!("secrets:     {}", names.join(", ")));
    }
    if status.service_count > 0 {
        lines
            .push(format!("services:    {}, {} running", status.service_count, status.running_service_count));
    }
    lines.extend(status.published_ports.iter().map(|port| format!("published:   {port}")));
    if !status.allow_hosts.is_empty() {
        lines.push(format!("allowed:     {}", human::list(&status.allow_hosts)));
    }
    if status.network_has_ended {
        lines.push(format!("network:     {}", human::NETWORK_HAS_ENDED));
    }
    lines.extend(status.refused_destinations.iter().map(|it| format!("refused:     {}", human::refused(it))));
    lines.join("\n") + "\n"
}

/// Where a workspace is in its life, with the reason where nobody asked for it.
pub fn standing(state: WorkspaceState, reason: Option<&str>) -> String {
    state.as_str().to_owned() + &because(reason)
}

/// When a workspace will be gone.
pub fn expiry(status: &WorkspaceStatus) -> String {
    format!("{:.0} ({})", status.expires_at, until(status.expires_at.as_second()))
}

/// How `/workspace` began.
pub fn seed(seed: &Seed) -> String {
    if seed.mode == SeedMode::Empty {
        return "empty".to_owned();
    }
    let from = seed.origin_ref.as_deref().or(seed.seed_path.as_deref()).unwrap_or("unknown");
    format!(
        "{}, {} from {}",
        count(seed.entry_count, "entry", "entries"),
        size(seed.bytes_written),
        visible(from)
    )
}

/// Labels as they are given.
pub fn labels(labels: &BTreeMap<String, String>) -> String {
    let shown = labels.iter().map(|(key, value)| visible(&format!("{key}={value}")));
    shown.collect::<Vec<_>>().join(" ")
}

fn engine(status: &WorkspaceStatus) -> String {
    let engine = status.engine.as_deref().unwrap_or("none");
    let start = match status.start {
        Some(StartKind::Warm) => ", started from a template",
        Some(StartKind::Cold) => ", started by booting its kernel",
        None => "",
    };
    let reason = status.cold_start_reason.as_deref().or(status.fallback_reason.as_deref());
    format!("{engine}, {}{start}{}", status.execution_mode, because(reason))
}

fn snapshots(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn resets(status: &WorkspaceStatus) -> String {
    match status.last_reset_at {
        Some(last) => {
            format!("{}, the last one {:.0} ({})", status.reset_count, last, ago(last.as_second()))
        }
        None => status.reset_count.to_string(),
    }
}

fn because(reason: Option<&str>) -> String {
    reason.map(|reason| format!(" ({})", visible(reason))).unwrap_or_default()
}
