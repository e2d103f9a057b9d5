//! Files of the guest's: reading, writing, listing, and changing several at once.

use super::call::Call;
use super::stream::StreamOpener;
use super::untrusted::{self, FileKind};
use super::within;
use crate::VmmError;
use bytes::{Bytes, BytesMut};
use pyro_protocol::limits::MAX_LIST_BYTES;
use pyro_protocol::v1::{self, input, reply::Reply, request};
use std::time::Duration;

/// How long one of these calls may take altogether.
const TOTAL_DEADLINE: Duration = Duration::from_mins(15);

const READ: &str = "read_file";
const WRITE: &str = "write_file";
const LIST: &str = "list";
const REPLACE: &str = "replace";

/// Tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStamp {
    /// Number of the inode.
    pub inode: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// When its content changed last, in nanoseconds since the Unix epoch.
    pub mtime_ns: i64,
    /// When anything of it changed last, in nanoseconds since the Unix epoch.
    pub ctime_ns: i64,
}

impl From<v1::Stamp> for FileStamp {
    fn from(stamp: v1::Stamp) -> Self {
        let v1::Stamp { inode, bytes, mtime_ns, ctime_ns } = stamp;
        Self { inode, bytes, mtime_ns, ctime_ns }
    }
}

impl From<FileStamp> for v1::Stamp {
    fn from(stamp: FileStamp) -> Self {
        let FileStamp { inode, bytes, mtime_ns, ctime_ns } = stamp;
        Self { inode, bytes, mtime_ns, ctime_ns }
    }
}

/// A file as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileContent {
    /// Its beginning: all of it, unless that is more than was asked for.
    pub bytes: Bytes,
    /// Size of the whole file, in the guest's words.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Its state before it was read.
    pub stamp: FileStamp,
}

/// One entry of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Relative to the root of the listing, in normal form.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: FileKind,
    /// Bytes of a regular file, 0 otherwise.
    pub size: u64,
    /// What a symbolic link says; empty otherwise.
    pub link_target: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// When its content changed last, in nanoseconds since the Unix epoch.
    pub mtime_ns: i64,
}

/// One of several files to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// Relative to the root of the call.
    pub path: Vec<u8>,
    /// The state that the file must be in; `None` when nothing may be there.
    pub expected: Option<FileStamp>,
    /// Permission bits, which count for a new file only, and content; `None` removes the file.
    pub content: Option<(u32, Vec<u8>)>,
}

pub(super) async fn read(
    streams: &StreamOpener,
    root: &[u8],
    path: &[u8],
    max_bytes: u64,
) -> Result<FileContent, VmmError> {
    let request = v1::ReadFile {
        path: Bytes::copy_from_slice(path),
        root: Bytes::copy_from_slice(root),
        offset: 0,
        // 0 would mean everything.
        max_bytes: max_bytes.max(1),
    };
    within(READ, TOTAL_DEADLINE, async {
        let mut call = Call::transfer(streams, READ, request::Call::ReadFile(request)).await?;
        let mut bytes = BytesMut::new();
        loop {
            match call.receive().await? {
                Reply::Data(data) if data.data.is_empty() => {
                    return Err(call.misbehaved("it sent nothing as data"));
                }
                Reply::Data(data) => {
                    if (bytes.len() + data.data.len()) as u64 > max_bytes.max(1) {
                        return Err(call.misbehaved("it sent more than it was asked for"));
                    }
                    bytes.extend_from_slice(&data.data);
                }
                Reply::Transferred(transferred) => {
                    bytes.truncate(usize::try_from(max_bytes).unwrap_or(usize::MAX));
                    return content(bytes.freeze(), &transferred).map_err(|what| call.misbehaved(what));
                }
                _ => return Err(call.misbehaved("it sent something else than a file")),
            }
        }
    })
    .await
}

fn content(bytes: Bytes, transferred: &v1::Transferred) -> Result<FileContent, &'static str> {
    Ok(FileContent {
        bytes,
        size: transferred.total_bytes,
        mode: untrusted::mode(transferred.mode)?,
        stamp: transferred.stamp.ok_or("it did not say which state of the file it read")?.into(),
    })
}

pub(super) async fn write(
    streams: &StreamOpener,
    root: &[u8],
    path: &[u8],
    mode: u32,
    content: &[u8],
) -> Result<(), VmmError> {
    let request =
        v1::WriteFile { path: Bytes::copy_from_slice(path), mode, root: Bytes::copy_from_slice(root) };
    within(WRITE, TOTAL_DEADLINE, async {
        let mut call = Call::transfer(streams, WRITE, request::Call::WriteFile(request)).await?;
        call.feed_data(content).await?;
        call.finish().await.map(|_| ())
    })
    .await
}

