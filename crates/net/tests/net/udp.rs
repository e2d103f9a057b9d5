//! Datagrams to real sockets, and echo requests.

use crate::guest::{Guest, PATIENCE, config, local};
use pyro_net::{
    EventKind, GATEWAY_V4, GATEWAY_V6, GUEST_V4, GUEST_V6, Limits, Policy, Protocol, RangeKind, Refusal,
};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpAddress, IpProtocol, IpRepr, Ipv4Packet,
    Ipv6Packet, UdpPacket, UdpRepr,
};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::timeout;

fn source(to: IpAddr) -> IpAddr {
    if to.is_ipv4() { GUEST_V4.into() } else { GUEST_V6.into() }
}

/// A packet of the guest's with `length` bytes of content, which `emit` writes.
pub fn packet(to: IpAddr, protocol: IpProtocol, length: usize, emit: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let header = IpRepr::new(source(to).into(), to.into(), protocol, length, 64);
    let mut bytes = vec![0; header.buffer_len()];
    header.emit(&mut bytes[..], &ChecksumCapabilities::default());
    emit(&mut bytes[header.header_len()..]);
    bytes
}

/// A datagram of the guest's.
pub fn datagram(from: u16, to: SocketAddr, content: &[u8]) -> Vec<u8> {
    let (own, other) = (IpAddress::from(source(to.ip())), IpAddress::from(to.ip()));
    packet(to.ip(), IpProtocol::Udp, 8 + content.len(), |bytes| {
        UdpRepr { src_port: from, dst_port: to.port() }.emit(
            &mut UdpPacket::new_unchecked(bytes),
            &own,
            &other,
            content.len(),
            |payload| payload.copy_from_slice(content),
            &ChecksumCapabilities::default(),
        );
    })
}

/// The other end, the guest's port and the content of a datagram to the guest, whose checksums are right.
pub fn content(packet: &[u8]) -> (SocketAddr, u16, Vec<u8>) {
    let (from, to, payload): (IpAddr, IpAddr, &[u8]) = if packet[0] >> 4 == 4 {
        let packet = Ipv4Packet::new_checked(packet).unwrap();
        assert!(packet.verify_checksum());
        (packet.src_addr().into(), packet.dst_addr().into(), packet.payload())
    } else {
        let packet = Ipv6Packet::new_checked(packet).unwrap();
        (packet.src_addr().into(), packet.dst_addr().into(), packet.payload())
    };
    let datagram = UdpPacket::new_checked(payload).unwrap();
    assert!(datagram.verify_checksum(&from.into(), &to.into()));
    (SocketAddr::new(from, datagram.src_port()), datagram.dst_port(), datagram.payload().to_vec())
}

/// Whether a packet is an ICMP error of this code, with its protocol's type.
fn is_unreachable(packet: &[u8], v4: u8, v6: u8) -> bool {
    if packet[0] >> 4 == 4 {
        packet[9] == 1 && packet[20..22] == [3, v4]
    } else {
        packet[6] == 58 && packet[40..42] == [1, v6]
    }
}

#[tokio::test]
async fn datagrams_go_there_and_back() {
    for address in ["127.0.0.1", "::1"] {
        let server = UdpSocket::bind((address, 0)).await.unwrap();
        let to = server.local_addr().unwrap();
        let guest = Guest::start(config(local()));
        for size in [0, 1, 1_400, 16_000] {
            let message = vec![9; size];
            guest.send(datagram(4_000, to, &message)).await;
            let mut buffer = vec![0; 65_536];
            let (length, from) = timeout(PATIENCE, server.recv_from(&mut buffer)).await.unwrap().unwrap();
            assert_eq!(buffer[..length], message);
            server.send_to(&buffer[..length], from).await.unwrap();
            assert_eq!(content(&guest.other().await), (to, 4_000, message));
        }
        let counters = guest.counters();
        assert_eq!((counters.udp_flows, counters.bytes_sent, counters.bytes_received), (1, 17_401, 17_401));
        let event = guest.event(|event| event.protocol == Protocol::Udp).await;
        assert_eq!(
            (event.kind, event.address, event.port),
            (EventKind::Connected, Some(to.ip()), Some(to.port()))
        );
    }
}

