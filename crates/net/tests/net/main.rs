//! The network against a second TCP/IP stack in the place of the guest's, and real servers on this host.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]

mod device;
mod dns;
mod guest;
mod hostile;
mod limits;
mod policy;
mod proxy;
mod tcp;
mod udp;