pub(super) async fn replace(
    streams: &StreamOpener,
    root: &[u8],
    changes: Vec<FileChange>,
) -> Result<(), VmmError> {
    let request = v1::Replace { root: Bytes::copy_from_slice(root) };
    within(REPLACE, TOTAL_DEADLINE, async {
        let mut call = Call::transfer(streams, REPLACE, request::Call::Replace(request)).await?;
        for change in changes {
            let remove = change.content.is_none();
            let (mode, content) = change.content.unwrap_or_default();
            let file = v1::FileChange {
                path: change.path.into(),
                remove,
                mode,
                bytes: content.len() as u64,
                expected: change.expected.map(v1::Stamp::from),
            };
            call.feed(input::Input::File(file)).await?;
            call.feed_data(&content).await?;
        }
        call.finish().await.map(|_| ())
    })
    .await
}

/// What was asked for of a listing; entries that are not that are refused.
struct Wanted {
    path: Vec<u8>,
    recursive: bool,
    max_entries: u64,
}

pub(super) async fn list(
    streams: &StreamOpener,
    root: &[u8],
    path: &[u8],
    recursive: bool,
    max_entries: u64,
) -> Result<Vec<FileEntry>, VmmError> {
    let request = v1::List {
        root: Bytes::copy_from_slice(root),
        path: Bytes::copy_from_slice(path),
        recursive,
        max_entries,
    };
    let wanted = Wanted { path: normal(path), recursive, max_entries };
    let mut entries = within(LIST, TOTAL_DEADLINE, async {
        let mut call = Call::transfer(streams, LIST, request::Call::List(request)).await?;
        let mut entries = Vec::new();
        let mut bytes = 0;
        loop {
            match call.receive().await? {
                Reply::Entries(some) => wanted
                    .take(some.entries, &mut entries, &mut bytes)
                    .map_err(|what| call.misbehaved(what))?,
                Reply::Transferred(_) => return Ok(entries),
                _ => return Err(call.misbehaved("it sent something else than a listing")),
            }
        }
    })
    .await?;
    entries.sort_unstable_by(|one, other| untrusted::order(&one.path, &other.path));
    if entries.windows(2).any(|pair| pair[0].path == pair[1].path) {
        return Err(VmmError::Misbehaved { call: LIST, what: "it listed a path twice" });
    }
    Ok(entries)
}

impl Wanted {
    /// Adds the entries of one frame. The guest has its own look at both limits, so it never exceeds them in good faith.
    fn take(
        &self,
        some: Vec<v1::Entry>,
        entries: &mut Vec<FileEntry>,
        bytes: &mut u64,
    ) -> Result<(), &'static str> {
        if some.is_empty() {
            return Err("it sent no entries as entries");
        }
        for entry in some {
            *bytes += (entry.path.len() + entry.link_target.len()) as u64;
            if entries.len() as u64 >= self.max_entries || *bytes > MAX_LIST_BYTES {
                return Err("it listed more than it was asked for");
            }
            entries.push(self.checked(&entry)?);
        }
        Ok(())
    }

    fn checked(&self, entry: &v1::Entry) -> Result<FileEntry, &'static str> {
        let kind = FileKind::checked(entry.kind())?;
        let path = untrusted::path(&entry.path)?;
        if !self.covers(&path) {
            return Err("it listed what it was not asked for");
        }
        Ok(FileEntry {
            path,
            kind,
            size: entry.size,
            link_target: untrusted::link_target(kind, &entry.link_target)?,
            mode: untrusted::mode(entry.mode)?,
            mtime_ns: entry.mtime_ns,
        })
    }

    fn covers(&self, path: &[u8]) -> bool {
        let beneath = if self.path.is_empty() {
            path
        } else {
            match path.strip_prefix(&self.path[..]) {
                // Not a directory, it lists itself.
                Some([]) => return true,
                Some([b'/', beneath @ ..]) => beneath,
                _ => return false,
            }
        };
        self.recursive || !beneath.contains(&b'/')
    }
}

/// The path in the form in which the guest tells it.
fn normal(path: &[u8]) -> Vec<u8> {
    let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    names.collect::<Vec<_>>().join(&b'/')
}
