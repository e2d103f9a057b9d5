//! IP packets: taken apart as far as it takes to say whose they are, and made where no TCP socket makes them.
//!
//! Checksums of what comes in are not looked at: the channel that carries packets keeps them whole, and a guest that lies
//! about them deceives only itself.

mod make;

pub(crate) use make::{Unreachable, echo_reply, udp, udp_in_place, udp_payload_offset, unreachable};

use crate::addressing::{MTU, is_guest};
use bytes::Bytes;
use smoltcp::wire::{
    IPV4_HEADER_LEN, Icmpv4Message, Icmpv4Packet, Icmpv6Message, Icmpv6Packet, IpProtocol, Ipv4Packet,
    Ipv6Packet, TcpPacket, UdpPacket,
};
use std::net::{IpAddr, SocketAddr};

/// The two ends of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FlowKey {
    pub(crate) guest: SocketAddr,
    pub(crate) destination: SocketAddr,
}

/// What a packet of the guest's is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Packet {
    Tcp { key: FlowKey, control: Control },
    Udp { key: FlowKey, payload: Bytes },
    Echo { destination: IpAddr, ident: u16, sequence: u16, data: Bytes },
}

/// What a segment means to somebody who does not know its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    /// It wants to open one.
    Open,
    /// It ends one.
    Reset,
    Other,
}

/// What `frame` is; none for everything that is not from the guest, not whole, or of another kind.
pub(crate) fn parse(frame: &Bytes) -> Option<Packet> {
    if frame.len() > MTU {
        return None;
    }
    let (source, destination, protocol, payload) = ends(frame)?;
    if !is_guest(source) || !is_destination(destination) {
        return None;
    }
    let key = |from, to| {
        (from != 0 && to != 0).then(|| FlowKey {
            guest: SocketAddr::new(source, from),
            destination: SocketAddr::new(destination, to),
        })
    };
    match protocol {
        IpProtocol::Tcp => {
            let segment = TcpPacket::new_checked(payload).ok()?;
            Some(Packet::Tcp {
                key: key(segment.src_port(), segment.dst_port())?,
                control: control(&segment),
            })
        }
        IpProtocol::Udp => {
            let datagram = UdpPacket::new_checked(payload).ok()?;
            let key = key(datagram.src_port(), datagram.dst_port())?;
            Some(Packet::Udp { key, payload: frame.slice_ref(datagram.payload()) })
        }
        IpProtocol::Icmp if destination.is_ipv4() => {
            let message = Icmpv4Packet::new_checked(payload).ok()?;
            let echo = message.msg_type() == Icmpv4Message::EchoRequest && message.msg_code() == 0;
            let data = || frame.slice_ref(message.data());
            echo.then(|| Packet::Echo {
                destination,
                ident: message.echo_ident(),
                sequence: message.echo_seq_no(),
                data: data(),
            })
        }
        IpProtocol::Icmpv6 if destination.is_ipv6() => {
            let message = Icmpv6Packet::new_checked(payload).ok()?;
            let echo = message.msg_type() == Icmpv6Message::EchoRequest && message.msg_code() == 0;
            let data = || frame.slice_ref(message.payload());
            echo.then(|| Packet::Echo {
                destination,
                ident: message.echo_ident(),
                sequence: message.echo_seq_no(),
                data: data(),
            })
        }
        _ => None,
    }
}

/// From where to where, by which protocol, and what.
fn ends(frame: &[u8]) -> Option<(IpAddr, IpAddr, IpProtocol, &[u8])> {
    match frame.first()? >> 4 {
        4 => {
            let packet = Ipv4Packet::new_checked(frame).ok()?;
            let fragment = packet.more_frags() || packet.frag_offset() != 0;
            if fragment || usize::from(packet.header_len()) < IPV4_HEADER_LEN {
                return None;
            }
            Some((packet.src_addr().into(), packet.dst_addr().into(), packet.next_header(), packet.payload()))
        }
        6 => {
            // Extension headers are left out: no ordinary program's packets have any.
            let packet = Ipv6Packet::new_checked(frame).ok()?;
            Some((packet.src_addr().into(), packet.dst_addr().into(), packet.next_header(), packet.payload()))
        }
        _ => None,
    }
}

fn control(segment: &TcpPacket<&[u8]>) -> Control {
    match (segment.syn(), segment.ack(), segment.rst(), segment.fin()) {
        (_, _, true, _) => Control::Reset,
        (true, false, false, false) => Control::Open,
        _ => Control::Other,
    }
}

/// One that a connection could be made to. The stack itself would also take the others.
fn is_destination(address: IpAddr) -> bool {
    let broadcast = address == IpAddr::V4(std::net::Ipv4Addr::BROADCAST);
    !address.is_unspecified() && !address.is_multicast() && !broadcast
}
