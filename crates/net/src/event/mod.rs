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
use std::fmt;
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

impl Refusal {
    /// It is the policy that refuses, not the world.
    pub fn is_by_policy(self) -> bool {
        match self {
            Self::Range { .. } | Self::NotAllowed | Self::LocalName | Self::NotThroughProxy => true,
            Self::UnknownAddress
            | Self::NoService
            | Self::HostRefused
            | Self::Unreachable
            | Self::ProxyRefused { .. }
            | Self::ProxyFailed
            | Self::HostExhausted
            | Self::QueryType
            | Self::NoAnswer
            | Self::NoSuchName => false,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range { range } => write!(formatter, "its address is refused: {range}"),
            Self::NotAllowed => formatter.write_str("its name is not allowed"),
            Self::LocalName => formatter.write_str("its name means the host itself"),
            Self::UnknownAddress => formatter.write_str("its address has no name any more"),
            Self::NoService => formatter.write_str("the network has no such service"),
            Self::NotThroughProxy => formatter.write_str("the host's proxy carries TCP only"),
            Self::HostRefused => formatter.write_str("the other host refused"),
            Self::Unreachable => formatter.write_str("the other host could not be reached"),
            Self::ProxyRefused { status } => {
                write!(formatter, "the host's proxy refused with status {status}")
            }
            Self::ProxyFailed => formatter.write_str("the host's proxy did not answer as it should"),
            Self::HostExhausted => formatter.write_str("this host is out of sockets or memory"),
            Self::QueryType => formatter.write_str("such questions are not answered"),
            Self::NoAnswer => formatter.write_str("the host's resolver did not answer"),
            Self::NoSuchName => formatter.write_str("there is no such name"),
        }
    }
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

impl fmt::Display for Limit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::TcpFlows => "too many TCP connections at once",
            Self::PendingConnects => "too many TCP connections being made at once",
            Self::UdpFlows => "too many UDP flows at once",
            Self::DnsQueries => "too many DNS queries at once",
            Self::DnsConnections => "too many connections to the resolver at once",
        })
    }
}
