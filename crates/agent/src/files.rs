//! ReadFile and WriteFile: one regular file.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use pyro_protocol::limits::MAX_CHUNK_BYTES;
use pyro_protocol::v1::{FailureKind, ReadFile, Transferred, WriteFile};
use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, fchmod, fchown, fstat, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid, geteuid, getpid};

use crate::agent::Agent;
use crate::call::Call;
use crate::fail::Fail;
use crate::transfer::{Inbound, Outbound, receive, transmit};
use crate::tree::{Tree, absolute, refuse_parent, relative, split};

const PERMISSIONS: u32 = 0o7777;

/// Sends the bytes of a file.
pub async fn read(agent: &Agent, call: &Call, request: ReadFile) -> Result<Transferred, Fail> {
    transmit(agent, call, move |out| read_into(&request, out).map_err(|fail| fail.at(&request.path[..])))
        .await
}

fn read_into(request: &ReadFile, out: &mut Outbound) -> Result<Transferred, Fail> {
    let path = absolute(&request.path)?;
    // Opening a pipe must not wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, Mode::empty()).map_err(|error| match error {
        Errno::LOOP => Fail::new(FailureKind::UnsafePath, "the path is a symbolic link"),
        other => Fail::os("open the file", other),
    })?;
    let stat = fstat(&file).map_err(|error| Fail::os("look at the file", error))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Fail::invalid("the path is not a regular file"));
    }
    let mut file = File::from(file);
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
    Ok(Transferred { bytes, entries: 1, total_bytes: u64::try_from(stat.st_size).unwrap_or_default() })
}

/// Writes what the host sends as a file, which takes its place only when it is complete.
pub async fn write(agent: &Agent, call: &Call, request: WriteFile) -> Result<Transferred, Fail> {
    receive(agent, call, move |input| write_from(&request, input).map_err(|fail| fail.at(&request.path[..])))
        .await
}

fn write_from(request: &WriteFile, input: &mut Inbound) -> Result<Transferred, Fail> {
    let path = absolute(&request.path)?;
    let beneath = relative(path.strip_prefix("/").unwrap_or(&path).as_os_str().as_bytes())?;
    let (parent, name) = split(&beneath).ok_or_else(|| Fail::invalid("the path names no file"))?;
    let directory = Tree::open(Path::new("/"))?
        .make_directory(parent)
        .map_err(|error| refuse_parent(error, &request.path))?;
    let replaced = replaceable(&directory, name)?;
    let mut new = NewFile::create(directory)?;
    let bytes = new.fill(input)?;
    new.adopt(replaced.as_ref(), request.mode)?;
    new.rename(name)?;
    Ok(Transferred { bytes, entries: 1, total_bytes: 0 })
}

/// The regular file that lies at `name`, if any; anything else there is not replaced.
fn replaceable(directory: &OwnedFd, name: &OsStr) -> Result<Option<Stat>, Fail> {
    let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(Fail::os("look at the file", error)),
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(Some(stat)),
        FileType::Symlink => Err(Fail::new(FailureKind::UnsafePath, "the path is a symbolic link")),
        _ => Err(Fail::invalid("the path exists and is not a regular file")),
    }
}

/// A file being written beside the one it will replace. Dropping it removes it.
struct NewFile {
    directory: OwnedFd,
    name: OsString,
    file: File,
}

impl NewFile {
    fn create(directory: OwnedFd) -> Result<Self, Fail> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = OsString::from(format!(".pyro-{}-{number}.tmp", getpid()));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&directory, &name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| Fail::os("create a file", error))?;
        Ok(Self { directory, name, file: File::from(file) })
    }

    fn fill(&mut self, input: &mut Inbound) -> Result<u64, Fail> {
        io::copy(input, &mut self.file).map_err(|error| match error.kind() {
            ErrorKind::ConnectionAborted => Fail::host_gone(),
            _ => Fail::os("write the file", error),
        })
    }

    /// Takes over mode and owner of the file to be replaced, or gets `mode`.
    fn adopt(&self, replaced: Option<&Stat>, mode: u32) -> Result<(), Fail> {
        if let Some(replaced) = replaced
            && geteuid().is_root()
        {
            let (user, group) = (Uid::from_raw(replaced.st_uid), Gid::from_raw(replaced.st_gid));
            fchown(&self.file, Some(user), Some(group)).map_err(|error| Fail::os("set the owner", error))?;
        }
        let mode = replaced.map_or(mode, |replaced| replaced.st_mode) & PERMISSIONS;
        fchmod(&self.file, Mode::from_raw_mode(mode)).map_err(|error| Fail::os("set the mode", error))
    }

    fn rename(&self, name: &OsStr) -> Result<(), Fail> {
        renameat(&self.directory, &self.name, &self.directory, name)
            .map_err(|error| Fail::os("put the file in its place", error))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // Not there any more once it was renamed.
        let _ = unlinkat(&self.directory, &self.name, AtFlags::empty());
    }
}
