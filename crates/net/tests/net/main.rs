//! The network against a second TCP/IP stack in the place of the guest's, and real servers on this host.

mod dns;
mod guest;
mod hostile;
mod limits;
mod policy;
mod proxy;
mod tcp;
mod udp;
