//! The connection log: what was reached, what was refused and why, as events and as counters.
//!
//! Events are lossy and counters are not. A guest can cause events as fast as it sends packets, so they go through a token
//! bucket and a bounded channel that is never waited for; what did not fit is counted.

use crate::limits::{EVENT_BURST, EVENTS_PER_SECOND, LIMIT_EVENT_INTERVAL};
use crate::policy::{HostName, RangeKind};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::mpsc;

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
    /// DNS queries.
    DnsQueries,
}

/// What an event is about.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) protocol: Protocol,
    pub(crate) destination: Option<SocketAddr>,
    pub(crate) name: Option<HostName>,
}

impl Subject {
    pub(crate) fn dns(name: HostName) -> Self {
        Self { protocol: Protocol::Dns, destination: None, name: Some(name) }
    }

    fn event(&self, kind: EventKind) -> NetEvent {
        NetEvent {
            at: Timestamp::now(),
            kind,
            protocol: self.protocol,
            address: self.destination.map(|destination| destination.ip()),
            port: self.destination.map(|destination| destination.port()),
            name: self.name.clone(),
            bytes_sent: 0,
            bytes_received: 0,
        }
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        #[derive(Debug, Default)]
        pub(crate) struct Counts { $(pub(crate) $name: AtomicU64),+ }

        /// Sums since the network was started.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct NetCounters { $($(#[$doc])* pub $name: u64),+ }

        impl Counts {
            pub(crate) fn read(&self) -> NetCounters {
                NetCounters { $($name: self.$name.load(Ordering::Relaxed)),+ }
            }
        }
    };
}

counters! {
    /// Packets from the guest.
    packets_from_guest,
    /// Packets that meant nothing: malformed, fragments, foreign sources, unknown protocols.
    packets_ignored,
    /// Packets that found a queue full.
    packets_dropped,
    /// TCP connections that were made.
    tcp_connected,
    /// TCP connections that are open, those being made included.
    tcp_open,
    /// UDP flows that were made.
    udp_flows,
    /// UDP flows that are open.
    udp_open,
    /// Connections and UDP flows that were refused, limits included.
    refused,
    /// DNS queries that were answered in whatever way.
    dns_queries,
    /// Names that were refused.
    dns_refused,
    /// Bytes of content from the guest, by TCP and UDP.
    bytes_sent,
    /// Bytes of content to the guest.
    bytes_received,
    /// Events that were not reported.
    events_dropped,
    /// Tasks of flows that ended by a fault of their code; their connections were reset.
    faults,
}

pub(crate) fn count(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

/// Reads the counters of a network that runs elsewhere.
#[derive(Debug, Clone)]
pub struct CounterReader(Arc<Counts>);

impl CounterReader {
    /// The sums as of now.
    pub fn read(&self) -> NetCounters {
        self.0.read()
    }
}

/// Where events and counts go, shared by all tasks of a network.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    events: mpsc::Sender<NetEvent>,
    bucket: Arc<Mutex<Bucket>>,
    counts: Arc<Counts>,
}

#[derive(Debug)]
struct Bucket {
    tokens: u32,
    filled: Instant,
    limits: HashMap<Limit, Met>,
}

/// A limit that was met.
#[derive(Debug)]
struct Met {
    said: Option<Instant>,
    count: u64,
}

impl Log {
    pub(crate) fn new(events: mpsc::Sender<NetEvent>) -> Self {
        let bucket = Bucket { tokens: EVENT_BURST, filled: Instant::now(), limits: HashMap::new() };
        Self { events, bucket: Arc::new(Mutex::new(bucket)), counts: Arc::default() }
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(crate) fn reader(&self) -> CounterReader {
        CounterReader(Arc::clone(&self.counts))
    }

    pub(crate) fn say(&self, subject: &Subject, kind: EventKind) {
        match kind {
            EventKind::Refused { .. } => count(&self.counts.refused, 1),
            EventKind::DnsRefused { .. } => count(&self.counts.dns_refused, 1),
            EventKind::Connected if subject.protocol == Protocol::Tcp => count(&self.counts.tcp_connected, 1),
            EventKind::Connected => count(&self.counts.udp_flows, 1),
            _ => {}
        }
        self.send(subject.event(kind));
    }

    pub(crate) fn closed(&self, subject: &Subject, end: End, sent: u64, received: u64) {
        let event = subject.event(EventKind::Closed { end });
        self.send(NetEvent { bytes_sent: sent, bytes_received: received, ..event });
    }

    /// Takes note that `limit` was met, and says so once an interval.
    pub(crate) fn met(&self, limit: Limit) {
        count(&self.counts.refused, 1);
        let protocol = match limit {
            Limit::TcpFlows | Limit::PendingConnects => Protocol::Tcp,
            Limit::UdpFlows => Protocol::Udp,
            Limit::DnsQueries => Protocol::Dns,
        };
        let now = Instant::now();
        let count = {
            let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
            let met = bucket.limits.entry(limit).or_insert(Met { said: None, count: 0 });
            met.count += 1;
            if met.said.is_some_and(|said| now.duration_since(said) < LIMIT_EVENT_INTERVAL) {
                return;
            }
            met.said = Some(now);
            std::mem::take(&mut met.count)
        };
        let subject = Subject { protocol, destination: None, name: None };
        self.send(subject.event(EventKind::Limit { limit, count }));
    }

    fn send(&self, event: NetEvent) {
        if !self.token(Instant::now()) || self.events.try_send(event).is_err() {
            count(&self.counts.events_dropped, 1);
        }
    }

    fn token(&self, now: Instant) -> bool {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds =
            u32::try_from(now.saturating_duration_since(bucket.filled).as_secs()).unwrap_or(u32::MAX);
        if seconds > 0 {
            bucket.filled = now;
            bucket.tokens =
                bucket.tokens.saturating_add(seconds.saturating_mul(EVENTS_PER_SECOND)).min(EVENT_BURST);
        }
        let left = bucket.tokens.checked_sub(1);
        bucket.tokens = left.unwrap_or(0);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        Subject { protocol: Protocol::Tcp, destination: Some("203.0.113.1:443".parse().unwrap()), name: None }
    }

    #[test]
    fn events_serialise_flat() {
        let event =
            subject().event(EventKind::Refused { reason: Refusal::Range { range: RangeKind::Private } });
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(json["kind"], "refused");
        assert_eq!((&json["reason"], &json["range"]), (&"range".into(), &"private".into()));
        assert_eq!(json["port"], 443);
        assert_eq!(serde_json::from_value::<NetEvent>(json).unwrap(), event);
    }

    #[test]
    fn a_flood_of_events_is_counted_and_not_sent() {
        let (events, mut received) = mpsc::channel(4_096);
        let log = Log::new(events);
        for _ in 0..1_000 {
            log.say(&subject(), EventKind::Connected);
        }
        let sent = std::iter::from_fn(|| received.try_recv().ok()).count() as u64;
        let counters = log.reader().read();
        assert_eq!(counters.tcp_connected, 1_000);
        assert_eq!(sent + counters.events_dropped, 1_000);
        assert!(sent <= 2 * u64::from(EVENT_BURST), "{sent}");
    }

    #[test]
    fn a_limit_is_said_once_an_interval() {
        let (events, mut received) = mpsc::channel(16);
        let log = Log::new(events);
        for _ in 0..100 {
            log.met(Limit::TcpFlows);
        }
        let first = received.try_recv().unwrap();
        assert_eq!(first.kind, EventKind::Limit { limit: Limit::TcpFlows, count: 1 });
        assert!(received.try_recv().is_err());
        assert_eq!(log.reader().read().refused, 100);
    }
}
