//! What changed in a guest's workspace, as a stream of changes.

use super::call::Call;
use super::stream::StreamOpener;
use super::untrusted::{self, FileKind};
use super::within;
use crate::VmmError;
use bytes::{Bytes, BytesMut};
use pyro_protocol::limits::MAX_LIST_BYTES;
use pyro_protocol::v1::{self, reply::Reply, request};
use std::cmp::Ordering;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

const CALL: &str = "diff";
/// How long the guest may compare files without finding a difference.
const STALL_DEADLINE: Duration = Duration::from_mins(5);
/// How long it may take altogether.
const TOTAL_DEADLINE: Duration = Duration::from_mins(30);

/// How much of the changes is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiffLimits {
    /// A file larger than this comes without its content.
    pub max_content_bytes: u64,
    /// So do files for which this would be exceeded by all contents together.
    pub max_total_content_bytes: u64,
    /// With more changes the call fails.
    pub max_changes: u64,
}

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was not there before.
    Added,
    /// It has another content, link target, or mode.
    Modified,
    /// It is not there any more.
    Deleted,
    /// A file became a directory, and the like.
    TypeChanged,
}

/// One path that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Relative to the workspace, in normal form.
    pub path: Vec<u8>,
    /// What happened to it.
    pub kind: ChangeKind,
    /// As it was; `None` when it was added.
    pub before: Option<Side>,
    /// As it is; `None` when it was deleted.
    pub after: Option<Side>,
}

/// A path at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// What it is.
    pub kind: FileKind,
    /// Bytes of a regular file, 0 otherwise.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// What a symbolic link says; empty otherwise.
    pub link_target: Vec<u8>,
    /// All of a regular file, unless it is over the limits.
    pub content: Option<Bytes>,
}

/// The changes of a workspace on their way out of the guest: a directory before what is in it, names in the order of their
/// bytes.
pub struct DiffCall {
    call: Call,
    limits: DiffLimits,
    /// How much content may still come.
    content_left: u64,
    names_left: u64,
    changes: u64,
    last: Option<Vec<u8>>,
    deadline: Instant,
    ended: bool,
}

impl DiffCall {
    pub(super) async fn start(streams: &StreamOpener, limits: DiffLimits) -> Result<Self, VmmError> {
        let request = v1::Diff {
            max_content_bytes: limits.max_content_bytes,
            max_total_content_bytes: limits.max_total_content_bytes,
            max_changes: limits.max_changes,
        };
        Ok(Self {
            call: Call::transfer(streams, CALL, request::Call::Diff(request)).await?,
            limits,
            content_left: limits.max_total_content_bytes,
            names_left: MAX_LIST_BYTES,
            changes: 0,
            last: None,
            deadline: Instant::now() + TOTAL_DEADLINE,
            ended: false,
        })
    }

    /// The next change with its contents; `None` after the last one, and after a failure. Not to be called again after its
    /// future was dropped.
    pub async fn next(&mut self) -> Result<Option<Change>, VmmError> {
        if self.ended {
            return Ok(None);
        }
        self.ended = true;
        match self.reply().await? {
            Reply::Change(change) => {
                let change = self.change(change).await?;
                self.ended = false;
                Ok(Some(change))
            }
            Reply::Transferred(_) => Ok(None),
            _ => Err(self.call.misbehaved("it sent something else than a change")),
        }
    }

    async fn reply(&mut self) -> Result<Reply, VmmError> {
        let next = within(CALL, STALL_DEADLINE, self.call.replies.next());
        timeout_at(self.deadline, next)
            .await
            .unwrap_or(Err(VmmError::CallTimeout { call: CALL, waited: TOTAL_DEADLINE }))
    }

    async fn change(&mut self, change: v1::Change) -> Result<Change, VmmError> {
        self.changes += 1;
        if self.changes > self.limits.max_changes {
            return Err(self.call.misbehaved("it sent more changes than it was asked for"));
        }
        let (mut checked, [before, after]) =
            self.checked(&change).map_err(|what| self.call.misbehaved(what))?;
        self.last = Some(checked.path.clone());
        if let Some(side) = &mut checked.before {
            side.content = self.content(before).await?;
        }
        if let Some(side) = &mut checked.after {
            side.content = self.content(after).await?;
        }
        Ok(checked)
    }

    /// The change without its contents, and how long they will be.
    fn checked(&mut self, change: &v1::Change) -> Result<(Change, [Option<u64>; 2]), &'static str> {
        let path = untrusted::path(&change.path)?;
        let sides = [change.before.as_ref(), change.after.as_ref()];
        let targets: usize = sides.iter().flatten().map(|side| side.link_target.len()).sum();
        let names = (path.len() + targets) as u64;
        self.names_left =
            self.names_left.checked_sub(names).ok_or("the names of its changes are over the limit")?;
        let in_order = |last: &Vec<u8>| untrusted::order(last, &path) == Ordering::Less;
        if !self.last.as_ref().is_none_or(in_order) {
            return Err("its changes are out of order");
        }
        let (before, old) = self.side(change.before.as_ref())?;
        let (after, new) = self.side(change.after.as_ref())?;
        let kinds = (before.as_ref().map(|side| side.kind), after.as_ref().map(|side| side.kind));
        let kind = match (change.kind(), kinds) {
            (v1::ChangeKind::Added, (None, Some(_))) => ChangeKind::Added,
            (v1::ChangeKind::Deleted, (Some(_), None)) => ChangeKind::Deleted,
            (v1::ChangeKind::Modified, (Some(before), Some(after))) if before == after => {
                ChangeKind::Modified
            }
            (v1::ChangeKind::TypeChanged, (Some(before), Some(after))) if before != after => {
                ChangeKind::TypeChanged
            }
            _ => return Err("a change does not fit its sides"),
        };
        Ok((Change { path, kind, before, after }, [old, new]))
    }

    fn side(&mut self, side: Option<&v1::Side>) -> Result<(Option<Side>, Option<u64>), &'static str> {
        let Some(side) = side else {
            return Ok((None, None));
        };
        let kind = FileKind::checked(side.kind())?;
        let content = side.has_content.then_some(side.content_bytes);
        if let Some(bytes) = content {
            if kind != FileKind::File || bytes != side.size {
                return Err("it announced content that does not fit the file");
            }
            if bytes > self.limits.max_content_bytes || bytes > self.content_left {
                return Err("it announced more content than it was asked for");
            }
            self.content_left -= bytes;
        }
        let checked = Side {
            kind,
            size: side.size,
            mode: untrusted::mode(side.mode)?,
            link_target: untrusted::link_target(kind, &side.link_target)?,
            content: None,
        };
        Ok((Some(checked), content))
    }

    /// Content of exactly the announced length, which is within the limits.
    async fn content(&mut self, announced: Option<u64>) -> Result<Option<Bytes>, VmmError> {
        let Some(announced) = announced else {
            return Ok(None);
        };
        let mut content = BytesMut::new();
        while (content.len() as u64) < announced {
            let Reply::Data(data) = self.reply().await? else {
                return Err(self.call.misbehaved("it broke off in the middle of a file"));
            };
            if data.data.is_empty() || (content.len() + data.data.len()) as u64 > announced {
                return Err(self.call.misbehaved("it sent another length than it announced"));
            }
            content.extend_from_slice(&data.data);
        }
        Ok(Some(content.freeze()))
    }
}
