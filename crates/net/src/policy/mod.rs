//! What a guest may reach. Decided at each connect, on the address that is really connected to, so that a name which
//! changes its address changes nothing; and where names are answered, so that a refusal is known early.

mod names;
mod ranges;

pub use names::{HostName, NameError, NamePattern};
pub use ranges::{IpRange, RangeError, RangeKind, refused_range};

use std::net::IpAddr;

/// What a guest may reach. The default refuses the ranges of [`refused_range`] and takes every name.
///
/// The host's own public addresses are not refused: what listens there is reached as from anywhere else. A caller that
/// wants otherwise adds them with [`Policy::deny`].
#[derive(Debug, Clone, Default)]
pub struct Policy {
    names: Option<Vec<NamePattern>>,
    allowed: Vec<IpRange>,
    denied: Vec<IpRange>,
}

impl Policy {
    /// Every name, and every address but the refused ranges.
    pub fn open() -> Self {
        Self::default()
    }

    /// Only the names of `patterns`, and only the addresses that DNS has answered for them. No patterns, no names.
    pub fn only(patterns: Vec<NamePattern>) -> Self {
        Self { names: Some(patterns), ..Self::default() }
    }

    /// Also lets the guest reach `range`, though it is refused by default. Names are still looked at.
    #[must_use]
    pub fn allow(mut self, range: IpRange) -> Self {
        self.allowed.push(range);
        self
    }

    /// Also refuses `range`, whatever else allows it.
    #[must_use]
    pub fn deny(mut self, range: IpRange) -> Self {
        self.denied.push(range);
        self
    }

    /// Whether only some names may be reached.
    pub fn limits_names(&self) -> bool {
        self.names.is_some()
    }

    /// Whether `name` may be asked for and reached.
    pub fn allows_name(&self, name: &HostName) -> bool {
        self.names.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(name)))
    }

    /// Why `address` may not be reached whatever its name is.
    pub fn refused_address(&self, address: IpAddr) -> Option<RangeKind> {
        let within = |ranges: &[IpRange]| ranges.iter().any(|range| range.contains(address));
        if within(&self.denied) {
            return Some(RangeKind::Denied);
        }
        refused_range(address).filter(|_| !within(&self.allowed))
    }
}
