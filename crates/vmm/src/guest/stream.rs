//! The byte stream that carries one call, and what opens one: the connection to a guest, or the socket of the process
//! that owns it.

use super::connect::Connection;
use crate::VmmError;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;

/// Bytes both ways.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The stream of one call. Dropping it cancels the call in the guest.
pub(super) type Stream = Box<dyn Duplex>;

/// Opens streams.
#[derive(Debug, Clone)]
pub(super) enum StreamOpener {
    /// On the connection to a guest, which this process owns.
    Connection(Connection),
    /// By a connection each to the socket of the process that owns the guest's.
    Socket(Arc<Path>),
}

impl StreamOpener {
    pub(super) fn socket(path: PathBuf) -> Self {
        Self::Socket(path.into())
    }

    /// A new stream; fails with [`VmmError::ChannelClosed`] when there is nobody at the other end.
    pub(super) async fn open(&self, call: &'static str) -> Result<Stream, VmmError> {
        match self {
            Self::Connection(connection) => connection.open(call).await,
            Self::Socket(path) => connect(path, call).await,
        }
    }
}

async fn connect(socket: &Path, call: &'static str) -> Result<Stream, VmmError> {
    match crate::socket::connect(socket).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => VmmError::ChannelClosed { call },
            _ => VmmError::host(format!("connect to {}", socket.display()), error),
        }),
    }
}

/// A stream that counts as open for as long as it lives.
pub(super) struct Held<S> {
    stream: S,
    _permit: OwnedSemaphorePermit,
}

impl<S> Held<S> {
    pub(super) fn new(stream: S, permit: OwnedSemaphorePermit) -> Self {
        Self { stream, _permit: permit }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Held<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Held<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
