//! From a byte channel to multiplexed streams: the preamble, then a yamux client driven by one task.

use super::stream::{Held, Stream, StreamOpener};
use crate::VmmError;
use futures::future::poll_fn;
use pyro_protocol::frame::FrameError;
use pyro_protocol::limits::{MAX_CONNECTION_WINDOW_BYTES, MAX_STREAMS};
use pyro_protocol::preamble::{ANSWER, MAGIC, MAX_DISCARDED_BYTES, NONCE_BYTES, Scanner};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};

const CALL: &str = "connect";
const WAITING_OPENS: usize = 64;

type Opened = oneshot::Sender<yamux::Stream>;

/// Streams open at once. One too many ends the connection for all, and a stream that was dropped still counts until the
/// connection has taken note.
pub const MAX_OPEN_CALLS: usize = MAX_STREAMS / 4 * 3;

/// Opens streams on one connection.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    requests: mpsc::Sender<Opened>,
    open: Arc<Semaphore>,
}

impl Connection {
    /// A new stream, as soon as there is room for one; fails when the connection is gone.
    pub(super) async fn open(&self, call: &'static str) -> Result<Stream, VmmError> {
        let gone = || VmmError::ChannelClosed { call };
        let permit = Arc::clone(&self.open).acquire_owned().await.map_err(|_| gone())?;
        let (opened, stream) = oneshot::channel();
        self.requests.send(opened).await.map_err(|_| gone())?;
        let stream = stream.await.map_err(|_| gone())?;
        Ok(Box::new(Held::new(stream.compat(), permit)))
    }
}

/// Waits, without a deadline of its own, until an agent answers the preamble.
pub(super) async fn establish(mut channel: UnixStream) -> Result<StreamOpener, VmmError> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|error| VmmError::host("read random bytes", error))?;
    let opening = [&MAGIC[..], &nonce[..]].concat();
    channel.write_all(&opening).await.map_err(broken)?;
    let mut scanner = Scanner::new(ANSWER);
    loop {
        // Byte by byte: what follows the answer belongs to yamux already.
        let byte = channel.read_u8().await.map_err(broken)?;
        match scanner.push(byte) {
            Some(answered) if answered == nonce => break,
            _ if scanner.seen() > MAX_DISCARDED_BYTES => {
                return Err(VmmError::Misbehaved { call: CALL, what: "it sent leftovers without end" });
            }
            _ => {}
        }
    }
    let mut config = yamux::Config::default();
    config.set_max_num_streams(MAX_STREAMS);
    config.set_max_connection_receive_window(Some(MAX_CONNECTION_WINDOW_BYTES));
    let connection = yamux::Connection::new(channel.compat(), config, yamux::Mode::Client);
    let (requests, waiting) = mpsc::channel(WAITING_OPENS);
    tokio::spawn(drive(connection, waiting));
    Ok(StreamOpener::Connection(Connection { requests, open: Arc::new(Semaphore::new(MAX_OPEN_CALLS)) }))
}

fn broken(source: io::Error) -> VmmError {
    match source.kind() {
        // A VMM that ends with something of ours unread resets the socket.
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            VmmError::ChannelClosed { call: CALL }
        }
        _ => VmmError::Channel { call: CALL, source: FrameError::Io(source) },
    }
}

/// Owns the connection until the last opener is gone or the channel breaks. Streams that the guest opens are dropped,
/// which resets them: in this protocol only the host calls.
async fn drive(mut connection: yamux::Connection<Compat<UnixStream>>, mut waiting: mpsc::Receiver<Opened>) {
    let mut pending: VecDeque<Opened> = VecDeque::new();
    let mut openers_gone = false;
    poll_fn(|context| {
        loop {
            let mut progress = false;
            if !openers_gone
                && pending.len() < WAITING_OPENS
                && let Poll::Ready(request) = waiting.poll_recv(context)
            {
                progress = true;
                match request {
                    Some(opened) => pending.push_back(opened),
                    None => openers_gone = true,
                }
            }
            if !pending.is_empty()
                && let Poll::Ready(stream) = connection.poll_new_outbound(context)
            {
                progress = true;
                match (stream, pending.pop_front()) {
                    // A caller that gave up drops the stream, which resets it.
                    (Ok(stream), Some(opened)) => drop(opened.send(stream)),
                    _ => return Poll::Ready(()),
                }
            }
            match connection.poll_next_inbound(context) {
                Poll::Ready(Some(Ok(_refused))) => progress = true,
                Poll::Ready(None | Some(Err(_))) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            if openers_gone && pending.is_empty() {
                return Poll::Ready(());
            }
            if !progress {
                return Poll::Pending;
            }
        }
    })
    .await;
}
