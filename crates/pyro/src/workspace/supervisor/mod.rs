//! The supervisor: one small process for each running guest, which owns the VMM and the channel into the guest.
//!
//! It is started detached by whoever starts a workspace, and talks to that process over a socket that is its standard input:
//!
//! 1. it reads one [`Order`];
//! 2. it reports [`Report::Ready`], having recorded that the workspace is running, or [`Report::Failed`].
//!
//! When the socket is closed before the guest is ready, nobody wants it any more, and the supervisor ends. Afterwards it
//! serves two sockets in the workspace's directory to any number of processes: every connection to `guest.sock` is one
//! call into the guest, relayed byte for byte; on `control.sock` each connection is one [`Control`] and its answer. Besides, it
//! listens at the ports that services are published at ([`publish`](mod@publish)).
//!
//! It enforces the time to live, also after the guest has ended, and ends with its VMM: if it is killed, the kernel kills
//! the VMM, and the next call of any process finds its lock released and sets the record right.

mod client;
mod connection;
mod footprint;
mod messages;
mod network;
mod publish;
mod relay;
mod serve;

pub(crate) use client::{
    Publishing, Starting, end, is_responsive, kill, network, publish, published, settled, stop, unpublished,
};
pub(super) use messages::{
    Confirm, Confirmed, Control, ControlAnswer, Order, Publication, PublishAnswer, Report,
};
pub use serve::supervise;
