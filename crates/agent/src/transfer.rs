//! Work that blocks, on threads of its own, and the bounded bridges between such a thread and a call.
//!
//! A bridge holds at most [`CHUNKS_IN_FLIGHT`] chunks, so a slow host or a slow disk holds the other side back. When
//! the call is cancelled its end of the bridge is dropped and the thread's next use of the bridge fails.

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes, BytesMut};
use pyro_protocol::limits::MAX_CHUNK_BYTES;
use pyro_protocol::v1::{Data, FailureKind, FileChange, Transferred, input, reply};
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

/// Runs `work`, which reads what the host sends until its end. What is no part of what it expects fails its reading.
pub async fn receive(
    agent: &Agent,
    call: &Call,
    work: impl FnOnce(&mut Inbound) -> Result<Transferred, Fail> + Send + 'static,
) -> Result<Transferred, Fail> {
    let (sender, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
    let worker = offload(agent, move || work(&mut Inbound::new(receiver)));
    let feed = async {
        loop {
            let piece = match call.input().await? {
                input::Input::Data(data) => Piece::Data(data.data),
                input::Input::File(change) => Piece::File(change),
                input::Input::End(_) => Piece::End,
                input::Input::Signal(_) => return Err(Fail::invalid("a signal in a transfer")),
            };
            let ended = matches!(piece, Piece::End);
            // A worker that has stopped reading has a result that says why.
            if sender.send(piece).await.is_err() || ended {
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

/// Runs `work`, whose replies are sent to the host, and whose writes as data.
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
        while let Some(reply) = receiver.recv().await {
            call.send(reply).await?;
        }
        Ok(())
    };
    // A relay that fails drops the receiver, which ends the worker.
    let (result, relayed) = tokio::join!(worker, relay);
    relayed.and(result)
}

/// A piece of what the host sends.
enum Piece {
    Data(Bytes),
    File(FileChange),
    End,
}

/// What the host sends, as a reader. It ends only where the host said so; a cancelled call is an error.
pub struct Inbound {
    receiver: mpsc::Receiver<Piece>,
    chunk: Bytes,
    ended: bool,
}

impl Inbound {
    fn new(receiver: mpsc::Receiver<Piece>) -> Self {
        Self { receiver, chunk: Bytes::new(), ended: false }
    }

    /// The next file of several, after the content of the one before was read; `None` at the end.
    pub fn next_file(&mut self) -> Result<Option<FileChange>, Fail> {
        if !self.chunk.is_empty() {
            return Err(Fail::invalid("more content than announced"));
        }
        match self.receiver.blocking_recv() {
            Some(Piece::File(change)) => Ok(Some(change)),
            Some(Piece::End) => Ok(None),
            Some(Piece::Data(_)) => Err(Fail::invalid("more content than announced")),
            None => Err(Fail::host_gone()),
        }
    }
}

impl Read for Inbound {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() && !self.ended {
            match self.receiver.blocking_recv() {
                Some(Piece::Data(chunk)) => self.chunk = chunk,
                Some(Piece::End) => self.ended = true,
                Some(Piece::File(_)) => return Err(io::Error::other("a file where data was expected")),
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
    sender: mpsc::Sender<reply::Reply>,
    buffer: BytesMut,
}

impl Outbound {
    fn new(sender: mpsc::Sender<reply::Reply>) -> Self {
        Self { sender, buffer: BytesMut::new() }
    }

    /// Sends a reply of another kind, after all data that was written before.
    pub fn send(&mut self, reply: reply::Reply) -> Result<(), Fail> {
        self.flush().and_then(|()| self.hand_over(reply)).map_err(|_| Fail::host_gone())
    }

    fn hand_over(&self, reply: reply::Reply) -> io::Result<()> {
        self.sender.blocking_send(reply).map_err(|_| io::ErrorKind::ConnectionAborted.into())
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
        let data = self.buffer.split().freeze();
        self.hand_over(reply::Reply::Data(Data { data }))
    }
}
