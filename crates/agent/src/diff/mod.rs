//! Diff: what changed in the workspace since it was seeded, at a cost in proportion to that.
//!
//! The overlay keeps apart what was there and what was written: the image that the workspace began with, and `upper` on the
//! writable disk. Both are out of sight since the root was put together, and reached through descriptors that the agent kept.
//! The tree as it is is looked
//! at through a mount of its own of the root, without what the guest has mounted in it.

#[cfg(test)]
mod tests;
mod view;
mod walk;

use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bytes::Bytes;
use pyro_protocol::WORKSPACE_DIR;
use pyro_protocol::limits::MAX_LIST_BYTES;
use pyro_protocol::v1::{Change, ChangeKind, Diff, FailureKind, Side, Transferred, reply};
use pyro_tree::Tree;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{CWD, fgetxattr};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::agent::Agent;
use crate::call::Call;
use crate::fail::Fail;
use crate::transfer::{Outbound, transmit};
use view::{Node, View};
use walk::{Report, Trees};

/// What overlayfs notes on a directory that takes the place of the one below, and how that begins: it is opaque, or it was
/// moved here from elsewhere.
const REPLACING: [(&str, &[u8]); 2] = [("trusted.overlay.opaque", b"y"), ("trusted.overlay.redirect", b"")];

/// Sends what changed.
pub async fn diff(agent: &Agent, call: &Call, request: Diff) -> Result<Transferred, Fail> {
    let disk = agent.scratch()?;
    let seed = agent.seed.borrow().as_ref().map(OwnedFd::try_clone).transpose();
    let seed = seed.map_err(|error| Fail::os("reach the tree that the workspace began with", error))?;
    transmit(agent, call, move |out| {
        let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let root = open_tree(CWD, "/", clone).map_err(|error| Fail::os("look at the root", error))?;
        let workspace = WORKSPACE_DIR.trim_start_matches('/');
        let mut trees = Trees {
            upper: view(&disk, &format!("upper/{workspace}"))?,
            before: seed.map_or(Ok(View::new(None)), |seed| view(&seed, workspace))?,
            after: view(&root, workspace)?,
            replaces,
        };
        let (names_left, transferred) = (MAX_LIST_BYTES, Transferred::default());
        let mut sender = Sender { out, limits: request, names_left, transferred };
        trees.compare(&mut sender)?;
        Ok(sender.transferred)
    })
    .await
}

/// The directory `path` beneath `directory`; without what it holds where it is no directory any more.
fn view(directory: &OwnedFd, path: &str) -> Result<View, Fail> {
    let base = Tree::open(Path::new(&format!("/proc/self/fd/{}/.", directory.as_raw_fd())))?;
    let tree = match base.directory(Path::new(path)) {
        Ok(found) => Some(Tree::open(Path::new(&format!("/proc/self/fd/{}/.", found.as_raw_fd())))?),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => None,
        Err(error) => return Err(Fail::os("open the workspace", error)),
    };
    Ok(View::new(tree))
}

/// Whether a directory of the upper layer takes the place of the one below.
fn replaces(directory: &OwnedFd) -> rustix::io::Result<bool> {
    for (name, value) in REPLACING {
        let mut buffer = [0; 1];
        match fgetxattr(directory.as_fd(), name, &mut buffer) {
            Ok(count) if buffer[..count].starts_with(value) => return Ok(true),
            // Longer than the buffer: it has a value.
            Err(Errno::RANGE) => return Ok(true),
            Ok(_) | Err(Errno::NODATA | Errno::NOTSUP) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Sends changes to the host, within what it asked for.
struct Sender<'a> {
    out: &'a mut Outbound,
    /// What it still takes.
    limits: Diff,
    /// Bytes of names that it still takes.
    names_left: u64,
    transferred: Transferred,
}

impl Report for Sender<'_> {
    fn change(&mut self, path: &Path, before: Option<Node>, after: Option<Node>) -> Result<(), Fail> {
        let left = self.limits.max_changes.checked_sub(1);
        self.limits.max_changes = left
            .ok_or_else(|| Fail::new(FailureKind::Exhausted, "there are more changes than were asked for"))?;
        let kind = match (&before, &after) {
            (None, _) => ChangeKind::Added,
            (_, None) => ChangeKind::Deleted,
            (Some(before), Some(after)) if before.kind == after.kind => ChangeKind::Modified,
            _ => ChangeKind::TypeChanged,
        };
        let change = Change {
            path: Bytes::copy_from_slice(path.as_os_str().as_bytes()),
            kind: kind.into(),
            before: before.as_ref().map(|node| self.side(node)),
            after: after.as_ref().map(|node| self.side(node)),
        };
        self.count_names(&change)?;
        let announced = [&change.before, &change.after]
            .map(|side| side.as_ref().filter(|side| side.has_content).map_or(0, |side| side.content_bytes));
        self.out.send(reply::Reply::Change(change))?;
        for (node, bytes) in [before, after].into_iter().zip(announced) {
            if let Some(file) = node.and_then(|node| node.file) {
                self.content(file, bytes)?;
            }
        }
        self.transferred.entries += 1;
        Ok(())
    }
}

impl Sender<'_> {
    /// Fails where the names of all changes together are over the limit.
    fn count_names(&mut self, change: &Change) -> Result<(), Fail> {
        let targets =
            [&change.before, &change.after].into_iter().flatten().map(|side| side.link_target.len());
        let names = (change.path.len() + targets.sum::<usize>()) as u64;
        self.names_left = self.names_left.checked_sub(names).ok_or_else(|| {
            Fail::new(FailureKind::Exhausted, "the names of all changes together are over the limit")
        })?;
        Ok(())
    }

    fn side(&mut self, node: &Node) -> Side {
        let total = &mut self.limits.max_total_content_bytes;
        let has_content =
            node.file.is_some() && node.size <= self.limits.max_content_bytes && node.size <= *total;
        let content_bytes = if has_content { node.size } else { 0 };
        *total -= content_bytes;
        Side {
            kind: node.kind.into(),
            size: node.size,
            mode: node.mode,
            link_target: node.link_target.clone().into(),
            has_content,
            content_bytes,
        }
    }

    /// Exactly as long as announced, whatever happens to the file; in frames of its own.
    fn content(&mut self, file: impl Read, bytes: u64) -> Result<(), Fail> {
        let mut content = file.take(bytes).chain(io::repeat(0)).take(bytes);
        io::copy(&mut content, self.out)
            .and_then(|_| self.out.flush())
            .map_err(|error| Fail::os("send the file", error))?;
        self.transferred.bytes += bytes;
        Ok(())
    }
}
