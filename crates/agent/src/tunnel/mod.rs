//! The tunnel: a network interface whose packets the host carries, as long as the call lasts.
//!
//! Packets that leave wait in the kernel's queue until the host takes them, so a host that is slow slows down what sends here,
//! and costs no memory.

mod device;

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use pyro_protocol::TUNNEL_INTERFACE;
use pyro_protocol::limits::MAX_CHUNK_BYTES;
use pyro_protocol::packets::{self, Packets};
use pyro_protocol::v1::{Data, Done, FailureKind, Tunnel, input, reply};
use rustix::io::Errno;
use tokio::select;
use tokio::task::yield_now;

use crate::agent::{Agent, Mode};
use crate::call::Call;
use crate::fail::Fail;
use crate::netlink::Netlink;
use device::Device;

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// What IPv6 requires of every link.
const MIN_MTU: u32 = 1280;
/// Several packets fit into one message.
const MAX_MTU: u32 = 32_767;

/// One of the tunnel's subnets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Subnet {
    address: IpAddr,
    prefix: u8,
    gateway: IpAddr,
}

/// Makes the device and carries its packets until the call is ended.
pub async fn tunnel(agent: &Agent, call: &Call, request: &Tunnel) -> Result<(), Fail> {
    if let Mode::Process { .. } = agent.mode {
        let message = "an agent that is an ordinary process has its host's network";
        return Err(Fail::new(FailureKind::Unsupported, message));
    }
    let subnets = subnets(request)?;
    let mtu = usize::try_from(request.mtu).unwrap_or(usize::MAX);
    let device = Device::create().map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::BUSY) => Fail::new(FailureKind::AlreadyExists, "there is a tunnel already"),
        _ => Fail::os("make the tunnel's device", error),
    })?;
    bring_up(request.mtu, &subnets).map_err(|error| Fail::os("bring up the tunnel", error))?;
    name_resolver(&subnets).map_err(|error| Fail::os("name the resolver", error))?;
    call.send(reply::Reply::Done(Done {})).await?;
    select! {
        ended = outbound(call, &device, mtu) => ended,
        ended = inbound(call, &device) => ended,
    }
}

fn subnets(request: &Tunnel) -> Result<Vec<Subnet>, Fail> {
    if !(MIN_MTU..=MAX_MTU).contains(&request.mtu) {
        return Err(Fail::invalid(format!("an MTU is {MIN_MTU} to {MAX_MTU}, not {}", request.mtu)));
    }
    let malformed = || Fail::invalid("an address of the tunnel is malformed");
    let v4 = |bytes: &Bytes| <[u8; 4]>::try_from(&bytes[..]).map(IpAddr::from).map_err(|_| malformed());
    let v6 = |bytes: &Bytes| <[u8; 16]>::try_from(&bytes[..]).map(IpAddr::from).map_err(|_| malformed());
    let prefix =
        |prefix: u32, bits: u8| u8::try_from(prefix).ok().filter(|it| *it <= bits).ok_or_else(malformed);
    let mut subnets = vec![Subnet {
        address: v4(&request.address_v4)?,
        prefix: prefix(request.prefix_v4, 32)?,
        gateway: v4(&request.gateway_v4)?,
    }];
    if !request.address_v6.is_empty() {
        subnets.push(Subnet {
            address: v6(&request.address_v6)?,
            prefix: prefix(request.prefix_v6, 128)?,
            gateway: v6(&request.gateway_v6)?,
        });
    }
    Ok(subnets)
}

fn bring_up(mtu: u32, subnets: &[Subnet]) -> io::Result<()> {
    let index = rustix::net::netdevice::name_to_index(&socket()?, TUNNEL_INTERFACE)?;
    let netlink = Netlink::open()?;
    netlink.bring_up(index, Some(mtu))?;
    for subnet in subnets {
        netlink.add_address(index, subnet.address, subnet.prefix)?;
        netlink.add_default_route(index, subnet.gateway)?;
    }
    Ok(())
}

fn socket() -> io::Result<rustix::fd::OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    Ok(socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?)
}

/// Has programs ask the gateway for names, whatever was there before.
fn name_resolver(subnets: &[Subnet]) -> io::Result<()> {
    let Some(Subnet { gateway, .. }) = subnets.first() else { return Ok(()) };
    // It may be a link to what a resolver of the image's own would write.
    match fs::remove_file(RESOLV_CONF) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::write(Path::new(RESOLV_CONF), format!("nameserver {gateway}\n"))
}

/// Sends what leaves this machine, as many packets at once as there are.
async fn outbound(call: &Call, device: &Device, mtu: usize) -> Result<(), Fail> {
    let mut packet = vec![0; mtu];
    let mut batch = BytesMut::new();
    loop {
        device.readable().await.map_err(broken)?;
        while packets::fits(&batch, mtu, MAX_CHUNK_BYTES) {
            match device.try_read(&mut packet) {
                Ok(length) => packets::append(&mut batch, &packet[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(broken(error)),
            }
        }
        if !batch.is_empty() {
            call.send(reply::Reply::Data(Data { data: batch.split().freeze() })).await?;
        }
        // A flood must not keep the others waiting.
        yield_now().await;
    }
}

/// Has what the host sends arrive.
async fn inbound(call: &Call, device: &Device) -> Result<(), Fail> {
    loop {
        match call.input().await? {
            input::Input::Data(data) => {
                for packet in Packets::new(data.data) {
                    let packet = packet.map_err(|malformed| Fail::invalid(malformed.to_string()))?;
                    device.write(&packet).await.map_err(broken)?;
                }
            }
            input::Input::End(_) => return Ok(()),
            _ => return Err(Fail::invalid("something else than packets for a tunnel")),
        }
        yield_now().await;
    }
}

fn broken(error: io::Error) -> Fail {
    Fail::os("carry packets", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Tunnel {
        Tunnel {
            mtu: 16_384,
            address_v4: vec![10, 0, 0, 2].into(),
            prefix_v4: 30,
            gateway_v4: vec![10, 0, 0, 1].into(),
            ..Tunnel::default()
        }
    }

    #[test]
    fn addresses_are_checked() {
        let subnet = Subnet { address: [10, 0, 0, 2].into(), prefix: 30, gateway: [10, 0, 0, 1].into() };
        assert_eq!(subnets(&request()).unwrap(), [subnet]);
        let v6 = Tunnel {
            address_v6: vec![1; 16].into(),
            prefix_v6: 64,
            gateway_v6: vec![2; 16].into(),
            ..request()
        };
        assert_eq!(subnets(&v6).unwrap().len(), 2);
        for wrong in [
            Tunnel { mtu: 1279, ..request() },
            Tunnel { mtu: 32_768, ..request() },
            Tunnel { prefix_v4: 33, ..request() },
            Tunnel { address_v4: vec![1; 5].into(), ..request() },
            Tunnel { gateway_v6: vec![2; 4].into(), ..v6 },
        ] {
            assert_eq!(subnets(&wrong).unwrap_err().kind, FailureKind::Invalid);
        }
    }
}
