//! Packets to the guest that are not TCP.

use super::FlowKey;
use crate::addressing::{GATEWAY_V4, GATEWAY_V6, GUEST_V4, GUEST_V6, MTU};
use bytes::Bytes;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    IPV4_HEADER_LEN, IPV6_HEADER_LEN, Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, Icmpv6DstUnreachable,
    Icmpv6Packet, Icmpv6Repr, IpAddress, IpProtocol, IpRepr, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr,
    UDP_HEADER_LEN, UdpPacket, UdpRepr,
};
use std::net::IpAddr;

const HOP_LIMIT: u8 = 64;
/// How much of a packet an error about it carries: enough for any header and its ports, far below any size limit.
const QUOTED: usize = 64;

/// Why a packet went nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreachable {
    /// Nobody is there, or there is no way.
    Host,
    /// Nobody listens.
    Port,
}

/// Where the content of a datagram to the guest begins.
pub(crate) fn udp_payload_offset(key: &FlowKey) -> usize {
    let header = if key.guest.is_ipv4() { IPV4_HEADER_LEN } else { IPV6_HEADER_LEN };
    header + UDP_HEADER_LEN
}

/// The datagram whose content lies in `buffer` from [`udp_payload_offset`] on; none when it is larger than a packet.
pub(crate) fn udp_in_place(mut buffer: Vec<u8>, key: &FlowKey) -> Option<Bytes> {
    let payload = buffer.len().checked_sub(udp_payload_offset(key))?;
    if buffer.len() > MTU {
        return None;
    }
    let (from, to) = (IpAddress::from(key.destination.ip()), IpAddress::from(key.guest.ip()));
    let checksums = ChecksumCapabilities::default();
    let header = ip(from, to, IpProtocol::Udp, UDP_HEADER_LEN + payload)?;
    header.emit(&mut buffer[..], &checksums);
    let datagram = UdpRepr { src_port: key.destination.port(), dst_port: key.guest.port() };
    let rest = &mut buffer[header.header_len()..];
    datagram.emit(&mut UdpPacket::new_unchecked(rest), &from, &to, payload, |_| {}, &checksums);
    Some(buffer.into())
}

/// A datagram to the guest's end of `key` from its other end.
pub(crate) fn udp(key: &FlowKey, content: &[u8]) -> Option<Bytes> {
    let mut buffer = vec![0; udp_payload_offset(key)];
    buffer.extend_from_slice(content);
    udp_in_place(buffer, key)
}

/// The error about `frame`, a packet of the guest's that [`super::parse`] took.
pub(crate) fn unreachable(frame: &[u8], why: Unreachable) -> Option<Bytes> {
    let checksums = ChecksumCapabilities::default();
    if frame.first()? >> 4 == 4 {
        let packet = Ipv4Packet::new_checked(frame).ok()?;
        let data = packet.payload();
        let header = Ipv4Repr {
            src_addr: packet.src_addr(),
            dst_addr: packet.dst_addr(),
            next_header: packet.next_header(),
            payload_len: data.len(),
            hop_limit: packet.hop_limit(),
        };
        let reason = match why {
            Unreachable::Host => Icmpv4DstUnreachable::HostUnreachable,
            Unreachable::Port => Icmpv4DstUnreachable::PortUnreachable,
        };
        return icmp_v4(&Icmpv4Repr::DstUnreachable {
            reason,
            header,
            data: &data[..data.len().min(QUOTED)],
        });
    }
    let packet = Ipv6Packet::new_checked(frame).ok()?;
    let data = packet.payload();
    let header = Ipv6Repr {
        src_addr: packet.src_addr(),
        dst_addr: packet.dst_addr(),
        next_header: packet.next_header(),
        payload_len: data.len(),
        hop_limit: packet.hop_limit(),
    };
    let reason = match why {
        Unreachable::Host => Icmpv6DstUnreachable::AddrUnreachable,
        Unreachable::Port => Icmpv6DstUnreachable::PortUnreachable,
    };
    icmp_v6(&Icmpv6Repr::DstUnreachable { reason, header, data: &data[..data.len().min(QUOTED)] }, &checksums)
}

/// The gateway's answer to an echo request by the protocol of `destination`.
pub(crate) fn echo_reply(destination: IpAddr, ident: u16, seq_no: u16, data: &[u8]) -> Option<Bytes> {
    match destination {
        IpAddr::V4(_) => icmp_v4(&Icmpv4Repr::EchoReply { ident, seq_no, data }),
        IpAddr::V6(_) => {
            icmp_v6(&Icmpv6Repr::EchoReply { ident, seq_no, data }, &ChecksumCapabilities::default())
        }
    }
}

fn icmp_v4(message: &Icmpv4Repr<'_>) -> Option<Bytes> {
    let checksums = ChecksumCapabilities::default();
    let header = ip(GATEWAY_V4.into(), GUEST_V4.into(), IpProtocol::Icmp, message.buffer_len())?;
    let mut buffer = vec![0; header.buffer_len()];
    header.emit(&mut buffer[..], &checksums);
    message.emit(&mut Icmpv4Packet::new_unchecked(&mut buffer[header.header_len()..]), &checksums);
    Some(buffer.into())
}

