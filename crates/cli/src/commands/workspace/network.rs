//! `pyro workspace network`.

use crate::human::{self, count, size, visible};
use crate::input;
use crate::printer::Printer;
use anyhow::Result;
use pyro::network::{EventKind, NetCounters, NetEvent};
use pyro::workspace::{WorkspaceId, WorkspaceNetwork};

/// Events that people are shown; `--json` has all that are kept.
const SHOWN_EVENTS: usize = 20;

/// Show what a workspace may reach, what it has reached, and what it was refused
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
    let network = super::pyro()?.network_workspace(&arguments.id).await?;
    printer.data(&network, text)?;
    Ok(0)
}

fn text(network: &WorkspaceNetwork) -> String {
    let mut lines = vec![format!("policy:     {}", network.network_policy)];
    if !network.allow_hosts.is_empty() {
        lines.push(format!("allowed:    {}", human::list(&network.allow_hosts)));
    }
    for interface in &network.interfaces {
        let addresses = interface.addresses.join(", ");
        lines.push(format!("interface:  {}, {addresses}, resolver {}", interface.name, interface.resolver));
    }
    if network.has_ended {
        lines.push(format!("interface:  {}", human::NETWORK_HAS_ENDED));
    }
    lines.extend(network.counters.as_ref().map(counters));
    lines.extend(network.refused.iter().map(|refused| format!("refused:    {}", human::refused(refused))));
    let shown = &network.events[network.events.len().saturating_sub(SHOWN_EVENTS)..];
    lines.extend(shown.iter().map(event));
    lines.join("\n") + "\n"
}

fn counters(counters: &NetCounters) -> String {
    let lost = match counters.events_dropped {
        0 => String::new(),
        lost => format!("; {} not told of", count(lost, "event", "events")),
    };
    format!(
        "traffic:    {} sent, {} received; {} ({} open), {}, {}{lost}",
        size(counters.bytes_sent),
        size(counters.bytes_received),
        count(counters.tcp_connected, "connection", "connections"),
        counters.tcp_open,
        count(counters.udp_flows, "UDP flow", "UDP flows"),
        count(counters.dns_queries, "lookup", "lookups"),
    )
}

fn event(event: &NetEvent) -> String {
    let name = event.name.as_ref().map(ToString::to_string);
    let address = event.address.map(|address| match event.port {
        Some(port) => std::net::SocketAddr::new(address, port).to_string(),
        None => address.to_string(),
    });
    let place = match (name, address) {
        (Some(name), Some(address)) => format!("{name} ({address})"),
        (Some(place), None) | (None, Some(place)) => place,
        (None, None) => String::new(),
    };
    let what = match event.kind {
        EventKind::Connected => "connected".to_owned(),
        EventKind::Refused { reason } | EventKind::DnsRefused { reason } => format!("refused: {reason}"),
        EventKind::Closed { .. } => {
            format!("closed, {} sent, {} received", size(event.bytes_sent), size(event.bytes_received))
        }
        EventKind::DnsAnswered { addresses } => count(addresses as u64, "address", "addresses"),
        EventKind::Limit { limit, count } => format!("refused {count}: {limit}"),
    };
    let protocol = format!("{:?}", event.protocol).to_lowercase();
    format!("{:.0}  {protocol:<4} {} {what}", event.at, visible(&place))
}
