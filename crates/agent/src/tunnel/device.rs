//! A TUN device: each read is one packet that leaves this machine, each write one that arrives.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;

use pyro_protocol::TUNNEL_INTERFACE;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::ioctl::{self, Opcode, Setter, opcode};
use tokio::io::Interest;
use tokio::net::unix::pipe;

const FILE: &str = "/dev/net/tun";

const TUNSETIFF: Opcode = opcode::write::<i32>(b'T', 202);
const IFF_TUN: u16 = 0x0001;
/// No header before the packets.
const IFF_NO_PI: u16 = 0x1000;

/// `struct ifreq` of the kernel, as TUNSETIFF reads it.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    unused: [u8; 22],
}

/// A TUN device, which is there for as long as this is.
#[derive(Debug)]
pub struct Device {
    receiver: pipe::Receiver,
    sender: pipe::Sender,
}

impl Device {
    /// Makes the device. Fails with `EBUSY` when there is one.
    pub fn create() -> io::Result<Self> {
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(FILE)?;
        let mut request = InterfaceRequest { name: [0; 16], flags: IFF_TUN | IFF_NO_PI, unused: [0; 22] };
        request.name[..TUNNEL_INTERFACE.len()].copy_from_slice(TUNNEL_INTERFACE.as_bytes());
        attach(file.as_fd(), request)?;
        Self::of(file)
    }

    /// A file whose reads and writes wait for readiness, which is what a pipe is, whatever else it may be.
    fn of(file: File) -> io::Result<Self> {
        let file = OwnedFd::from(file);
        let sender = pipe::Sender::from_owned_fd_unchecked(file.try_clone()?)?;
        Ok(Self { receiver: pipe::Receiver::from_owned_fd_unchecked(file)?, sender })
    }

    /// Waits until a packet leaves. Fails when somebody has removed the device, which shows as an error alone.
    pub async fn readable(&self) -> io::Result<()> {
        let ready = self.receiver.ready(Interest::READABLE | Interest::ERROR).await?;
        if ready.is_readable() { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }

    /// Reads one packet that leaves; `WouldBlock` when there is none.
    pub fn try_read(&self, packet: &mut [u8]) -> io::Result<usize> {
        self.receiver.try_read(packet)
    }

    /// Has one packet arrive. It is lost where it is no packet, where there is no room for it, and where the interface is down,
    /// which somebody may bring up again.
    pub async fn write(&self, packet: &[u8]) -> io::Result<()> {
        loop {
            match self.sender.try_write(packet) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.sender.writable().await?,
                Err(error) => {
                    let lost = [Errno::INVAL, Errno::IO, Errno::NOBUFS, Errno::NOMEM];
                    let is_lost = Errno::from_io_error(&error).is_some_and(|errno| lost.contains(&errno));
                    return if is_lost { Ok(()) } else { Err(error) };
                }
            }
        }
    }
}

#[expect(unsafe_code, reason = "no safe wrapper exists for this ioctl")]
fn attach(tun: BorrowedFd<'_>, request: InterfaceRequest) -> io::Result<()> {
    // SAFETY: TUNSETIFF reads an `ifreq`, which has the size and layout of `InterfaceRequest`.
    unsafe { ioctl::ioctl(tun, Setter::<TUNSETIFF, InterfaceRequest>::new(request)) }?;
    Ok(())
}
