//! The network of a guest: what it may be, and what runs it.

mod policy;

pub use policy::{NetworkPolicy, NetworkRules};
pub use pyro_net::{NameError, NamePattern};
