//! The network of a guest: what it may be, what runs it, and what is told of it.
//!
//! A guest has no network card. With a policy other than `off` it has a TUN device, whose packets go over the channel to the
//! process that owns the machine, and end there in a user-space stack ([`pyro_net`]) that opens ordinary sockets.

mod policy;
mod proof;
mod report;
mod tunnel;

pub use policy::{NetworkPolicy, NetworkRules};
pub use pyro_net::{EventKind, HostName, NameError, NamePattern, NetCounters, NetEvent, Protocol};
pub use report::{NetworkInterface, RefusedDestination};
pub(crate) use report::{NetworkState, is_refusal, refused};
pub(crate) use tunnel::{NetworkPlan, RunningNetwork};

/// Events that wait to be recorded: the bursts that a network may tell at once; more are counted and lost.
pub(crate) const EVENT_QUEUE: usize = 1024;
