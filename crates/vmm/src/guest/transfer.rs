//! Archives out of and into the guest, as streams of bytes in constant memory.

use super::call::Call;
use super::stream::StreamOpener;
use crate::VmmError;
use bytes::Bytes;
use pyro_protocol::v1::{self, reply::Reply, request};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long a guest may take to send an archive, however steadily it does: enough for the largest one.
const PACK_DEADLINE: Duration = Duration::from_hours(2);

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

/// Who owns what is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveOwner {
    /// Whom the archive says, where the agent may give files away; else the agent's own user.
    Archived,
    /// Root.
    Root,
}

/// A tar on its way out of the guest. The content is hostile; what unpacks it must say so.
pub struct PackCall {
    call: Call,
    deadline: Instant,
}

impl PackCall {
    /// What is at `path`, beneath `root` unless that is empty.
    pub(super) async fn start(streams: &StreamOpener, root: &[u8], path: &[u8]) -> Result<Self, VmmError> {
        let [root, path] = [root, path].map(Bytes::copy_from_slice);
        let request = request::Call::Pack(v1::Pack { path, root });
        let call = Call::transfer(streams, "pack", request).await?;
        Ok(Self { call, deadline: Instant::now() + PACK_DEADLINE })
    }

    /// The next piece of the tar, or what was moved when it is whole.
    pub async fn next(&mut self) -> Result<Result<Bytes, Transferred>, VmmError> {
        let late = VmmError::CallTimeout { call: "pack", waited: PACK_DEADLINE };
        match timeout_at(self.deadline, self.call.receive()).await.unwrap_or(Err(late))? {
            Reply::Data(data) if !data.data.is_empty() => Ok(Ok(data.data)),
            Reply::Transferred(transferred) => Ok(Err(transferred.into())),
            _ => Err(self.call.misbehaved("it sent something else than an archive")),
        }
    }
}

/// A tar on its way into the guest.
pub struct UnpackCall {
    call: Call,
}

impl UnpackCall {
    /// Into the directory `path`, beneath `root` unless that is empty.
    pub(super) async fn start(
        streams: &StreamOpener,
        root: &[u8],
        path: &[u8],
        owner: ArchiveOwner,
    ) -> Result<Self, VmmError> {
        let [root, path] = [root, path].map(Bytes::copy_from_slice);
        let override_owner = owner == ArchiveOwner::Root;
        let request = v1::Unpack { path, override_owner, uid: 0, gid: 0, root };
        Ok(Self { call: Call::transfer(streams, "unpack", request::Call::Unpack(request)).await? })
    }

    /// Sends a piece of the tar, of any length. Fails with the guest's refusal where that is why it stopped reading.
    pub async fn write(&mut self, data: &[u8]) -> Result<(), VmmError> {
        self.call.feed_data(data).await
    }

    /// Ends the tar and waits until the guest has unpacked all of it.
    pub async fn finish(mut self) -> Result<Transferred, VmmError> {
        Ok(self.call.finish().await?.into())
    }
}
