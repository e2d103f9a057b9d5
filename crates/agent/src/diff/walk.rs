//! Finds what changed, from three trees: the upper layer, the tree as it was, and the tree as it is.
//!
//! The upper layer says where to look; what is there is told by the other two. So whiteouts need not be known: what they hide
//! is missing from the tree as it is. Only a directory of the upper layer that does not lie on the one below it, but in its
//! place, hides what it does not hold. Beneath it, and beneath what is a directory on one side only, both sides are compared
//! as a whole.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use pyro_protocol::limits::MAX_CHUNK_BYTES;
use pyro_protocol::v1::FileKind;
use rustix::fd::OwnedFd;

use super::view::{Node, View};
use crate::fail::Fail;

/// The trees to compare.
pub struct Trees {
    /// What was written since.
    pub upper: View,
    /// What was there before.
    pub before: View,
    /// What is there now.
    pub after: View,
    /// Whether a directory of the upper layer takes the place of the one below.
    pub replaces: fn(&OwnedFd) -> rustix::io::Result<bool>,
}

/// Takes the changes, in their order.
pub trait Report {
    fn change(&mut self, path: &Path, before: Option<Node>, after: Option<Node>) -> Result<(), Fail>;
}

/// Where the names beneath a directory come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Upper,
    BothSides,
}

impl Trees {
    /// Reports everything that is not as it was. A stack of its own, because a tree may be deeper than the thread's.
    pub fn compare(&mut self, report: &mut impl Report) -> Result<(), Fail> {
        let root = Path::new("");
        let mut pending = Vec::new();
        let from = self.beneath(root, From::Upper)?;
        self.push_children(root, from, &mut pending)?;
        while let Some((path, from)) = pending.pop() {
            let compared = self.entry(&path, from, report, &mut pending);
            compared.map_err(|fail| fail.at(path.as_os_str().as_encoded_bytes()))?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        path: &Path,
        from: From,
        report: &mut impl Report,
        pending: &mut Vec<(PathBuf, From)>,
    ) -> Result<(), Fail> {
        let (before, after) = (self.before.look(path)?, self.after.look(path)?);
        let is_directory =
            |node: &Option<Node>| node.as_ref().is_some_and(|node| node.kind == FileKind::Directory);
        let directories = (is_directory(&before), is_directory(&after));
        if differ(before.as_ref(), after.as_ref())? {
            report.change(path, before, after)?;
        }
        match directories {
            (true, true) => {
                let from = self.beneath(path, from)?;
                self.push_children(path, from, pending)
            }
            (false, false) => Ok(()),
            _ => self.push_children(path, From::BothSides, pending),
        }
    }

    /// Where the names beneath `path` come from, a directory on both sides.
    fn beneath(&self, path: &Path, from: From) -> Result<From, Fail> {
        if from == From::BothSides {
            return Ok(From::BothSides);
        }
        let Some(upper) = self.upper.directory(path)? else {
            return Ok(From::BothSides);
        };
        let replaces = (self.replaces)(&upper);
        let replaces = replaces.map_err(|error| Fail::os("look at the directory's attributes", error))?;
        Ok(if replaces { From::BothSides } else { From::Upper })
    }

    /// Adds what is in `path`, the last name first.
    fn push_children(&self, path: &Path, from: From, pending: &mut Vec<(PathBuf, From)>) -> Result<(), Fail> {
        let names = match from {
            From::Upper => self.upper.names(path)?,
            From::BothSides => union(self.before.names(path)?, self.after.names(path)?),
        };
        pending.extend(names.into_iter().rev().map(|name| (path.join(name), from)));
        Ok(())
    }
}

fn union(mut names: Vec<OsString>, mut others: Vec<OsString>) -> Vec<OsString> {
    names.append(&mut others);
    names.sort_unstable();
    names.dedup();
    names
}

fn differ(before: Option<&Node>, after: Option<&Node>) -> Result<bool, Fail> {
    let (before, after) = match (before, after) {
        (Some(before), Some(after)) => (before, after),
        (None, None) => return Ok(false),
        _ => return Ok(true),
    };
    if (before.kind, before.mode, before.size) != (after.kind, after.mode, after.size) {
        return Ok(true);
    }
    match (&before.file, &after.file) {
        (Some(before_file), Some(after_file)) => same_content(before_file, after_file, before.size)
            .map(|same| !same)
            .map_err(|error| Fail::os("read the file", error)),
        _ => Ok(before.link_target != after.link_target
            || before.kind == FileKind::Other && before.special != after.special),
    }
}

fn same_content(one: &File, other: &File, size: u64) -> io::Result<bool> {
    let mut buffers = [vec![0; MAX_CHUNK_BYTES], vec![0; MAX_CHUNK_BYTES]];
    let mut offset = 0;
    while offset < size {
        let [ours, theirs] = &mut buffers;
        let (count, others) = (fill(one, ours, offset)?, fill(other, theirs, offset)?);
        if ours[..count] != theirs[..others] {
            return Ok(false);
        }
        if count == 0 {
            break;
        }
        offset += count as u64;
    }
    Ok(true)
}

/// Reads from `offset` on until the buffer is full or the file at its end.
fn fill(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