fn icmp_v6(message: &Icmpv6Repr<'_>, checksums: &ChecksumCapabilities) -> Option<Bytes> {
    let header = ip(GATEWAY_V6.into(), GUEST_V6.into(), IpProtocol::Icmpv6, message.buffer_len())?;
    let mut buffer = vec![0; header.buffer_len()];
    header.emit(&mut buffer[..], checksums);
    let mut packet = Icmpv6Packet::new_unchecked(&mut buffer[header.header_len()..]);
    message.emit(&GATEWAY_V6, &GUEST_V6, &mut packet, checksums);
    Some(buffer.into())
}

/// None for addresses of two kinds, and for more than a packet holds.
fn ip(from: IpAddress, to: IpAddress, protocol: IpProtocol, payload: usize) -> Option<IpRepr> {
    if from.version() != to.version() {
        return None;
    }
    Some(IpRepr::new(from, to, protocol, payload, HOP_LIMIT)).filter(|header| header.buffer_len() <= MTU)
}

#[cfg(test)]
mod tests {
    use super::super::{Packet, parse};
    use super::*;
    use proptest::prelude::*;

    fn key(v6: bool) -> FlowKey {
        if v6 {
            FlowKey { guest: (GUEST_V6, 40_000).into(), destination: "[2001:db8::1]:53".parse().unwrap() }
        } else {
            FlowKey { guest: (GUEST_V4, 40_000).into(), destination: "203.0.113.9:53".parse().unwrap() }
        }
    }

    /// A datagram from the guest, made by the same code with the ends exchanged.
    fn from_guest(v6: bool, content: &[u8]) -> Bytes {
        let key = key(v6);
        udp(&FlowKey { guest: key.destination, destination: key.guest }, content).unwrap()
    }

    #[test]
    fn datagrams_go_both_ways() {
        for v6 in [false, true] {
            let packet = parse(&from_guest(v6, b"hello")).unwrap();
            assert_eq!(packet, Packet::Udp { key: key(v6), payload: Bytes::from_static(b"hello") });
        }
        for (v6, headers) in [(false, 28), (true, 48)] {
            assert_eq!(udp(&key(v6), &vec![0; MTU - headers]).unwrap().len(), MTU);
            assert!(udp(&key(v6), &vec![0; MTU - headers + 1]).is_none());
        }
    }

    #[test]
    fn errors_quote_what_they_are_about() {
        for v6 in [false, true] {
            let frame = from_guest(v6, &[7; 2_000]);
            for why in [Unreachable::Host, Unreachable::Port] {
                let error = unreachable(&frame, why).unwrap();
                assert!(error.len() < 200);
                let ports = if v6 { 40 + 8 + 40 } else { 20 + 8 + 20 };
                assert_eq!(
                    error[ports..ports + 4],
                    [40_000_u16.to_be_bytes(), 53_u16.to_be_bytes()].concat()
                );
            }
        }
    }

    #[test]
    fn what_is_not_the_guests_is_nothing() {
        let good = from_guest(false, b"x");
        let mutated = |at: usize, to: u8| {
            let mut bytes = good.to_vec();
            bytes[at] = to;
            parse(&bytes.into())
        };
        assert!(parse(&good).is_some());
        let cases = [
            ("version", 0, 0x55),
            ("source", 15, 9),
            ("more fragments", 6, 0x20),
            ("fragment offset", 7, 1),
            ("protocol", 9, 132),
            ("multicast", 16, 224),
            ("unspecified port", 23, 0),
        ];
        for (what, at, to) in cases {
            let result = if what == "unspecified port" {
                let mut bytes = good.to_vec();
                bytes[22..24].fill(0);
                parse(&bytes.into())
            } else {
                mutated(at, to)
            };
            assert_eq!(result, None, "{what}");
        }
        assert_eq!(parse(&Bytes::new()), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..200), version in 0..2_usize) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = [0x45, 0x60][version];
            }
            let frame = Bytes::from(bytes);
            if parse(&frame).is_some() {
                unreachable(&frame, Unreachable::Host);
            }
        }

        #[test]
        fn mutations_are_taken(v6: bool, echo: bool, flips in flips(), cut in 0..120_usize) {
            let mut bytes = if echo { echo_request(v6) } else { from_guest(v6, &[1; 40]).to_vec() };
            for (at, to) in flips {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = to;
                }
            }
            bytes.truncate(cut);
            let frame = Bytes::from(bytes);
            if let Some(Packet::Echo { destination, ident, sequence, data }) = parse(&frame) {
                prop_assert!(echo_reply(destination, ident, sequence, &data).is_some());
            } else if parse(&frame).is_some() {
                prop_assert!(unreachable(&frame, Unreachable::Port).is_some());
            }
        }
    }

    fn flips() -> impl Strategy<Value = Vec<(usize, u8)>> {
        proptest::collection::vec((0..100_usize, any::<u8>()), 0..6)
    }

    /// The gateway's reply with its ends exchanged and the request's type.
    fn echo_request(v6: bool) -> Vec<u8> {
        let to = if v6 { IpAddr::V6(GATEWAY_V6) } else { IpAddr::V4(GATEWAY_V4) };
        let mut bytes = echo_reply(to, 1, 2, &[3; 30]).unwrap().to_vec();
        if v6 {
            bytes[8..40].rotate_left(16);
            bytes[40] = 128;
        } else {
            bytes[12..20].rotate_left(4);
            bytes[20] = 8;
        }
        bytes
    }

    #[test]
    fn echo_requests_are_known() {
        for v6 in [false, true] {
            let packet = parse(&echo_request(v6).into()).unwrap();
            assert!(
                matches!(packet, Packet::Echo { ident: 1, sequence: 2, data, .. } if data == [3; 30][..])
            );
        }
    }
}
