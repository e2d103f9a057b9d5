//! The connection log: what was reached, what was refused and why, as events and as counters.
//!
//! Events are lossy and counters are not. A guest can cause events as fast as it sends packets, so they go through a token
//! bucket and a bounded channel that is never waited for; what did not fit is counted.

mod counters;
mod log;

pub(crate) use counters::count;
pub use counters::{CounterReader, NetCounters};
pub(crate) use log::{Log, Subject};

use crate::policy::{HostName, RangeKind};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What a guest did, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetEvent {
    /// When.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
    /// By which protocol.
    pub protocol: Protocol,
    /// The address the guest meant; none for DNS and for limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The port the guest meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The name that DNS has answered with that address, or that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<HostName>,
    /// Bytes of content from the guest, for connections that have ended.
    #[serde(default)]
    pub bytes_sent: u64,
    /// Bytes of content to the guest, for connections that have ended.
    #[serde(default)]
    pub bytes_received: u64,
}

/// By which protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// A TCP connection.
    Tcp,
    /// UDP datagrams between two ports.
    Udp,
    /// A question to the resolver.
    Dns,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventKind {
    /// The other end has accepted, or, for UDP, the first datagram went out.
    Connected,
    /// It was not reached.
    Refused {
        /// Why.
        #[serde(flatten)]
        reason: Refusal,
    },
    /// A connection has ended.
    Closed {
        /// How.
        end: End,
    },
    /// A name was answered, with this many addresses.
    DnsAnswered {
        /// How many; none when the name exists and has none.
        addresses: usize,
    },
    /// A name was not answered.
    DnsRefused {
        /// Why.
        #[serde(flatten)]
        reason: Refusal,
    },
    /// A limit was met, this often since it was last said.
    Limit {
        /// Which.
        limit: Limit,
        /// How many packets or connections it cost.
        count: u64,
    },
}

/// Why something was not reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Refusal {
    /// The address is in a refused range.
    Range {
        /// Which.
        range: RangeKind,
    },
    /// The name is not on the list, or the address was not answered for a name on it.
    NotAllowed,
    /// The name means the host itself.
    LocalName,
    /// The virtual address has no name any more.
    UnknownAddress,
    /// The network has no such service of its own.
    NoService,
    /// There is a proxy, and it carries TCP only.
    NotThroughProxy,
    /// The other host refused.
    HostRefused,
    /// The other host could not be reached, or did not answer in time.
    Unreachable,
    /// The proxy refused, with this status.
    ProxyRefused {
        /// Its HTTP status.
        status: u16,
    },
    /// The proxy could not be reached, or what it answered is no answer.
    ProxyFailed,
    /// The host is out of descriptors, ports or memory.
    HostExhausted,
    /// The resolver does not answer such questions.
    QueryType,
    /// The host's resolver did not answer.
    NoAnswer,
    /// There is no such name.
    NoSuchName,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Both sides closed.
    Closed,
    /// The guest reset it.
    GuestReset,
    /// The other host reset it.
    HostReset,
    /// Nothing was said for too long.
    Idle,
    /// The network ended.
    Stopped,
}

/// What there is a limited amount of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// TCP connections.
    TcpFlows,
    /// TCP connections being made.
    PendingConnects,
    /// UDP flows.
    UdpFlows,
    /// DNS queries by UDP.
    DnsQueries,
    /// Connections to the resolver.
    DnsConnections,
}
