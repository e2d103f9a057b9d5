//! Which addresses a guest has no business with: those that mean the host, its networks, or nobody.
//!
//! Documentation ranges (192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24, 2001:db8::/32) are not among them: networks that
//! are made for tests use them. An address that carries an IPv4 address inside is judged by that one as well, since the
//! host or a router may translate it.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Why a destination is refused whatever its name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RangeKind {
    /// The host itself.
    Loopback,
    /// No address, or "this network".
    Unspecified,
    /// RFC 1918, unique local and site-local addresses.
    Private,
    /// One link, where clouds put their metadata services.
    LinkLocal,
    /// 100.64.0.0/10, between a provider and its customers.
    Shared,
    /// Groups.
    Multicast,
    /// Everybody on a link.
    Broadcast,
    /// Not for traffic between hosts.
    Reserved,
    /// Refused by this policy in particular.
    Denied,
}

impl fmt::Display for RangeKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Loopback => "the host itself",
            Self::Unspecified => "no address",
            Self::Private => "a private network",
            Self::LinkLocal => "link-local",
            Self::Shared => "shared address space",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
            Self::Reserved => "reserved",
            Self::Denied => "by this policy",
        })
    }
}

/// The kind of the refused range that `address` is in, or none when it may be reached.
pub fn refused_range(address: IpAddr) -> Option<RangeKind> {
    match address {
        IpAddr::V4(address) => refused_v4(address),
        IpAddr::V6(address) => refused_v6(address),
    }
}

fn refused_v4(address: Ipv4Addr) -> Option<RangeKind> {
    match address.octets() {
        [0, ..] => Some(RangeKind::Unspecified),
        [127, ..] => Some(RangeKind::Loopback),
        [10, ..] | [192, 168, ..] | [172, 16..=31, ..] => Some(RangeKind::Private),
        [100, 64..=127, ..] => Some(RangeKind::Shared),
        [169, 254, ..] => Some(RangeKind::LinkLocal),
        [255, 255, 255, 255] => Some(RangeKind::Broadcast),
        [224..=239, ..] => Some(RangeKind::Multicast),
        [192, 0, 0, _] | [240..=255, ..] => Some(RangeKind::Reserved),
        _ => None,
    }
}

fn refused_v6(address: Ipv6Addr) -> Option<RangeKind> {
    if address.is_unspecified() {
        return Some(RangeKind::Unspecified);
    }
    if address.is_loopback() {
        return Some(RangeKind::Loopback);
    }
    match address.segments() {
        [0xff00..=0xffff, ..] => Some(RangeKind::Multicast),
        [0xfe80..=0xfebf, ..] => Some(RangeKind::LinkLocal),
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => Some(RangeKind::Private),
        // NAT64 with a prefix of local choice, where nobody knows which bits are the IPv4 address; and IPv4-compatible
        // addresses, long withdrawn.
        [0x64, 0xff9b, 1, ..] | [0, 0, 0, 0, 0, 0, ..] => Some(RangeKind::Reserved),
        _ => embedded(address).into_iter().flatten().find_map(refused_v4),
    }
}

/// The IPv4 addresses that `address` carries.
fn embedded(address: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let octets = address.octets();
    let at = |start: usize| {
        let mut four = [0; 4];
        four.copy_from_slice(&octets[start..start + 4]);
        Ipv4Addr::from(four)
    };
    match address.segments() {
        // Mapped, translated (SIIT), and NAT64's well-known prefix.
        [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            [Some(at(12)), None]
        }
        // 6to4.
        [0x2002, ..] => [Some(at(2)), None],
        // Teredo: its server, and its client, which is inverted.
        [0x2001, 0, ..] => [Some(at(4)), Some(Ipv4Addr::from_bits(!at(12).to_bits()))],
        // ISATAP.
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => [Some(at(12)), None],
        _ => [None, None],
    }
}

/// A range of addresses, written `ADDRESS/LENGTH`, or `ADDRESS` for a single one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpRange {
    address: IpAddr,
    prefix: u8,
}

