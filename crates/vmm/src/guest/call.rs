//! One call: a stream with its request written and its replies to be read.

use super::stream::{Stream, StreamOpener};
use super::within;
use crate::VmmError;
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use prost::Message;
use pyro_protocol::frame::{FrameCodec, FrameError};
use pyro_protocol::limits::MAX_CHUNK_BYTES;
use pyro_protocol::v1::reply::Reply as Answer;
use pyro_protocol::v1::{Data, Done, Input, Reply, Request, Transferred, input, request};
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::codec::{Decoder, Encoder, Framed};

/// How long the guest may be silent, or take nothing, in the middle of a transfer.
pub(super) const STALL_DEADLINE: Duration = Duration::from_mins(1);
/// How long the guest may take to put on its disk what it was sent.
const FINISH_DEADLINE: Duration = Duration::from_mins(5);
/// How long the guest may take to say why it stopped taking input.
const REFUSAL_DEADLINE: Duration = Duration::from_secs(1);

/// What the host writes on a stream: first the request, then input.
pub(super) enum Sent {
    Request(Request),
    Input(Input),
}

#[derive(Default)]
pub(super) struct HostCodec {
    request: FrameCodec<Request, Reply>,
    input: FrameCodec<Input, Reply>,
}

impl Encoder<Sent> for HostCodec {
    type Error = FrameError;

    fn encode(&mut self, sent: Sent, buffer: &mut bytes::BytesMut) -> Result<(), FrameError> {
        match sent {
            Sent::Request(request) => self.request.encode(request, buffer),
            Sent::Input(input) => self.input.encode(input, buffer),
        }
    }
}

impl Decoder for HostCodec {
    type Item = Reply;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut bytes::BytesMut) -> Result<Option<Reply>, FrameError> {
        self.request.decode(buffer)
    }
}

type Frames = Framed<Stream, HostCodec>;

/// The host's direction of a call.
pub(super) struct CallInput {
    name: &'static str,
    sink: SplitSink<Frames, Sent>,
}

/// The guest's direction of a call.
pub(super) struct CallReplies {
    name: &'static str,
    stream: SplitStream<Frames>,
}

/// An open call. Dropping both directions resets the stream, which cancels the call in the guest.
pub(super) struct Call {
    pub(super) input: CallInput,
    pub(super) replies: CallReplies,
}

impl Call {
    pub(super) async fn open(
        streams: &StreamOpener,
        name: &'static str,
        call: request::Call,
    ) -> Result<Self, VmmError> {
        let request = Request { generation: pyro_protocol::GENERATION, call: Some(call) };
        if request.encoded_len() > pyro_protocol::limits::MAX_FRAME_BYTES {
            let source = FrameError::TooLong { announced: request.encoded_len() };
            return Err(VmmError::Channel { call: name, source });
        }
        let frames = Framed::new(streams.open(name).await?, HostCodec::default());
        let (sink, stream) = frames.split();
        let mut call = Self { input: CallInput { name, sink }, replies: CallReplies { name, stream } };
        call.input.write(Sent::Request(request)).await?;
        Ok(call)
    }

    /// Like [`Self::open`], for a call that transfers something.
    pub(super) async fn transfer(
        streams: &StreamOpener,
        name: &'static str,
        call: request::Call,
    ) -> Result<Self, VmmError> {
        within(name, STALL_DEADLINE, Self::open(streams, name, call)).await
    }

    /// The next reply of a transfer.
    pub(super) async fn receive(&mut self) -> Result<Answer, VmmError> {
        within(self.replies.name, STALL_DEADLINE, self.replies.next()).await
    }

    /// Sends one input. Fails with the guest's refusal where that is why it takes no more.
    pub(super) async fn feed(&mut self, input: input::Input) -> Result<(), VmmError> {
        match within(self.input.name, STALL_DEADLINE, self.input.send(input)).await {
            Ok(()) => Ok(()),
            Err(closed) => Err(self.refusal().await.unwrap_or(closed)),
        }
    }

    /// Sends `data`, of any length.
    pub(super) async fn feed_data(&mut self, data: &[u8]) -> Result<(), VmmError> {
        for chunk in data.chunks(MAX_CHUNK_BYTES) {
            self.feed(input::Input::Data(Data { data: Bytes::copy_from_slice(chunk) })).await?;
        }
        Ok(())
    }

    /// Ends the input and waits for what the guest made of it.
    pub(super) async fn finish(&mut self) -> Result<Transferred, VmmError> {
        self.feed(input::Input::End(Done {})).await?;
        match within(self.replies.name, FINISH_DEADLINE, self.replies.next()).await? {
            Answer::Transferred(transferred) => Ok(transferred),
            _ => Err(self.misbehaved("it sent something else than a result")),
        }
    }

    pub(super) fn misbehaved(&self, what: &'static str) -> VmmError {
        self.replies.misbehaved(what)
    }

    /// Why the guest takes no more, where it says so.
    async fn refusal(&mut self) -> Option<VmmError> {
        timeout(REFUSAL_DEADLINE, self.replies.next()).await.ok()?.err()
    }
}

impl CallInput {
    pub(super) async fn send(&mut self, input: input::Input) -> Result<(), VmmError> {
        self.write(Sent::Input(Input { input: Some(input) })).await
    }

    async fn write(&mut self, sent: Sent) -> Result<(), VmmError> {
        let written = self.sink.send(sent).await;
        written.map_err(|source| broken(self.name, source))
    }
}

impl CallReplies {
    /// The next reply, of which the protocol promises one. A failure that the agent reports is an error here.
    pub(super) async fn next(&mut self) -> Result<Answer, VmmError> {
        match self.stream.next().await {
            None => Err(VmmError::ChannelClosed { call: self.name }),
            Some(Err(source)) => Err(broken(self.name, source)),
            Some(Ok(Reply { reply: Some(Answer::Failure(failure)) })) => {
                Err(VmmError::refused(self.name, &failure))
            }
            Some(Ok(Reply { reply: Some(reply) })) => Ok(reply),
            Some(Ok(Reply { reply: None })) => Err(self.misbehaved("it sent an empty or unknown reply")),
        }
    }

    pub(super) fn misbehaved(&self, what: &'static str) -> VmmError {
        VmmError::Misbehaved { call: self.name, what }
    }
}

/// A stream that simply ended means that the guest is gone; anything else is told as it is.
fn broken(call: &'static str, source: FrameError) -> VmmError {
    match source {
        FrameError::Io(_) => VmmError::ChannelClosed { call },
        source => VmmError::Channel { call, source },
    }
}
