//! Bridges between blocking readers and writers of archives and the calls into the guest, in constant memory.

use super::WorkspaceError;
use crate::PyroError;
use crate::engine::blocking;
use bytes::{Bytes, BytesMut};
use pyro_protocol::error::{Diagnostic, ErrorKind};
use pyro_protocol::limits::MAX_CHUNK_BYTES;
use pyro_tree::{Limits, Source, Totals};
use pyro_vmm::guest::{PackCall, UnpackCall};
use std::io::{self, Read, Write};
use tokio::sync::mpsc;

/// Chunks between a blocking thread and a call.
const CHUNKS_UNDERWAY: usize = 4;

/// Sends a source to the guest, which unpacks it.
pub(super) async fn import(source: Source, call: UnpackCall) -> Result<Totals, PyroError> {
    let (sender, mut chunks) = mpsc::channel(CHUNKS_UNDERWAY);
    let reading = blocking(move || {
        let mut sink = ChunkSink { sender, buffer: BytesMut::new() };
        let totals = source.write_tar(&mut sink, Limits::default()).map_err(WorkspaceError::from)?;
        sink.flush().map_err(|source| WorkspaceError::Supervisor { action: "sent an archive", source })?;
        Ok(totals)
    });
    let sending = async move {
        let mut call = call;
        while let Some(chunk) = chunks.recv().await {
            call.write(&chunk).await?;
        }
        Ok::<_, PyroError>(call)
    };
    let (read, sent) = tokio::join!(reading, sending);
    match (read, sent) {
        (Ok(totals), Ok(call)) => {
            call.finish().await?;
            Ok(totals)
        }
        // The reader fails because of the guest when the guest has failed.
        (_, Err(refused)) => Err(refused),
        (Err(unreadable), Ok(_)) => Err(unreadable),
    }
}

/// Takes an archive out of the guest: `unpack` reads it on a thread of its own.
pub(super) async fn export<T: Send + 'static>(
    mut call: PackCall,
    unpack: impl FnOnce(&mut dyn Read) -> Result<T, PyroError> + Send + 'static,
) -> Result<T, PyroError> {
    let (sender, chunks) = mpsc::channel(CHUNKS_UNDERWAY);
    let unpacking = blocking(move || {
        let mut source = ChunkSource { chunks, chunk: Bytes::new(), ended: false };
        unpack(&mut source)
    });
    let receiving = async move {
        loop {
            let chunk = match call.next().await {
                Ok(Ok(data)) => Some(data),
                Ok(Err(_transferred)) => None,
                Err(error) => return Err(PyroError::from(error)),
            };
            let is_last = chunk.is_none();
            // Whoever unpacks has refused the archive, and says why.
            if sender.send(chunk).await.is_err() || is_last {
                return Ok(());
            }
        }
    };
    tokio::pin!(unpacking, receiving);
    tokio::select! {
        biased;
        // Refused before its end: whether the guest goes on is of no matter.
        unpacked = &mut unpacking => match unpacked {
            Err(error) if error.kind() == ErrorKind::GuestUnavailable => receiving.await.and(Err(error)),
            unpacked => unpacked,
        },
        received = &mut receiving => match received {
            Ok(()) => unpacking.await,
            Err(error) => {
                // Its own error says only that nothing more comes.
                let _cut = unpacking.await;
                Err(error)
            }
        },
    }
}

/// A writer whose bytes go to a call, in chunks.
struct ChunkSink {
    sender: mpsc::Sender<Bytes>,
    buffer: BytesMut,
}

impl Write for ChunkSink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let count = data.len().min(MAX_CHUNK_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&data[..count]);
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

/// A reader of what comes from a call. It ends only where the call has ended well.
struct ChunkSource {
    chunks: mpsc::Receiver<Option<Bytes>>,
    chunk: Bytes,
    ended: bool,
}

impl Read for ChunkSource {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() && !self.ended {
            match self.chunks.blocking_recv() {
                Some(Some(chunk)) => self.chunk = chunk,
                Some(None) => self.ended = true,
                None => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        let count = self.chunk.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.chunk.split_to(count));
        Ok(count)
    }
}
