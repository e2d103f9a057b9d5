//! Archives out of and into the guest, as streams of bytes in constant memory.

use super::call::Call;
use super::connect::StreamOpener;
use super::within;
use crate::VmmError;
use bytes::Bytes;
use pyro_protocol::limits::MAX_CHUNK_BYTES;
use pyro_protocol::v1::{self, input, reply::Reply, request};
use std::time::Duration;

/// How long the guest may be silent in the middle of a transfer.
const STALL_DEADLINE: Duration = Duration::from_mins(1);

/// What a finished transfer moved, in the guest's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transferred {
    /// Bytes of file content.
    pub bytes: u64,
    /// Entries of the archive.
    pub entries: u64,
}

impl From<v1::Transferred> for Transferred {
    fn from(transferred: v1::Transferred) -> Self {
        Self { bytes: transferred.bytes, entries: transferred.entries }
    }
}

/// A tar on its way out of the guest. The content is hostile; what unpacks it must say so.
pub struct PackCall {
    call: Call,
}

impl PackCall {
    const CALL: &'static str = "pack";

    pub(super) async fn start(streams: &StreamOpener, path: &[u8]) -> Result<Self, VmmError> {
        let request = request::Call::Pack(v1::Pack { path: Bytes::copy_from_slice(path) });
        let call = within(Self::CALL, STALL_DEADLINE, Call::open(streams, Self::CALL, request)).await?;
        Ok(Self { call })
    }

    /// The next piece of the tar, or what was moved when it is whole.
    pub async fn next(&mut self) -> Result<Result<Bytes, Transferred>, VmmError> {
        match within(Self::CALL, STALL_DEADLINE, self.call.replies.next()).await? {
            Reply::Data(data) => Ok(Ok(data.data)),
            Reply::Transferred(transferred) => Ok(Err(transferred.into())),
            _ => Err(self.call.replies.misbehaved("it sent something else than an archive")),
        }
    }
}

/// A tar on its way into the guest.
pub struct UnpackCall {
    call: Call,
}

impl UnpackCall {
    const CALL: &'static str = "unpack";

    pub(super) async fn start(streams: &StreamOpener, path: &[u8]) -> Result<Self, VmmError> {
        let path = Bytes::copy_from_slice(path);
        let request = request::Call::Unpack(v1::Unpack { path, ..v1::Unpack::default() });
        let call = within(Self::CALL, STALL_DEADLINE, Call::open(streams, Self::CALL, request)).await?;
        Ok(Self { call })
    }

    /// Sends a piece of the tar, of any length. Fails with the guest's refusal where that is why it stopped reading.
    pub async fn write(&mut self, data: &[u8]) -> Result<(), VmmError> {
        for chunk in data.chunks(MAX_CHUNK_BYTES) {
            let data = v1::Data { data: Bytes::copy_from_slice(chunk) };
            let sent =
                within(Self::CALL, STALL_DEADLINE, self.call.input.send(input::Input::Data(data))).await;
            if let Err(closed) = sent {
                return Err(self.refusal().await.unwrap_or(closed));
            }
        }
        Ok(())
    }

    /// Ends the tar and waits until the guest has unpacked all of it.
    pub async fn finish(mut self) -> Result<Transferred, VmmError> {
        let ended =
            within(Self::CALL, STALL_DEADLINE, self.call.input.send(input::Input::End(v1::Done {}))).await;
        if let Err(closed) = ended {
            return Err(self.refusal().await.unwrap_or(closed));
        }
        match within(Self::CALL, STALL_DEADLINE, self.call.replies.next()).await? {
            Reply::Transferred(transferred) => Ok(transferred.into()),
            _ => Err(self.call.replies.misbehaved("it sent something else than a result")),
        }
    }

    async fn refusal(&mut self) -> Option<VmmError> {
        within(Self::CALL, Duration::from_secs(1), self.call.replies.next()).await.err()
    }
}
