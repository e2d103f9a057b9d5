//! The byte channel to the host: a virtio-serial port, a virtio socket or an inherited stream socket, and the handshake on it.
//!
//! On a virtio socket each host end is a connection of its own. It is a stream like any other, and a snapshot of the machine ends
//! it, while the listening socket stays.
//!
//! A virtio-serial port outlives its host ends. While there is none, poll says HUP, reads return 0, and what is written
//! is lost; so the agent waits for HUP to clear, serves until it comes back, and waits again. Tokio keeps "closed" set
//! for as long as a descriptor is registered, hence one registration for each host end ([`Channel`]).
//!
//! A host end may be replaced so fast that HUP has come and gone before the agent looks. Then the next thing to be read
//! is the preamble of the new one. It is recognised by being all that one read returns: a port never joins what two
//! host ends wrote, and a host writes nothing behind its preamble before it has the answer.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use pyro_protocol::preamble::{ANSWER, MAGIC, NONCE_BYTES, Scanner};
use rustix::event::{PollFd, PollFlags, epoll, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{Shutdown, SocketFlags, accept_with};
use rustix::time::Timespec;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufStream, Interest, ReadBuf};

use crate::vsock;

/// Room for one yamux frame and its header, so that each leaves in one write; more than a port takes at once.
const BUFFER_BYTES: usize = 32 * 1024;

const NO_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// The way by which host ends come.
#[derive(Debug)]
pub enum Way {
    Port(Port),
    /// A listening socket.
    Socket(Rc<OwnedFd>),
}

impl Way {
    /// A virtio-serial port that is open, non-blocking, as `file`.
    pub fn port(file: OwnedFd) -> Self {
        Self::Port(Port::new(file))
    }

    /// The machine's virtio socket.
    pub fn listen() -> io::Result<Self> {
        Ok(Self::Socket(Rc::new(vsock::listen()?)))
    }

    /// Waits until a host end is open.
    pub async fn accept(&self) -> io::Result<Channel> {
        match self {
            Self::Port(port) => port.accept().await,
            Self::Socket(socket) => Channel::new(Rc::new(accepted(socket).await?)),
        }
    }
}

/// A virtio-serial port, for all the host ends that it will have.
#[derive(Debug)]
pub struct Port {
    file: Rc<OwnedFd>,
    /// The preamble that a host end was served in the middle of.
    overheard: Rc<RefCell<Vec<u8>>>,
}

impl Port {
    fn new(file: OwnedFd) -> Self {
        Self { file: Rc::new(file), overheard: Rc::default() }
    }

    async fn accept(&self) -> io::Result<Channel> {
        host_opened(&self.file).await?;
        let mut channel = Channel::new(Rc::clone(&self.file))?;
        channel.overheard = Some(Rc::clone(&self.overheard));
        Ok(channel)
    }
}

/// One host end's time on the channel.
#[derive(Debug)]
pub struct Channel {
    file: AsyncFd<Rc<OwnedFd>>,
    overheard: Option<Rc<RefCell<Vec<u8>>>>,
    /// Something was written, so the preamble of this host end has been read.
    answered: bool,
}

impl Channel {
    /// Registers `file`, which must be non-blocking, with the runtime.
    pub fn new(file: Rc<OwnedFd>) -> io::Result<Self> {
        Ok(Self {
            file: watched(file, Interest::READABLE | Interest::WRITABLE)?,
            overheard: None,
            answered: false,
        })
    }

    /// Puts what was overheard before this host end was served into `buf`.
    fn replay(&self, buf: &mut ReadBuf<'_>) -> bool {
        let Some(overheard) = self.overheard.as_ref().filter(|_| !self.answered) else {
            return false;
        };
        let mut overheard = overheard.borrow_mut();
        let replayed = !overheard.is_empty() && overheard.len() <= buf.remaining();
        if replayed {
            buf.put_slice(&overheard);
            overheard.clear();
        }
        replayed
    }

    /// Keeps `bytes`, all that one read returned, if they are the preamble of the next host end.
    fn overhear(&self, bytes: &[u8]) -> bool {
        let Some(overheard) = self.overheard.as_ref().filter(|_| self.answered) else {
            return false;
        };
        let is_preamble = bytes.starts_with(&MAGIC) && bytes.len() <= MAGIC.len() + NONCE_BYTES;
        if is_preamble {
            overheard.replace(bytes.to_vec());
        }
        is_preamble
    }
}

