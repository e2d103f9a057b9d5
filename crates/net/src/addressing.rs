//! The addresses of the tunnel, for both of its ends: whoever configures the guest's device takes them from here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Largest IP packet either way, in bytes. Every packet costs code that runs in the guest, so packets are large; a segment
/// that came near Linux' first receive window of 64 KiB would stall its window updates, so they are not larger.
pub const MTU: usize = 16_384;

/// The guest's IPv4 address. Any other source is dropped.
pub const GUEST_V4: Ipv4Addr = Ipv4Addr::new(10, 127, 0, 2);
/// The network's IPv4 address in the tunnel: default route, resolver on port 53, the one address that answers echo requests.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(10, 127, 0, 1);
/// Prefix length of the tunnel's IPv4 subnet.
pub const PREFIX_V4: u8 = 30;

/// The guest's IPv6 address. Any other source is dropped.
pub const GUEST_V6: Ipv6Addr = Ipv6Addr::new(0xfd70, 0x7972, 0x6f00, 0, 0, 0, 0, 2);
/// The network's IPv6 address in the tunnel, the counterpart of [`GATEWAY_V4`].
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd70, 0x7972, 0x6f00, 0, 0, 0, 0, 1);
/// Prefix length of the tunnel's IPv6 subnet.
pub const PREFIX_V6: u8 = 64;

/// Port of the resolver at either gateway address, by UDP and TCP.
pub const DNS_PORT: u16 = 53;

/// The range that names which go through a proxy get their addresses from: 198.18.0.0/15, which is for benchmarks and
/// routed nowhere.
pub(crate) const VIRTUAL_BASE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
pub(crate) const VIRTUAL_PREFIX: u8 = 15;

/// Whether packets may come from `address`.
pub(crate) fn is_guest(address: IpAddr) -> bool {
    address == IpAddr::V4(GUEST_V4) || address == IpAddr::V6(GUEST_V6)
}

/// Whether `address` is the network's own in the tunnel.
pub(crate) fn is_gateway(address: IpAddr) -> bool {
    address == IpAddr::V4(GATEWAY_V4) || address == IpAddr::V6(GATEWAY_V6)
}
