//! One call: a yamux stream that carries a request, its input and its replies as frames.
//!
//! The host keeps its side of the stream open until it has the reply that ends the call. When that side closes earlier,
//! in whatever way, the call is cancelled ([`Call::closed`]); yamux does not tell a half-close from a dropped stream
//! reliably enough to treat them differently. When the call is over the agent drops its end: what was sent still
//! arrives, and a host that is still writing input is told at once.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use futures::{AsyncRead, Sink, Stream, StreamExt};
use pyro_protocol::frame::{FrameCodec, FrameError};
use pyro_protocol::limits::MAX_CHUNK_BYTES;
use pyro_protocol::v1::{Data, Input, Reply, Request, input, reply};
use tokio_util::codec::Framed;
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};

use crate::fail::Fail;

type Frames<In> = Framed<Compat<yamux::Stream>, FrameCodec<Reply, In>>;

/// A stream whose request has been read. Its methods are for one task; they may wait at the same time.
pub struct Call {
    frames: RefCell<Frames<Input>>,
}

impl Call {
    /// Reads the request of a new stream. `None` when the stream ended without one; a request that cannot be read is
    /// the failure to answer it with.
    pub async fn accept(stream: yamux::Stream) -> Option<(Self, Result<Request, Fail>)> {
        let mut frames: Frames<Request> = Framed::new(stream.compat(), FrameCodec::default());
        let request = frames.next().await?.map_err(refused);
        let frames = RefCell::new(frames.map_codec(|_| FrameCodec::default()));
        Some((Self { frames }, request))
    }

    /// Sends one reply and waits until it is handed to the connection, which is what holds a fast sender back.
    pub async fn send(&self, reply: reply::Reply) -> Result<(), Fail> {
        let mut reply = Some(Reply { reply: Some(reply) });
        poll_fn(|cx| {
            let mut frames = self.frames.borrow_mut();
            let mut frames = Pin::new(&mut *frames);
            if reply.is_some() {
                match frames.as_mut().poll_ready(cx) {
                    Poll::Ready(Ok(())) => {}
                    other => return other,
                }
            }
            if let Some(reply) = reply.take() {
                frames.as_mut().start_send(reply)?;
            }
            frames.poll_flush(cx)
        })
        .await
        .map_err(|_: FrameError| Fail::host_gone())
    }

    /// Sends `bytes` as data, in pieces.
    pub async fn send_data(&self, bytes: Vec<u8>) -> Result<(), Fail> {
        let mut bytes = Bytes::from(bytes);
        while !bytes.is_empty() {
            let data = bytes.split_to(bytes.len().min(MAX_CHUNK_BYTES));
            self.send(reply::Reply::Data(Data { data })).await?;
        }
        Ok(())
    }

    /// The next input of the host.
    pub async fn input(&self) -> Result<input::Input, Fail> {
        let next = poll_fn(|cx| Pin::new(&mut *self.frames.borrow_mut()).poll_next(cx)).await;
        match next {
            Some(Ok(input)) => input.input.ok_or_else(|| Fail::invalid("an input of an unknown kind")),
            Some(Err(error)) => Err(refused(error)),
            None => Err(Fail::host_gone()),
        }
    }

    /// Waits until the host's side of the stream is closed, also while nobody reads its input.
    pub async fn closed(&self) {
        poll_fn(|cx| {
            let mut frames = self.frames.borrow_mut();
            // An empty read takes nothing, registers for what happens next, and ends only when nothing more can come.
            Pin::new(frames.get_mut().get_mut()).poll_read(cx, &mut []).map(|_| ())
        })
        .await;
    }
}

fn refused(error: FrameError) -> Fail {
    match error {
        FrameError::Io(_) => Fail::host_gone(),
        FrameError::TooLong { .. } => Fail::invalid(error.to_string()),
        FrameError::Malformed(cause) => Fail::invalid(format!("a frame does not decode: {cause}")),
    }
}
