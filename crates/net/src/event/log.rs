//! Where events come from: rate-bounded, never waiting.

use super::counters::{CounterReader, Counts, count};
use super::{End, EventKind, Limit, NetEvent, Protocol};
use crate::limits::{EVENT_BURST, EVENTS_PER_SECOND, LIMIT_EVENT_INTERVAL};
use crate::policy::HostName;
use jiff::Timestamp;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

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

/// Where events and counts go, shared by all tasks of a network.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    events: mpsc::Sender<NetEvent>,
    bucket: Arc<Mutex<Bucket>>,
    counts: Arc<Counts>,
}

#[derive(Debug)]
struct Bucket {
    /// For what the policy refuses, which nothing else is to push out.
    refused: Tokens,
    /// For everything else.
    other: Tokens,
    limits: HashMap<Limit, Met>,
}

#[derive(Debug)]
struct Tokens {
    left: u32,
    filled: Instant,
}

/// A limit that was met.
#[derive(Debug)]
struct Met {
    said: Option<Instant>,
    count: u64,
}

impl Log {
    pub(crate) fn new(events: mpsc::Sender<NetEvent>) -> Self {
        let bucket = Bucket { refused: Tokens::full(), other: Tokens::full(), limits: HashMap::new() };
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
        self.bucket().limits.entry(limit).or_insert(Met { said: None, count: 0 }).count += 1;
        self.say_limits();
    }

    /// Says what is due about limits, at the time when it is; waits for ever when nothing is unsaid.
    pub(crate) async fn limits_due(&self) {
        let due = |met: &Met| met.said.filter(|_| met.count > 0).map(|said| said + LIMIT_EVENT_INTERVAL);
        let due = self.bucket().limits.values().filter_map(due).min();
        match due {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
        self.say_limits();
    }

    fn say_limits(&self) {
        let now = Instant::now();
        let is_due = |met: &Met| {
            met.count > 0 && met.said.is_none_or(|said| now.duration_since(said) >= LIMIT_EVENT_INTERVAL)
        };
        let due: Vec<(Limit, u64)> = {
            let mut bucket = self.bucket();
            let due = bucket.limits.iter_mut().filter(|(_, met)| is_due(met));
            due.map(|(limit, met)| {
                met.said = Some(now);
                (*limit, std::mem::take(&mut met.count))
            })
            .collect()
        };
        for (limit, count) in due {
            let protocol = match limit {
                Limit::TcpFlows | Limit::PendingConnects => Protocol::Tcp,
                Limit::UdpFlows => Protocol::Udp,
                Limit::DnsQueries | Limit::DnsConnections => Protocol::Dns,
            };
            let subject = Subject { protocol, destination: None, name: None };
            // They are few as they are. One that finds no room is said later.
            if self.events.try_send(subject.event(EventKind::Limit { limit, count })).is_err()
                && let Some(met) = self.bucket().limits.get_mut(&limit)
            {
                met.count += count;
            }
        }
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, event: NetEvent) {
        if !self.token(&event) || self.events.try_send(event).is_err() {
            count(&self.counts.events_dropped, 1);
        }
    }

    fn token(&self, event: &NetEvent) -> bool {
        let mut bucket = self.bucket();
        let is_refused = match event.kind {
            EventKind::Refused { reason } | EventKind::DnsRefused { reason } => reason.is_by_policy(),
            _ => false,
        };
        if is_refused { bucket.refused.take() } else { bucket.other.take() }
    }
}

impl Tokens {
    fn full() -> Self {
        Self { left: EVENT_BURST, filled: Instant::now() }
    }

    fn take(&mut self) -> bool {
        let now = Instant::now();
        let seconds = u32::try_from(now.saturating_duration_since(self.filled).as_secs()).unwrap_or(u32::MAX);
        if seconds > 0 {
            self.filled = now;
            self.left = self.left.saturating_add(seconds.saturating_mul(EVENTS_PER_SECOND)).min(EVENT_BURST);
        }
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or(0);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Refusal;
    use crate::policy::RangeKind;

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
    fn what_is_refused_is_told_whatever_else_there_is() {
        let (events, mut received) = mpsc::channel(4_096);
        let log = Log::new(events);
        for _ in 0..1_000 {
            log.say(&subject(), EventKind::Connected);
        }
        log.say(&subject(), EventKind::Refused { reason: Refusal::NotAllowed });
        log.met(Limit::TcpFlows);
        let kinds: Vec<_> = std::iter::from_fn(|| received.try_recv().ok()).map(|event| event.kind).collect();
        let last = [
            EventKind::Refused { reason: Refusal::NotAllowed },
            EventKind::Limit { limit: Limit::TcpFlows, count: 1 },
        ];
        assert_eq!(kinds[kinds.len() - 2..], last);
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_finds_no_room_is_said_later() {
        let (events, mut received) = mpsc::channel(1);
        let log = Log::new(events);
        log.say(&subject(), EventKind::Connected);
        log.met(Limit::UdpFlows);
        received.try_recv().unwrap();
        log.limits_due().await;
        assert_eq!(received.try_recv().unwrap().kind, EventKind::Limit { limit: Limit::UdpFlows, count: 1 });
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_is_said_once_an_interval() {
        let (events, mut received) = mpsc::channel(16);
        let log = Log::new(events);
        for _ in 0..100 {
            log.met(Limit::TcpFlows);
        }
        let first = received.try_recv().unwrap();
        assert_eq!(first.kind, EventKind::Limit { limit: Limit::TcpFlows, count: 1 });
        assert!(received.try_recv().is_err());
        assert_eq!(log.reader().read().refused, 100);
        log.limits_due().await;
        let second = received.try_recv().unwrap();
        assert_eq!(second.kind, EventKind::Limit { limit: Limit::TcpFlows, count: 99 });
    }
}
