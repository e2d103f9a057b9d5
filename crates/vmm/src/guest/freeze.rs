//! A guest whose writable disk is frozen, for as long as it takes to copy it.

use super::call::Call;
use super::stream::StreamOpener;
use super::within;
use crate::VmmError;
use pyro_protocol::v1::{self, input, reply::Reply, request};
use std::time::Duration;

const CALL: &str = "freeze";
/// How long the guest may take to flush its disk before it is frozen.
const FLUSH_DEADLINE: Duration = Duration::from_mins(5);
/// How long it may take to thaw it.
const THAW_DEADLINE: Duration = Duration::from_mins(1);

/// A frozen disk. It thaws when this is dropped, and when the limit has passed.
#[must_use = "the disk thaws when this is dropped"]
pub struct Frozen {
    call: Call,
}

impl Frozen {
    pub(super) async fn start(streams: &StreamOpener, limit: Duration) -> Result<Self, VmmError> {
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        within(CALL, FLUSH_DEADLINE, async {
            let request = request::Call::Freeze(v1::Freeze { limit_ms });
            let mut call = Call::open(streams, CALL, request).await?;
            match call.replies.next().await? {
                Reply::Done(_) => Ok(Self { call }),
                _ => Err(call.misbehaved("it answered something else")),
            }
        })
        .await
    }

    /// Thaws the disk. Fails with [`VmmError::Refused`] when it was thawed before, by the limit or by something in the guest:
    /// what was read of it since it was frozen may be torn.
    pub async fn thaw(mut self) -> Result<(), VmmError> {
        self.call.feed(input::Input::End(v1::Done {})).await?;
        match within(CALL, THAW_DEADLINE, self.call.replies.next()).await? {
            Reply::Done(_) => Ok(()),
            _ => Err(self.call.misbehaved("it answered something else")),
        }
    }
}
