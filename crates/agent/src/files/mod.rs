//! ReadFile and WriteFile, one regular file; List; and Replace, several files at once.
//!
//! With a root, every path is looked up beneath it by the kernel and no link is followed, so a process that changes the tree
//! meanwhile cannot lead anything elsewhere.

mod list;
mod new_file;
mod replace;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pyro_protocol::limits::MAX_CHUNK_BYTES;
use pyro_protocol::v1::{FailureKind, ReadFile, Stamp, Transferred, WriteFile};
use pyro_tree::{Tree, absolute, refuse_parent, relative, split};
use rustix::fs::{FileType, Mode, OFlags, Stat, fstat};
use rustix::io::Errno;

use crate::agent::Agent;
use crate::call::Call;
use crate::fail::Fail;
use crate::transfer::{Inbound, Outbound, receive, transmit};
pub use list::{kind_of, list};
use new_file::{NewFile, replaceable};
pub use replace::replace;

const PERMISSIONS: u32 = 0o7777;

/// Opening a pipe must not wait for its writer, nor a terminal become the agent's own.
const READING: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Sends the bytes of a file.
pub async fn read(agent: &Agent, call: &Call, request: ReadFile) -> Result<Transferred, Fail> {
    transmit(agent, call, move |out| read_into(&request, out).map_err(|fail| fail.at(&request.path[..])))
        .await
}

fn read_into(request: &ReadFile, out: &mut Outbound) -> Result<Transferred, Fail> {
    let file = open(&request.root, &request.path)?;
    let stat = fstat(&file).map_err(|error| Fail::os("look at the file", error))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Fail::invalid("the path is not a regular file"));
    }
    let mut file = file;
    let unreadable = |error| Fail::os("read the file", error);
    file.seek(SeekFrom::Start(request.offset)).map_err(unreadable)?;
    let limit = if request.max_bytes == 0 { u64::MAX } else { request.max_bytes };
    let mut file = file.take(limit);
    let mut buffer = vec![0; MAX_CHUNK_BYTES];
    let mut bytes = 0;
    loop {
        let count = file.read(&mut buffer).map_err(unreadable)?;
        if count == 0 {
            break;
        }
        out.write_all(&buffer[..count]).map_err(|error| Fail::os("send", error))?;
        bytes += count as u64;
    }
    Ok(Transferred {
        bytes,
        entries: 1,
        total_bytes: u64::try_from(stat.st_size).unwrap_or_default(),
        mode: stat.st_mode & PERMISSIONS,
        stamp: Some(stamp(&stat)),
    })
}

fn open(root: &[u8], path: &[u8]) -> Result<File, Fail> {
    let opened = if root.is_empty() {
        rustix::fs::open(absolute(path)?, READING, Mode::empty()).map(File::from)
    } else {
        Tree::open(&absolute(root)?)?.open_file(&relative(path)?, READING)
    };
    opened.map_err(|error| match error {
        Errno::LOOP => Fail::new(FailureKind::UnsafePath, "the path is a symbolic link, or goes through one"),
        other => Fail::os("open the file", other),
    })
}

/// Writes what the host sends as a file, which takes its place only when it is complete.
pub async fn write(agent: &Agent, call: &Call, request: WriteFile) -> Result<Transferred, Fail> {
    receive(agent, call, move |input| write_from(&request, input).map_err(|fail| fail.at(&request.path[..])))
        .await
}

fn write_from(request: &WriteFile, input: &mut Inbound) -> Result<Transferred, Fail> {
    let (root, beneath) = if request.root.is_empty() {
        let path = absolute(&request.path)?;
        let beneath = path.strip_prefix("/").unwrap_or(&path);
        (PathBuf::from("/"), relative(beneath.as_os_str().as_bytes())?)
    } else {
        (absolute(&request.root)?, relative(&request.path)?)
    };
    let (parent, name) = split(&beneath).ok_or_else(|| Fail::invalid("the path names no file"))?;
    let directory =
        Tree::open(&root)?.make_directory(parent).map_err(|error| refuse_parent(error, &request.path))?;
    let replaced = replaceable(&directory, name)?;
    let mut new = NewFile::create(directory)?;
    let bytes = new.fill(input)?;
    new.adopt(replaced.as_ref(), request.mode)?;
    new.place(name)?;
    Ok(Transferred { bytes, entries: 1, ..Transferred::default() })
}

/// What tells this state of a file from any other.
fn stamp(stat: &Stat) -> Stamp {
    Stamp {
        inode: stat.st_ino,
        bytes: u64::try_from(stat.st_size).unwrap_or_default(),
        mtime_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
        ctime_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
    }
}

fn nanoseconds(seconds: i64, rest: u64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(i64::try_from(rest).unwrap_or_default())
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}
