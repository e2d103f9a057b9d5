//! `NO_PROXY`: destinations that are reached without the proxy.
//!
//! A list with commas or blanks. An entry is a name, which also means everything below it, with or without a dot or `*.`
//! before it; an address; a range; or `*`. A port in an entry is left out of account: names are answered before any port
//! is known.

use crate::policy::{HostName, IpRange};
use std::net::IpAddr;

#[derive(Debug, Clone, Default)]
pub(super) struct NoProxy {
    everything: bool,
    names: Vec<HostName>,
    ranges: Vec<IpRange>,
}

impl NoProxy {
    /// Entries that are none of these are passed over, as other programs do.
    pub(super) fn parse(list: &str) -> Self {
        let mut parsed = Self::default();
        for entry in list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty()) {
            if entry == "*" {
                parsed.everything = true;
            } else if let Some(range) = range(entry) {
                parsed.ranges.push(range);
            } else {
                let name = entry.split_once(':').map_or(entry, |(name, _)| name);
                let name = name.strip_prefix('*').unwrap_or(name);
                parsed.names.extend(name.strip_prefix('.').unwrap_or(name).parse::<HostName>());
            }
        }
        parsed
    }

    pub(super) fn has_name(&self, name: &HostName) -> bool {
        let below = |entry: &HostName| {
            let rest = name.as_str().strip_suffix(entry.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        self.everything || self.names.iter().any(below)
    }

    pub(super) fn has_address(&self, address: IpAddr) -> bool {
        self.everything || self.ranges.iter().any(|range| range.contains(address))
    }
}

/// An address or range, with brackets and port or without.
fn range(entry: &str) -> Option<IpRange> {
    let bracketed =
        entry.strip_prefix('[').and_then(|entry| entry.split_once(']')).map(|(address, _)| address);
    let plain = bracketed.unwrap_or(entry);
    let without_port = || plain.split_once(':').and_then(|(address, _)| address.parse().ok());
    plain.parse().ok().or_else(without_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_match_as_other_programs_do_it() {
        let list = " example.org, .corp.test *.lab.test ,10.0.0.0/8,192.0.2.7:80 [2001:db8::1]:443, host.test:8080, !!";
        let list = NoProxy::parse(list);
        for name in ["example.org", "www.example.org", "corp.test", "a.corp.test", "x.lab.test", "host.test"]
        {
            assert!(list.has_name(&name.parse().unwrap()), "{name}");
        }
        for name in ["badexample.org", "example.org.test", "test"] {
            assert!(!list.has_name(&name.parse().unwrap()), "{name}");
        }
        for (address, direct) in [
            ("10.1.2.3", true),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8::1", true),
            ("::1", false),
        ] {
            assert_eq!(list.has_address(address.parse().unwrap()), direct, "{address}");
        }
        assert!(NoProxy::parse("*").has_name(&"any.test".parse().unwrap()));
        assert!(!NoProxy::parse("").has_name(&"any.test".parse().unwrap()));
    }
}
