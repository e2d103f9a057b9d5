//! One message as bytes on a stream: a 4-byte big-endian length, then the protobuf encoding.

use bytes::{Buf, BufMut, BytesMut};
use prost::Message;
use std::marker::PhantomData;
use tokio_util::codec::{Decoder, Encoder};

use crate::limits::MAX_FRAME_BYTES;

const LENGTH_BYTES: usize = 4;

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The announced length is over [`MAX_FRAME_BYTES`].
    #[error("a frame of {announced} bytes was announced; at most {MAX_FRAME_BYTES} are accepted")]
    TooLong {
        /// Length in the frame's header, or of the message to be sent, in bytes.
        announced: usize,
    },
    /// The bytes are not a message of the expected type.
    #[error("a frame does not decode as the expected message")]
    Malformed(#[from] prost::DecodeError),
    /// The stream below failed.
    #[error("the stream broke")]
    Io(#[from] std::io::Error),
}

/// Encodes messages of type `Out` and decodes messages of type `In`, for `tokio_util::codec::Framed`.
#[derive(Debug)]
pub struct FrameCodec<Out, In> {
    direction: PhantomData<fn(Out) -> In>,
}

impl<Out, In> Default for FrameCodec<Out, In> {
    fn default() -> Self {
        Self { direction: PhantomData }
    }
}

impl<Out: Message, In> Encoder<Out> for FrameCodec<Out, In> {
    type Error = FrameError;

    fn encode(&mut self, message: Out, buffer: &mut BytesMut) -> Result<(), FrameError> {
        let length = message.encoded_len();
        let header = u32::try_from(length).ok().filter(|_| length <= MAX_FRAME_BYTES);
        let Some(header) = header else {
            return Err(FrameError::TooLong { announced: length });
        };
        buffer.reserve(LENGTH_BYTES + length);
        buffer.put_u32(header);
        message.encode_raw(buffer);
        Ok(())
    }
}

impl<Out, In: Message + Default> Decoder for FrameCodec<Out, In> {
    type Item = In;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<In>, FrameError> {
        let Some(header) = buffer.first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*header) as usize;
        if length > MAX_FRAME_BYTES {
            return Err(FrameError::TooLong { announced: length });
        }
        if buffer.len() < LENGTH_BYTES + length {
            buffer.reserve(LENGTH_BYTES + length - buffer.len());
            return Ok(None);
        }
        buffer.advance(LENGTH_BYTES);
        let frame = buffer.split_to(length).freeze();
        Ok(Some(In::decode(frame)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{Output, Reply, Request, reply};
    use proptest::prelude::*;

    type HostCodec = FrameCodec<Request, Reply>;
    type AgentCodec = FrameCodec<Reply, Request>;

    fn output(data: Vec<u8>) -> Reply {
        Reply { reply: Some(reply::Reply::Output(Output { stream: 1, data: data.into() })) }
    }

    #[test]
    fn refuses_a_frame_over_the_limit_before_reading_it() {
        let mut buffer = BytesMut::from(&u32::MAX.to_be_bytes()[..]);
        let refused = HostCodec::default().decode(&mut buffer);
        assert!(matches!(refused, Err(FrameError::TooLong { announced }) if announced == u32::MAX as usize));
        assert!(buffer.capacity() < MAX_FRAME_BYTES, "nothing is reserved for a refused frame");
    }

    #[test]
    fn refuses_to_send_a_message_over_the_limit() {
        let mut buffer = BytesMut::new();
        let refused = AgentCodec::default().encode(output(vec![0; MAX_FRAME_BYTES + 1]), &mut buffer);
        assert!(matches!(refused, Err(FrameError::TooLong { .. })));
        assert!(buffer.is_empty());
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_at_any_split(data in prop::collection::vec(any::<u8>(), 0..2000), split in 0usize..2100) {
            let sent = output(data);
            let mut wire = BytesMut::new();
            AgentCodec::default().encode(sent.clone(), &mut wire).unwrap();
            let tail = wire.split_off(split.min(wire.len()));
            let mut codec = HostCodec::default();
            let mut got = codec.decode(&mut wire).unwrap();
            if got.is_none() {
                wire.extend_from_slice(&tail);
                got = codec.decode(&mut wire).unwrap();
            }
            prop_assert_eq!(got, Some(sent));
        }

        #[test]
        fn arbitrary_bytes_never_panic_nor_grow_the_buffer_past_the_limit(wire in prop::collection::vec(any::<u8>(), 0..4096)) {
            let mut buffer = BytesMut::from(&wire[..]);
            let mut codec = HostCodec::default();
            while let Ok(Some(_)) = codec.decode(&mut buffer) {}
            prop_assert!(buffer.capacity() <= MAX_FRAME_BYTES + LENGTH_BYTES + 4096);
        }
    }
}
