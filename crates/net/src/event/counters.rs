//! Sums of what went through a network.

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
pub struct CounterReader(pub(super) Arc<Counts>);

impl CounterReader {
    /// The sums as of now.
    pub fn read(&self) -> NetCounters {
        self.0.read()
    }
}
