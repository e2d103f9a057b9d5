//! The tunnel: the packets of a guest that has a network.

use super::call::{Call, CallInput, CallReplies};
use super::stream::StreamOpener;
use super::{DISK_DEADLINE, within};
use crate::VmmError;
use bytes::{Bytes, BytesMut};
use pyro_protocol::limits::MAX_CHUNK_BYTES;
use pyro_protocol::packets::{self, Packets};
use pyro_protocol::v1::reply::Reply;
use pyro_protocol::v1::{self, Data, input, request};
use std::net::{Ipv4Addr, Ipv6Addr};

const CALL: &str = "tunnel";

/// One of the subnets of a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelSubnet<Address> {
    /// The guest's address.
    pub guest: Address,
    /// Length of the subnet's prefix, in bits.
    pub prefix: u8,
    /// The default route.
    pub gateway: Address,
}

/// What a guest's end of a tunnel is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelRequest {
    /// Largest packet, in bytes; 1,280 to 32,767.
    pub mtu: u16,
    /// Its IPv4 subnet, whose gateway is also the resolver.
    pub v4: TunnelSubnet<Ipv4Addr>,
    /// Its IPv6 subnet, where it has one.
    pub v6: Option<TunnelSubnet<Ipv6Addr>>,
}

/// What leaves a guest. Dropping it and the [`TunnelInput`] ends the tunnel.
pub struct TunnelOutput {
    replies: CallReplies,
    mtu: usize,
}

/// What arrives in a guest.
pub struct TunnelInput {
    input: CallInput,
    batch: BytesMut,
    mtu: usize,
}

pub(super) async fn open(
    streams: &StreamOpener,
    request: TunnelRequest,
) -> Result<(TunnelOutput, TunnelInput), VmmError> {
    let TunnelRequest { mtu, v4, v6 } = request;
    let octets = |address: Ipv4Addr| Bytes::copy_from_slice(&address.octets());
    let octets_v6 =
        |address: Option<Ipv6Addr>| address.map_or(Bytes::new(), |it| Bytes::copy_from_slice(&it.octets()));
    let message = v1::Tunnel {
        mtu: mtu.into(),
        address_v4: octets(v4.guest),
        prefix_v4: v4.prefix.into(),
        gateway_v4: octets(v4.gateway),
        address_v6: octets_v6(v6.map(|v6| v6.guest)),
        prefix_v6: v6.map_or(0, |v6| v6.prefix.into()),
        gateway_v6: octets_v6(v6.map(|v6| v6.gateway)),
    };
    within(CALL, DISK_DEADLINE, async {
        let mut call = Call::open(streams, CALL, request::Call::Tunnel(message)).await?;
        match call.replies.next().await? {
            Reply::Done(_) => {}
            _ => return Err(call.misbehaved("it sent packets before there was a tunnel")),
        }
        let (mtu, batch) = (usize::from(mtu), BytesMut::new());
        Ok((TunnelOutput { replies: call.replies, mtu }, TunnelInput { input: call.input, batch, mtu }))
    })
    .await
}

impl TunnelOutput {
    /// The next packets, in order, of the MTU at most. Waits for as long as there are none; fails when the guest has ended the
    /// tunnel or is gone.
    pub async fn next(&mut self) -> Result<Vec<Bytes>, VmmError> {
        let Reply::Data(data) = self.replies.next().await? else {
            return Err(self.replies.misbehaved("it sent something else than packets"));
        };
        let packets: Result<Vec<_>, _> = Packets::new(data.data).collect();
        match packets {
            Ok(packets) if packets.iter().all(|packet| packet.len() <= self.mtu) => Ok(packets),
            _ => Err(self.replies.misbehaved("it sent packets that are cut off or too long")),
        }
    }
}

impl TunnelInput {
    /// Puts a packet to those that are sent next; returns whether there is room for another one.
    pub fn push(&mut self, packet: &[u8]) -> bool {
        packets::append(&mut self.batch, packet);
        packets::fits(&self.batch, self.mtu, MAX_CHUNK_BYTES)
    }

    /// Sends what was put. Waits for as long as the guest does not take it; fails when it is gone.
    pub async fn send(&mut self) -> Result<(), VmmError> {
        let data = self.batch.split().freeze();
        self.input.send(input::Input::Data(Data { data })).await
    }
}
