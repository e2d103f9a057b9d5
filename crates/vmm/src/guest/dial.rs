//! A connection to a port of the guest's loopback.

use super::call::{Call, CallInput, CallReplies};
use super::stream::StreamOpener;
use super::within;
use crate::VmmError;
use bytes::Bytes;
use pyro_protocol::limits::{DIAL_DEADLINE, MAX_CHUNK_BYTES};
use pyro_protocol::v1::{self, input, reply::Reply, request};
use std::time::Duration;

const CALL: &str = "dial";
/// How much longer than a connection may take the host waits for the guest to say so.
const REPORT_GRACE: Duration = Duration::from_secs(5);

/// The host's direction of a connection.
pub struct DialSender {
    input: CallInput,
}

/// The guest's direction of a connection.
pub struct DialReceiver {
    replies: CallReplies,
    has_ended: bool,
}

pub(super) async fn dial(streams: &StreamOpener, port: u16) -> Result<(DialSender, DialReceiver), VmmError> {
    let request = request::Call::Dial(v1::Dial { port: port.into() });
    within(CALL, DIAL_DEADLINE + REPORT_GRACE, async {
        let mut call = Call::open(streams, CALL, request).await?;
        match call.replies.next().await? {
            Reply::Done(_) => {}
            _ => return Err(call.misbehaved("it sent something before it was connected")),
        }
        let Call { input, replies } = call;
        Ok((DialSender { input }, DialReceiver { replies, has_ended: false }))
    })
    .await
}

impl DialSender {
    /// Sends at most 64 KiB; waits for as long as the guest takes none.
    pub async fn send(&mut self, data: Bytes) -> Result<(), VmmError> {
        self.input.send(input::Input::Data(v1::Data { data })).await
    }

    /// Ends this direction; the other one goes on.
    pub async fn end(&mut self) -> Result<(), VmmError> {
        self.input.send(input::Input::End(v1::Done {})).await
    }
}

impl DialReceiver {
    /// The next piece, of at most 64 KiB; `None` once the guest has ended this direction. Fails with [`VmmError::Refused`] when
    /// the connection was reset.
    pub async fn next(&mut self) -> Result<Option<Bytes>, VmmError> {
        if self.has_ended {
            return Ok(None);
        }
        match self.replies.next().await? {
            Reply::Data(data) if (1..=MAX_CHUNK_BYTES).contains(&data.data.len()) => Ok(Some(data.data)),
            Reply::Data(_) => Err(self.replies.misbehaved("it sent a piece that is empty or too long")),
            Reply::Done(_) => {
                self.has_ended = true;
                Ok(None)
            }
            _ => Err(self.replies.misbehaved("it sent something else than data or their end")),
        }
    }

    /// Waits, once both directions have ended, until the guest has passed on everything.
    pub async fn finish(mut self) -> Result<(), VmmError> {
        while self.next().await?.is_some() {}
        match self.replies.next().await? {
            Reply::Done(_) => Ok(()),
            _ => Err(self.replies.misbehaved("it sent something after the end")),
        }
    }
}