impl AsyncRead for Channel {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.replay(buf) {
            return Poll::Ready(Ok(()));
        }
        loop {
            let mut ready = ready!(self.file.poll_read_ready(cx))?;
            let unfilled = buf.initialize_unfilled();
            match rustix::io::read(self.file.get_ref(), &mut *unfilled) {
                Ok(count) if self.overhear(&unfilled[..count]) => return Poll::Ready(Ok(())),
                Ok(count) => {
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
                // Closed and opened again before we looked: this host end is over all the same.
                Err(Errno::AGAIN) if ready.ready().is_read_closed() => return Poll::Ready(Ok(())),
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}

impl AsyncWrite for Channel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.answered = true;
        loop {
            let mut ready = ready!(self.file.poll_write_ready(cx))?;
            match rustix::io::write(self.file.get_ref(), buf) {
                Ok(count) => return Poll::Ready(Ok(count)),
                // A port without a host end is never writable; waiting for it would hide that the host is gone.
                Err(Errno::AGAIN) if ready.ready().is_write_closed() => {
                    return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                }
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match rustix::net::shutdown(self.file.get_ref(), Shutdown::Write) {
            // A port has no such thing.
            Ok(()) | Err(Errno::NOTSOCK | Errno::NOTCONN) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }
}

/// Answers the host's preamble. `None` when the host end went away before it sent one.
pub async fn shake_hands(channel: Channel) -> io::Result<Option<BufStream<Channel>>> {
    let mut channel = BufStream::with_capacity(BUFFER_BYTES, BUFFER_BYTES, channel);
    let mut scanner = Scanner::new(MAGIC);
    loop {
        let bytes = channel.fill_buf().await?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let mut taken = 0;
        let nonce = bytes.iter().find_map(|byte| {
            taken += 1;
            scanner.push(*byte)
        });
        channel.consume(taken);
        if let Some(nonce) = nonce {
            channel.write_all(&ANSWER).await?;
            channel.write_all(&nonce).await?;
            channel.flush().await?;
            return Ok(Some(channel));
        }
    }
}

/// The next host end that connects to the listening socket.
async fn accepted(socket: &Rc<OwnedFd>) -> io::Result<OwnedFd> {
    let watch = watched(Rc::clone(socket), Interest::READABLE)?;
    loop {
        let mut ready = watch.readable().await?;
        match accept_with(socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(host) => return Ok(host),
            Err(Errno::AGAIN) => ready.clear_ready(),
            // One that was gone before it was taken.
            Err(Errno::INTR | Errno::CONNABORTED | Errno::CONNRESET) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits until a host end is open on the virtio-serial `port`.
async fn host_opened(port: &OwnedFd) -> io::Result<()> {
    // Level-triggered HUP would wake us all the time; an edge-triggered watch of its own, itself watched, does not.
    let watch = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let edges = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
    epoll::add(&watch, port, epoll::EventData::new_u64(0), edges)?;
    let watch = watched(Rc::new(watch), Interest::READABLE)?;
    while hung_up(port)? {
        let mut ready = watch.readable().await?;
        let mut events =
            [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 4];
        epoll::wait(watch.get_ref(), events.as_mut_slice(), Some(&NO_WAIT))?;
        ready.clear_ready();
    }
    Ok(())
}

#[expect(unsafe_code, reason = "tokio wants its rule about descriptors acknowledged")]
fn watched(file: Rc<OwnedFd>, interest: Interest) -> io::Result<AsyncFd<Rc<OwnedFd>>> {
    // SAFETY: an `Rc<OwnedFd>` names the same open descriptor for as long as it lives.
    Ok(unsafe { AsyncFd::register_with_interest(file, interest) }?)
}

fn hung_up(port: &OwnedFd) -> io::Result<bool> {
    let mut polled = [PollFd::new(port, PollFlags::OUT)];
    poll(&mut polled, Some(&NO_WAIT))?;
    Ok(polled.iter().any(|port| port.revents().contains(PollFlags::HUP)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use tokio::io::AsyncReadExt;

    fn preamble(nonce: u8) -> Vec<u8> {
        [&MAGIC[..], &[nonce; NONCE_BYTES]].concat()
    }

    fn port() -> (Port, UnixStream) {
        let (guest, host) = UnixStream::pair().unwrap();
        guest.set_nonblocking(true).unwrap();
        (Port::new(guest.into()), host)
    }

    fn answered(host: &mut UnixStream) -> u8 {
        let mut answer = [0; ANSWER.len() + NONCE_BYTES];
        host.read_exact(&mut answer).unwrap();
        assert!(answer.starts_with(&ANSWER));
        answer[ANSWER.len()]
    }

    #[test]
    fn a_host_end_that_takes_over_unseen_is_answered() {
        runtime().unwrap().block_on(async {
            let (port, mut host) = port();
            host.write_all(&preamble(1)).unwrap();
            let mut channel = shake_hands(port.accept().await.unwrap()).await.unwrap().unwrap();
            assert_eq!(answered(&mut host), 1);
            host.write_all(b"of the first").unwrap();
            let mut buffer = [0; 100];
            assert_eq!(channel.read(&mut buffer).await.unwrap(), 12);
            host.write_all(&preamble(2)).unwrap();
            assert_eq!(channel.read(&mut buffer).await.unwrap(), 0, "the first is over");
            drop(channel);
            let channel = shake_hands(port.accept().await.unwrap()).await.unwrap();
            assert!(channel.is_some());
            assert_eq!(answered(&mut host), 2);
        });
    }

    #[test]
    fn a_preamble_among_other_bytes_is_just_bytes() {
        runtime().unwrap().block_on(async {
            let (port, mut host) = port();
            host.write_all(&preamble(1)).unwrap();
            let mut channel = shake_hands(port.accept().await.unwrap()).await.unwrap().unwrap();
            let mut sent = preamble(2);
            sent.push(0);
            host.write_all(&sent).unwrap();
            let mut received = vec![0; sent.len()];
            channel.read_exact(&mut received).await.unwrap();
            assert_eq!(received, sent);
        });
    }
}
