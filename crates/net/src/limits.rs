//! What a guest can make the host hold at most.
//!
//! Each flow is a descriptor of the host's. The defaults stay below 1,024 together, which is the usual soft limit: whoever
//! raises them raises that limit first, since a process without descriptors also cannot accept or open anything else.

use crate::addressing::MTU;
use std::time::Duration;

/// The limits that differ between programs; those below are the same for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// TCP connections, those being made included.
    pub tcp_flows: usize,
    /// TCP connections being made.
    pub pending_connects: usize,
    /// Pairs of UDP sockets.
    pub udp_flows: usize,
    /// DNS queries being answered over UDP.
    pub dns_queries: usize,
    /// How long the host's connect may take.
    pub connect_timeout: Duration,
    /// How long a TCP connection with both sides open may be silent.
    pub tcp_idle: Duration,
    /// How long a TCP connection with one side closed may be silent.
    pub half_closed_idle: Duration,
    /// How long a UDP flow may be silent.
    pub udp_idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tcp_flows: 512,
            pending_connects: 128,
            udp_flows: 128,
            dns_queries: 64,
            connect_timeout: Duration::from_secs(15),
            tcp_idle: Duration::from_hours(2),
            half_closed_idle: Duration::from_mins(5),
            udp_idle: Duration::from_mins(1),
        }
    }
}

/// Packets of one flow that its task has not taken yet.
pub(crate) const FLOW_QUEUE: usize = 32;
/// How long the demultiplexer waits for a flow's task to take a packet before it drops that packet. Tasks never wait for the
/// guest or the host before they take one, so this is reached only when the host has no processor to spare.
pub(crate) const FLOW_QUEUE_WAIT: Duration = Duration::from_millis(200);
/// How long a handshake that was answered may stay unfinished.
pub(crate) const HANDSHAKE_IDLE: Duration = Duration::from_secs(30);
/// Datagrams of one UDP flow that were not sent yet.
pub(crate) const UDP_QUEUE: usize = 16;
/// How long a UDP flow lasts after one question to port 53 was answered.
pub(crate) const UDP_DNS_IDLE: Duration = Duration::from_secs(10);

/// Longest DNS query. Real ones are below 300 bytes: a name, a type and options.
pub(crate) const MAX_DNS_QUERY: usize = 1_232;
/// Longest DNS message to the guest over UDP, whatever it says it takes.
pub(crate) const MAX_DNS_UDP_ANSWER: usize = 4_096;
/// How long a lookup may take, waiting for its turn included.
pub(crate) const LOOKUP_TIMEOUT: Duration = Duration::from_secs(8);
/// Lookups of the host's resolver at once; each holds a thread.
pub(crate) const LOOKUPS: usize = 8;
/// How long one try at a name server may take, and how many there are.
pub(crate) const FORWARD_TIMEOUT: Duration = Duration::from_secs(2);
pub(crate) const FORWARD_TRIES: usize = 2;
/// Connections to the resolver. Each holds two descriptors.
pub(crate) const DNS_CONNECTIONS: usize = 16;
/// How long a DNS connection may be silent, and how many questions it may ask.
pub(crate) const DNS_TCP_IDLE: Duration = Duration::from_secs(10);
pub(crate) const DNS_TCP_QUERIES: usize = 256;
/// Cached answers, and for how long they are used.
pub(crate) const DNS_CACHE: usize = 512;
pub(crate) const DNS_CACHE_FOR: Duration = Duration::from_secs(30);
pub(crate) const DNS_NEGATIVE_CACHE_FOR: Duration = Duration::from_secs(5);
/// Time to live of answers to the guest, in seconds. The host's resolver tells none.
pub(crate) const DNS_TTL: u32 = 30;
/// Most addresses in an answer.
pub(crate) const MAX_ADDRESSES: usize = 16;

/// Addresses whose names are remembered, and for how long after an answer or a connection. Programs keep addresses for
/// longer than they may.
pub(crate) const REMEMBERED_ADDRESSES: usize = 4_096;
pub(crate) const REMEMBERED_FOR: Duration = Duration::from_mins(15);
/// Names that have a virtual address at the same time.
pub(crate) const VIRTUAL_NAMES: usize = 4_096;

/// How long a proxy's answer to CONNECT may be, in bytes.
pub(crate) const MAX_PROXY_ANSWER: usize = 8_192;

/// Events at once, and per second after that.
pub(crate) const EVENT_BURST: u32 = 256;
pub(crate) const EVENTS_PER_SECOND: u32 = 64;
/// How often it is said that a limit was met.
pub(crate) const LIMIT_EVENT_INTERVAL: Duration = Duration::from_secs(1);

/// The sizes of a connection's two buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rings {
    /// From the guest, in bytes.
    pub(crate) receive: usize,
    /// To the guest, in bytes.
    pub(crate) send: usize,
}

/// Rings keep their size for life, and their memory once it was touched: the more connections there are, the smaller those
/// of the next one. All of 512 connections, all rings full: 11 MiB.
pub(crate) const fn rings(open: usize) -> Rings {
    match open {
        0..4 => Rings { receive: 65_536, send: 131_072 },
        4..16 => Rings { receive: 32_768, send: 65_536 },
        16..64 => Rings { receive: 16_384, send: 16_384 },
        _ => Rings { receive: 8_192, send: 8_192 },
    }
}

// The sender's silly-window rule waits for half of the largest window that it saw.
const _: () = assert!(rings(0).receive >= 2 * MTU, "a window holds several segments");