/// A text that is no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no range of addresses, which is written ADDRESS/LENGTH")]
pub struct RangeError {
    /// What was written.
    pub text: String,
}

impl IpRange {
    /// Whether `address` is in this range. An IPv4 range holds no IPv6 addresses, mapped ones included.
    pub fn contains(&self, address: IpAddr) -> bool {
        let prefix = u32::from(self.prefix);
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).checked_shr(32 - prefix).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).checked_shr(128 - prefix).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl From<IpAddr> for IpRange {
    fn from(address: IpAddr) -> Self {
        Self { address, prefix: if address.is_ipv4() { 32 } else { 128 } }
    }
}

impl FromStr for IpRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let error = || RangeError { text: text.to_owned() };
        let Some((address, prefix)) = text.split_once('/') else {
            return text.parse::<IpAddr>().map(Self::from).map_err(|_| error());
        };
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let prefix: u8 = prefix.parse().map_err(|_| error())?;
        let range = Self { address, prefix };
        if prefix > Self::from(address).prefix { Err(error()) } else { Ok(range) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_refused_by_kind() {
        use RangeKind::*;
        let cases = [
            ("0.0.0.0", Some(Unspecified)),
            ("0.1.2.3", Some(Unspecified)),
            ("127.0.0.1", Some(Loopback)),
            ("127.255.255.254", Some(Loopback)),
            ("10.0.0.1", Some(Private)),
            ("172.15.255.255", None),
            ("172.16.0.1", Some(Private)),
            ("172.31.255.255", Some(Private)),
            ("172.32.0.0", None),
            ("192.168.1.1", Some(Private)),
            ("192.169.0.1", None),
            ("100.63.255.255", None),
            ("100.64.0.1", Some(Shared)),
            ("100.127.255.255", Some(Shared)),
            ("100.128.0.0", None),
            ("169.254.169.254", Some(LinkLocal)),
            ("224.0.0.1", Some(Multicast)),
            ("239.255.255.255", Some(Multicast)),
            ("240.0.0.1", Some(Reserved)),
            ("255.255.255.255", Some(Broadcast)),
            ("192.0.0.8", Some(Reserved)),
            ("192.0.2.1", None),
            ("198.51.100.7", None),
            ("203.0.113.9", None),
            ("198.18.0.1", None),
            ("1.1.1.1", None),
            ("::", Some(Unspecified)),
            ("::1", Some(Loopback)),
            ("::2", Some(Reserved)),
            ("::7f00:1", Some(Reserved)),
            ("fe80::1", Some(LinkLocal)),
            ("febf::1", Some(LinkLocal)),
            ("fec0::1", Some(Private)),
            ("fc00::1", Some(Private)),
            ("fd12:3456::1", Some(Private)),
            ("ff02::1", Some(Multicast)),
            ("::ffff:127.0.0.1", Some(Loopback)),
            ("::ffff:203.0.113.9", None),
            ("::ffff:0:10.0.0.1", Some(Private)),
            ("64:ff9b::10.1.2.3", Some(Private)),
            ("64:ff9b::203.0.113.9", None),
            ("64:ff9b:1::1", Some(Reserved)),
            ("2002:7f00:1::1", Some(Loopback)),
            ("2002:cb00:7109::1", None),
            ("2001:0:a00:1::1", Some(Private)),
            ("2001:0:cb00:7109:0:0:80ff:fffe", Some(Loopback)),
            ("2001:4860:4860:0:0:5efe:10.0.0.1", Some(Private)),
            ("2001:db8::1", None),
            ("2606:4700::1111", None),
        ];
        for (address, kind) in cases {
            assert_eq!(refused_range(address.parse().unwrap()), kind, "{address}");
        }
    }

    #[test]
    fn ranges_contain_what_their_prefix_says() {
        let cases = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
        ];
        for (range, address, inside) in cases {
            let range: IpRange = range.parse().unwrap();
            assert_eq!(range.contains(address.parse().unwrap()), inside, "{range:?} {address}");
        }
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/", "x/8", "10.0.0.0/-1"] {
            assert!(bad.parse::<IpRange>().is_err(), "{bad}");
        }
    }
}
