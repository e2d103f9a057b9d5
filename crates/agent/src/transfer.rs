//! Work that blocks, on threads of its own, and the bounded bridges between such a thread and a call.
//!
//! A bridge holds at most [`CHUNKS_IN_FLIGHT`] chunks, so a slow host or a slow disk holds the other side back. When
//! the call is cancelled its end of the bridge is dropped and the thread's next use of the bridge fails.

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes, BytesMut};
use pyro_protocol::limits::MAX_CHUNK_BYTES;
use pyro_protocol::v1::{Data, FailureKind, Transferred, input, reply};
use tokio::select;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::agent::Agent;
use crate::call::Call;
use crate::fail::Fail;

const CHUNKS_IN_FLIGHT: usize = 2;

/// Runs `work` on a thread that may block.
pub async fn offload<T: Send + 'static>(
    agent: &Agent,
    work: impl FnOnce() -> Result<T, Fail> + Send + 'static,
) -> Result<T, Fail> {
    let lost = || Fail::new(FailureKind::Io, "a worker thread was lost");
    let permit = agent.transfers.acquire().await.map_err(|_| lost())?;
    let result = spawn_blocking(work).await.map_err(|_| lost())?;
    drop(permit);
    result
}

/// Runs `work`, which reads what the host sends until its end.
pub async fn receive(
    agent: &Agent,
    call: &Call,
    work: impl FnOnce(&mut Inbound) -> Result<Transferred, Fail> + Send + 'static,
) -> Result<Transferred, Fail> {
    let (sender, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
    let worker = offload(agent, move || work(&mut Inbound::new(receiver)));
    let feed = async {
        loop {
            let chunk = match call.input().await? {
                input::Input::Data(data) => Some(data.data),
                input::Input::End(_) => None,
                input::Input::Signal(_) => return Err(Fail::invalid("a signal in a transfer")),
            };
            let ended = chunk.is_none();
            // A worker that has stopped reading has a result that says why.
            if sender.send(chunk).await.is_err() || ended {
                return Ok(());
            }
        }
    };
    tokio::pin!(worker);
    select! {
        biased;
        result = &mut worker => return result,
        finished = feed => finished?,
    }
    worker.await
}

/// Runs `work`, whose writes are sent to the host as data.
pub async fn transmit(
    agent: &Agent,
    call: &Call,
    work: impl FnOnce(&mut Outbound) -> Result<Transferred, Fail> + Send + 'static,
) -> Result<Transferred, Fail> {
    let (sender, mut receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
    let worker = offload(agent, move || {
        let mut outbound = Outbound::new(sender);
        let transferred = work(&mut outbound)?;
        outbound.flush().map_err(|error| Fail::os("send", error))?;
        Ok(transferred)
    });
    let relay = async move {
        while let Some(data) = receiver.recv().await {
            call.send(reply::Reply::Data(Data { data })).await?;
        }
        Ok(())
    };
    // A relay that fails drops the receiver, which ends the worker.
    let (result, relayed) = tokio::join!(worker, relay);
    relayed.and(result)
}

/// What the host sends, as a reader. It ends only where the host said so; a cancelled call is an error.
pub struct Inbound {
    receiver: mpsc::Receiver<Option<Bytes>>,
    chunk: Bytes,
    ended: bool,
}

impl Inbound {
    fn new(receiver: mpsc::Receiver<Option<Bytes>>) -> Self {
        Self { receiver, chunk: Bytes::new(), ended: false }
    }
}

impl Read for Inbound {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() && !self.ended {
            match self.receiver.blocking_recv() {
                Some(Some(chunk)) => self.chunk = chunk,
                Some(None) => self.ended = true,
                None => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        let count = self.chunk.len().min(buf.len());
        self.chunk.copy_to_slice(&mut buf[..count]);
        Ok(count)
    }
}

/// A writer whose bytes go to the host, in chunks.
pub struct Outbound {
    sender: mpsc::Sender<Bytes>,
    buffer: BytesMut,
}

impl Outbound {
    fn new(sender: mpsc::Sender<Bytes>) -> Self {
        Self { sender, buffer: BytesMut::new() }
    }
}

impl Write for Outbound {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let count = buf.len().min(MAX_CHUNK_BYTES - self.buffer.len());
        self.buffer.reserve(MAX_CHUNK_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&buf[..count]);
        if self.buffer.len() == MAX_CHUNK_BYTES {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = self.buffer.split().freeze();
        self.sender.blocking_send(chunk).map_err(|_| io::ErrorKind::ConnectionAborted.into())
    }
}