#[tokio::test]
async fn a_stranger_cannot_answer() {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let guest = Guest::start(config(local()));
    guest.send(datagram(4_000, server.local_addr().unwrap(), b"q")).await;
    let (_, from) = timeout(PATIENCE, server.recv_from(&mut [0; 8])).await.unwrap().unwrap();
    stranger.send_to(b"lie", from).await.unwrap();
    server.send_to(b"truth", from).await.unwrap();
    assert_eq!(content(&guest.other().await).2, b"truth");
}

#[tokio::test]
async fn closed_ports_and_refused_ranges_are_unreachable() {
    for address in ["127.0.0.1", "::1"] {
        let socket = UdpSocket::bind((address, 0)).await.unwrap();
        let to = socket.local_addr().unwrap();
        drop(socket);
        let guest = Guest::start(config(local()));
        guest.send(datagram(4_000, to, b"x")).await;
        assert!(is_unreachable(&guest.other().await, 3, 4));

        let guest = Guest::start(config(Policy::open()));
        guest.send(datagram(4_000, to, b"x")).await;
        assert!(is_unreachable(&guest.other().await, 3, 4));
        let reason = Refusal::Range { range: RangeKind::Loopback };
        assert_eq!(guest.refusal().await.kind, EventKind::Refused { reason });
    }
}

#[tokio::test]
async fn flows_end_when_nothing_is_said() {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let limits = Limits { udp_idle: Duration::from_millis(50), ..Limits::default() };
    let guest = Guest::start(pyro_net::NetworkConfig { limits, ..config(local()) });
    for round in 1..=2 {
        guest.send(datagram(4_000, server.local_addr().unwrap(), b"x")).await;
        guest.until(|counters| counters.udp_flows == round && counters.udp_open == 0).await;
    }
    let closed = guest.event(|event| matches!(event.kind, EventKind::Closed { .. })).await;
    assert_eq!(closed.bytes_sent, 1);
}

#[tokio::test]
async fn there_are_only_so_many_flows() {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let to = server.local_addr().unwrap();
    let limits = Limits { udp_flows: 8, ..Limits::default() };
    let guest = Guest::start(pyro_net::NetworkConfig { limits, ..config(local()) });
    for port in 0..1_000 {
        guest.send(datagram(10_000 + port, to, b"x")).await;
    }
    guest.until(|counters| counters.packets_from_guest == 1_000).await;
    let counters = guest.counters();
    assert_eq!((counters.udp_open, counters.refused), (8, 992));
    let limit = guest.event(|event| matches!(event.kind, EventKind::Limit { .. })).await;
    assert_eq!(limit.kind, EventKind::Limit { limit: pyro_net::Limit::UdpFlows, count: 1 });
}

#[tokio::test]
async fn only_the_gateway_answers_echo_requests() {
    let guest = Guest::start(config(Policy::open()));
    let checksums = ChecksumCapabilities::default();
    let message = Icmpv4Repr::EchoRequest { ident: 1, seq_no: 2, data: b"abc" };
    for to in ["203.0.113.1".parse().unwrap(), GATEWAY_V4] {
        let echo = packet(to.into(), IpProtocol::Icmp, message.buffer_len(), |bytes| {
            message.emit(&mut Icmpv4Packet::new_unchecked(bytes), &checksums);
        });
        guest.send(echo).await;
    }
    let reply = guest.other().await;
    assert_eq!((&reply[12..16], &reply[20..22]), (&GATEWAY_V4.octets()[..], &[0, 0][..]));
    let message = Icmpv6Repr::EchoRequest { ident: 1, seq_no: 2, data: b"abc" };
    let echo = packet(GATEWAY_V6.into(), IpProtocol::Icmpv6, message.buffer_len(), |bytes| {
        message.emit(&GUEST_V6, &GATEWAY_V6, &mut Icmpv6Packet::new_unchecked(bytes), &checksums);
    });
    guest.send(echo).await;
    let reply = guest.other().await;
    assert_eq!((&reply[8..24], &reply[40..42]), (&GATEWAY_V6.octets()[..], &[129, 0][..]));
    assert_eq!(guest.counters().packets_ignored, 1);
}
