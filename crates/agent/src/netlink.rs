//! Interfaces, addresses and routes of this machine, asked for over netlink. The older way, ioctls, has no safe wrapper.

use std::io;
use std::net::IpAddr;

use rustix::fd::OwnedFd;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

/// Protocol 0, which is how a socket without a protocol is asked for.
const NETLINK_ROUTE: Option<Protocol> = None;
/// Index of `lo`, in every network namespace.
pub const LOOPBACK: u32 = 1;

const HEADER_BYTES: usize = 16;
const REQUEST_WITH_ACK: u16 = 1 | 4;
const CREATE: u16 = 0x400 | 0x200;

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;

const IFF_UP: u32 = 1;
const IFLA_MTU: u16 = 4;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// The address is used at once: nobody else in the tunnel could have it.
const IFA_F_NODAD: u8 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RTN_UNICAST: u8 = 1;

/// An open netlink socket.
#[derive(Debug)]
pub struct Netlink(OwnedFd);

impl Netlink {
    pub fn open() -> io::Result<Self> {
        let kind = SocketType::RAW;
        Ok(Self(socket_with(AddressFamily::NETLINK, kind, SocketFlags::CLOEXEC, NETLINK_ROUTE)?))
    }

    /// Brings an interface up, with this MTU where one is given.
    pub fn bring_up(&self, index: u32, mtu: Option<u32>) -> io::Result<()> {
        let mut message = Message::new(RTM_NEWLINK, 0);
        message.put(&[0; 4]).put(&index.to_ne_bytes()).put(&IFF_UP.to_ne_bytes()).put(&IFF_UP.to_ne_bytes());
        if let Some(mtu) = mtu {
            message.attribute(IFLA_MTU, &mtu.to_ne_bytes());
        }
        self.ask(message)
    }

    /// Gives an interface an address.
    pub fn add_address(&self, index: u32, address: IpAddr, prefix: u8) -> io::Result<()> {
        let mut message = Message::new(RTM_NEWADDR, CREATE);
        let scope = RT_SCOPE_UNIVERSE;
        message.put(&[family(address), prefix, IFA_F_NODAD, scope]).put(&index.to_ne_bytes());
        message.address(IFA_LOCAL, address).address(IFA_ADDRESS, address);
        self.ask(message)
    }

    /// Sends whatever has no other route to `gateway`.
    pub fn add_default_route(&self, index: u32, gateway: IpAddr) -> io::Result<()> {
        let mut message = Message::new(RTM_NEWROUTE, CREATE);
        let (lengths_and_tos, flags) = ([0, 0, 0], [0; 4]);
        message.put(&[family(gateway)]).put(&lengths_and_tos);
        message.put(&[RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_UNIVERSE, RTN_UNICAST]).put(&flags);
        message.address(RTA_GATEWAY, gateway).attribute(RTA_OIF, &index.to_ne_bytes());
        self.ask(message)
    }

    fn ask(&self, message: Message) -> io::Result<()> {
        send(&self.0, &message.finish(), SendFlags::empty())?;
        let mut answer = [0; 512];
        let (received, _) = recv(&self.0, &mut answer, RecvFlags::empty())?;
        // An acknowledgement is a header and a negated errno.
        let code = answer[..received].get(HEADER_BYTES..).and_then(|code| code.first_chunk()).copied();
        match code.map(i32::from_ne_bytes) {
            Some(0) => Ok(()),
            Some(code) => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

fn family(address: IpAddr) -> u8 {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    u8::try_from(family.as_raw()).unwrap_or_default()
}

/// A message in the making.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(REQUEST_WITH_ACK | flags).to_ne_bytes());
        Self(bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends an attribute; none is longer than an address.
    fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(4 + value.len()).unwrap_or_default();
        self.put(&length.to_ne_bytes()).put(&kind.to_ne_bytes()).put(value);
        let padded = self.0.len().next_multiple_of(4);
        self.0.resize(padded, 0);
        self
    }

    fn address(&mut self, kind: u16, address: IpAddr) -> &mut Self {
        match address {
            IpAddr::V4(address) => self.attribute(kind, &address.octets()),
            IpAddr::V6(address) => self.attribute(kind, &address.octets()),
        }
    }

    fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or_default();
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}
