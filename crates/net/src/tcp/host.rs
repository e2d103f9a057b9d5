//! The host's end of a connection: a socket to the world, or to a service of the network's own.

use std::io;
use tokio::io::{AsyncWriteExt, Interest, Ready};
use tokio::net::{TcpStream, UnixStream};

#[derive(Debug)]
pub(super) enum HostStream {
    Tcp(TcpStream),
    Local(UnixStream),
}

impl HostStream {
    pub(super) async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        match self {
            Self::Tcp(stream) => stream.ready(interest).await,
            Self::Local(stream) => stream.ready(interest).await,
        }
    }

    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read(buffer),
            Self::Local(stream) => stream.try_read(buffer),
        }
    }

    pub(super) fn try_write(&self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(buffer),
            Self::Local(stream) => stream.try_write(buffer),
        }
    }

    /// Ends what is sent. Does not wait.
    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown().await,
            Self::Local(stream) => stream.shutdown().await,
        }
    }

    /// Ends both ways, so that the other end sees a reset.
    pub(super) fn reset(self) {
        if let Self::Tcp(stream) = self {
            // Without this the other end would take what it has for all there is.
            drop(stream.set_zero_linger());
        }
    }
}
