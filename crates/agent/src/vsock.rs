//! A listening virtio socket, for machines whose channel that is.

use std::io;

use pyro_protocol::CHANNEL_VSOCK_PORT;
use rustix::fd::OwnedFd;
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen as listen_on, socket_with};

/// Host ends that may wait while one is served: those of hosts that gave up.
const BACKLOG: i32 = 16;
/// Whatever this machine's own context id is: a snapshot may bring another.
const ANY_CONTEXT: u32 = u32::MAX;

/// A non-blocking socket on which the host finds the agent.
pub fn listen() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::VSOCK, SocketType::STREAM, flags, None)?;
    bind(&socket, &Address::new(CHANNEL_VSOCK_PORT))?;
    listen_on(&socket, BACKLOG)?;
    Ok(socket)
}

/// The kernel's `sockaddr_vm`.
#[repr(C)]
struct Address {
    family: u16,
    reserved: u16,
    port: u32,
    context: u32,
    flags: u8,
    zero: [u8; 3],
}

impl Address {
    fn new(port: u32) -> Self {
        let family = AddressFamily::VSOCK.as_raw();
        Self { family, reserved: 0, port, context: ANY_CONTEXT, flags: 0, zero: [0; 3] }
    }
}

// SAFETY: the pointer is to a whole `sockaddr_vm`, which lives for as long as the call does.
#[expect(unsafe_code, reason = "rustix has no such address")]
unsafe impl SocketAddrArg for Address {
    unsafe fn with_sockaddr<R>(&self, call: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        const BYTES: SocketAddrLen = 16;
        const { assert!(size_of::<Address>() == BYTES as usize) };
        call(std::ptr::from_ref(self).cast(), BYTES)
    }
}
