//! What a guest's network did, for people and programs.

use jiff::Timestamp;
use pyro_net::{
    EventKind, GATEWAY_V4, GATEWAY_V6, GUEST_V4, GUEST_V6, MTU, NetCounters, NetEvent, PREFIX_V4, PREFIX_V6,
    Protocol,
};
use pyro_protocol::TUNNEL_INTERFACE;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A guest's network, as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NetworkState {
    /// Whoever works in the guest has removed its interface.
    pub(crate) has_ended: bool,
    pub(crate) has_ipv6: bool,
    pub(crate) counters: NetCounters,
}

/// An interface of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NetworkInterface {
    /// Its name in the guest.
    pub name: &'static str,
    /// Its addresses, with the lengths of their prefixes. They mean something in the guest only.
    pub addresses: Vec<String>,
    /// The default routes.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub gateways: Vec<IpAddr>,
    /// Who answers names.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub resolver: IpAddr,
    /// Largest packet, in bytes.
    pub mtu: usize,
}

impl NetworkState {
    /// The guest's interface, while it has one.
    pub(crate) fn interface(self) -> Option<NetworkInterface> {
        if self.has_ended {
            return None;
        }
        let v4 = (format!("{GUEST_V4}/{PREFIX_V4}"), IpAddr::from(GATEWAY_V4));
        let v6 = self.has_ipv6.then(|| (format!("{GUEST_V6}/{PREFIX_V6}"), IpAddr::from(GATEWAY_V6)));
        let (addresses, gateways) = std::iter::once(v4).chain(v6).unzip();
        Some(NetworkInterface {
            name: TUNNEL_INTERFACE,
            addresses,
            gateways,
            resolver: GATEWAY_V4.into(),
            mtu: MTU,
        })
    }
}

/// A destination that a guest was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RefusedDestination {
    /// The name that was meant, where it is known, or the address.
    pub destination: String,
    /// The port; none for names that were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// By which protocol.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub protocol: Protocol,
    /// Why.
    pub reason: String,
    /// How often.
    pub count: u64,
    /// When last.
    pub last_at: Timestamp,
}

impl RefusedDestination {
    /// It, with its port.
    pub fn place(&self) -> String {
        match self.port {
            Some(port) if self.destination.contains(':') => format!("[{}]:{port}", self.destination),
            Some(port) => format!("{}:{port}", self.destination),
            None => self.destination.clone(),
        }
    }
}

/// It tells of a refusal by policy or for a limit; that the world did not answer is another matter.
pub(crate) fn is_refusal(kind: EventKind) -> bool {
    match kind {
        EventKind::Refused { reason } | EventKind::DnsRefused { reason } => reason.is_by_policy(),
        EventKind::Limit { .. } => true,
        _ => false,
    }
}

/// What was refused by policy or for a limit, told once each, what was refused last first.
pub(crate) fn refused(events: &[NetEvent]) -> Vec<RefusedDestination> {
    let mut refused: Vec<RefusedDestination> = Vec::new();
    for event in events.iter().rev() {
        let (reason, count) = match event.kind {
            EventKind::Refused { reason } | EventKind::DnsRefused { reason } if reason.is_by_policy() => {
                (reason.to_string(), 1)
            }
            EventKind::Limit { limit, count } => (limit.to_string(), count),
            _ => continue,
        };
        let destination = match (&event.name, event.address) {
            (Some(name), _) => name.to_string(),
            (None, Some(address)) => address.to_string(),
            (None, None) => "any".to_owned(),
        };
        let (port, protocol, last_at) = (event.port, event.protocol, event.at);
        let new = RefusedDestination { destination, port, protocol, reason, count, last_at };
        let is_same = |known: &&mut RefusedDestination| {
            (&known.destination, known.port, known.protocol, &known.reason)
                == (&new.destination, new.port, new.protocol, &new.reason)
        };
        match refused.iter_mut().find(is_same) {
            Some(known) => known.count += count,
            None => refused.push(new),
        }
    }
    refused
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyro_net::{Limit, RangeKind, Refusal};

    fn event(second: i64, kind: EventKind, name: Option<&str>) -> NetEvent {
        NetEvent {
            at: Timestamp::from_second(second).unwrap(),
            kind,
            protocol: Protocol::Tcp,
            address: Some([10, 0, 0, 1].into()),
            port: Some(80),
            name: name.map(|name| name.parse().unwrap()),
            bytes_sent: 0,
            bytes_received: 0,
        }
    }

    #[test]
    fn each_is_told_once_with_the_last_one_first() {
        let range = EventKind::Refused { reason: Refusal::Range { range: RangeKind::Private } };
        let events = [
            event(1, range, None),
            event(2, EventKind::Connected, None),
            event(3, range, None),
            event(4, EventKind::Refused { reason: Refusal::HostRefused }, None),
            event(5, EventKind::Refused { reason: Refusal::NotAllowed }, Some("example.org")),
            event(6, EventKind::Limit { limit: Limit::TcpFlows, count: 7 }, None),
        ];
        let refused = refused(&events);
        let told: Vec<_> = refused.iter().map(|it| (it.place(), it.count, it.last_at.as_second())).collect();
        let expected = [("10.0.0.1:80", 7, 6), ("example.org:80", 1, 5), ("10.0.0.1:80", 2, 3)];
        assert_eq!(told, expected.map(|(place, count, at)| (place.to_owned(), count, at)));
        assert_eq!(refused[1].reason, "its name is not allowed");
    }
}
