//! The network of a guest, in user space: its packets end here, and become ordinary sockets of the host's.
//!
//! The guest has a TUN device; its packets come through a channel and go back through another. There is no device, no
//! address and no rule on the host, and nothing needs root. This is also the one place where it is decided what a guest may
//! reach ([`Policy`]), and where it is recorded ([`NetEvent`], [`NetCounters`]).
//!
//! What always holds:
//!
//! - A guest reaches nothing but what its policy allows, judged by the address that is really connected to.
//! - Whatever bytes it sends, memory, tasks and descriptors stay within [`Limits`].
//! - What its programs see of a connection is what the other end did: refused, unreachable, closed or reset.
//! - Nothing waits without a deadline, and everything ends with [`Network::run`].
//!
//! A packet's way:
//!
//! 1. [`Network::run`] takes it apart as far as it takes to know its flow; what is not the guest's, not whole or of another
//!    kind than TCP, UDP or echo request is counted and dropped. Echo requests are answered for the gateway only.
//! 2. A TCP segment goes to the task of its connection, a datagram to that of its pair of ends, a question to the resolver.
//! 3. The first packet of a flow is judged; then the host connects, by itself or through its HTTP proxy; then the
//!    guest's connection is accepted.
//! 4. The flow's task moves bytes between its own small TCP stack and the host's socket.

mod addresses;
mod addressing;
mod dns;
mod event;
mod limits;
mod network;
mod packet;
mod policy;
mod proxy;
mod route;
mod tcp;
mod udp;

pub use addressing::{DNS_PORT, GATEWAY_V4, GATEWAY_V6, GUEST_V4, GUEST_V6, MTU, PREFIX_V4, PREFIX_V6};
pub use dns::{Hosts, name_servers};
pub use event::{CounterReader, End, EventKind, Limit, NetCounters, NetEvent, Protocol, Refusal};
pub use limits::Limits;
pub use network::{Network, NetworkConfig, host_has_ipv6};
pub use policy::{HostName, IpRange, NameError, NamePattern, Policy, RangeError, RangeKind, refused_range};
pub use proxy::{ProxyError, ProxySettings};
