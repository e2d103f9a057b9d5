//! List: what lies beneath a directory, many entries to a frame.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use pyro_protocol::limits::{MAX_CHUNK_BYTES, MAX_LIST_BYTES};
use pyro_protocol::v1::{Entries, Entry, FailureKind, FileKind, List, Transferred, reply};
use pyro_tree::{Tree, absolute, refuse_parent, relative, split};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Stat, readlinkat, statat};
use rustix::io::Errno;

use super::{PERMISSIONS, bytes, nanoseconds};
use crate::agent::Agent;
use crate::call::Call;
use crate::fail::Fail;
use crate::transfer::{Outbound, transmit};

/// What an entry takes in a frame beside its paths, at most.
const ENTRY_BYTES: usize = 64;

/// Sends the entries that the request asks for.
pub async fn list(agent: &Agent, call: &Call, request: List) -> Result<Transferred, Fail> {
    transmit(agent, call, move |out| {
        let tree = Tree::open(&absolute(&request.root)?)?;
        let path = relative(&request.path)?;
        let stat = tree.stat(&path).map_err(|error| refuse_parent(error, &request.path))?;
        let mut lister = Lister {
            tree,
            device: stat.st_dev,
            entries_left: request.max_entries,
            bytes_left: MAX_LIST_BYTES,
            batch: Vec::new(),
            batch_bytes: 0,
            sent: 0,
            out,
        };
        lister.list(&path, request.recursive).map_err(|fail| fail.at(&request.path[..]))
    })
    .await
}

struct Lister<'a> {
    tree: Tree,
    /// The file system that is listed.
    device: u64,
    entries_left: u64,
    bytes_left: u64,
    batch: Vec<Entry>,
    batch_bytes: usize,
    sent: u64,
    out: &'a mut Outbound,
}

/// An entry, and whether it is a directory to look into.
type Found = (Entry, bool);

impl Lister<'_> {
    /// A stack of its own, because a tree may be deeper than the thread's.
    fn list(&mut self, path: &Path, recursive: bool) -> Result<Transferred, Fail> {
        let mut pending = match self.children(path) {
            Err(Errno::NOTDIR) => self.itself(path).map_err(|error| refuse_parent(error, bytes(path)))?,
            listed => listed.map_err(|error| refuse_parent(error, bytes(path)))?,
        };
        while let Some((entry, enter)) = pending.pop() {
            let path = PathBuf::from(<OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&entry.path));
            self.add(entry)?;
            if recursive && enter {
                match self.children(&path) {
                    Ok(mut children) => pending.append(&mut children),
                    // It has gone meanwhile, or is something else now.
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                    Err(error) => return Err(Fail::os("list the directory", error)),
                }
            }
            if pending.len() as u64 > self.entries_left {
                return Err(too_many());
            }
        }
        self.flush()?;
        Ok(Transferred { entries: self.sent, ..Transferred::default() })
    }

    /// What is in `directory`, the last name first.
    fn children(&self, directory: &Path) -> rustix::io::Result<Vec<Found>> {
        // A link as the last part is not a directory, it lists itself.
        let names = match self.tree.children(directory) {
            Err(Errno::LOOP)
                if self
                    .tree
                    .stat(directory)
                    .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink) =>
            {
                return Err(Errno::NOTDIR);
            }
            listed => listed?,
        };
        let open = self.tree.directory(directory)?;
        let mut found = Vec::with_capacity(names.len());
        for name in names.iter().rev() {
            match self.entry(&open, name, directory.join(name)) {
                Ok(entry) => found.push(entry),
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    fn itself(&self, path: &Path) -> rustix::io::Result<Vec<Found>> {
        let (parent, name) = split(path).ok_or(Errno::NOTDIR)?;
        let (entry, _) = self.entry(&self.tree.directory(parent)?, name, path.to_owned())?;
        Ok(vec![(entry, false)])
    }

    fn entry(&self, parent: &OwnedFd, name: &OsStr, path: PathBuf) -> rustix::io::Result<Found> {
        let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = kind_of(&stat);
        let link_target = match kind {
            // It may have become something else.
            FileKind::Symlink => readlinkat(parent, name, Vec::new()).map_err(|_| Errno::NOENT)?.into_bytes(),
            _ => Vec::new(),
        };
        let size = if kind == FileKind::File { u64::try_from(stat.st_size).unwrap_or_default() } else { 0 };
        let entry = Entry {
            path: Bytes::from(path.into_os_string().into_encoded_bytes()),
            kind: kind.into(),
            size,
            link_target: link_target.into(),
            mode: stat.st_mode & PERMISSIONS,
            mtime_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
        };
        Ok((entry, kind == FileKind::Directory && stat.st_dev == self.device))
    }

    fn add(&mut self, entry: Entry) -> Result<(), Fail> {
        let paths = entry.path.len() + entry.link_target.len();
        let left = self.entries_left.checked_sub(1).zip(self.bytes_left.checked_sub(paths as u64));
        (self.entries_left, self.bytes_left) = left.ok_or_else(too_many)?;
        self.batch_bytes += paths + ENTRY_BYTES;
        self.batch.push(entry);
        if self.batch_bytes >= MAX_CHUNK_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Fail> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.batch_bytes = 0;
        let entries = std::mem::take(&mut self.batch);
        self.sent += entries.len() as u64;
        self.out.send(reply::Reply::Entries(Entries { entries }))
    }
}

/// What lies where `stat` was taken.
pub fn kind_of(stat: &Stat) -> FileKind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        _ => FileKind::Other,
    }
}

fn too_many() -> Fail {
    Fail::new(FailureKind::Exhausted, "there are more entries than asked for, or than one listing holds")
}
