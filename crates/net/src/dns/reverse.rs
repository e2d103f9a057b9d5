//! Names of the reverse tree: which address a PTR question is about.

use crate::policy::HostName;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address that `name` stands for in `in-addr.arpa` or `ip6.arpa`; none for everything else there.
pub(super) fn address(name: &HostName) -> Option<IpAddr> {
    if let Some(labels) = name.as_str().strip_suffix(".in-addr.arpa") {
        let octets: Vec<u8> =
            labels.split('.').rev().map(|label| label.parse().ok()).collect::<Option<_>>()?;
        return Some(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?).into());
    }
    let labels = name.as_str().strip_suffix(".ip6.arpa")?;
    let digit = |label: &str| (label.len() == 1).then(|| u128::from_str_radix(label, 16).ok()).flatten();
    let digits: Vec<u128> = labels.split('.').rev().map(digit).collect::<Option<_>>()?;
    (digits.len() == 32)
        .then(|| Ipv6Addr::from_bits(digits.iter().fold(0, |bits, digit| bits << 4 | digit)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reverse_names_are_addresses() {
        let v6 = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
        let cases = [
            ("9.113.0.203.in-addr.arpa", Some("203.0.113.9")),
            (v6, Some("2001:db8::1")),
            ("113.0.203.in-addr.arpa", None),
            ("256.0.0.1.in-addr.arpa", None),
            ("1.8.b.d.0.1.0.0.2.ip6.arpa", None),
            ("example.org", None),
        ];
        for (name, expected) in cases {
            let expected = expected.map(|address| address.parse().unwrap());
            assert_eq!(address(&name.parse().unwrap()), expected, "{name}");
        }
    }
}
