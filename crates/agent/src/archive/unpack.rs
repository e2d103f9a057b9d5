//! Unpacks a tar archive beneath a directory, which no entry can leave.
//!
//! Each entry's directory is looked up anew beneath the destination without following links, so a link that an earlier
//! entry made leads nowhere. Entries of other kinds than files, directories and links are refused. The first refusal
//! ends the unpacking; what came before it stays.
//!
//! Directories get their attributes at the end: until then they must be writable, and their times would change.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use pyro_protocol::limits::{MAX_ARCHIVE_BYTES, MAX_ARCHIVE_ENTRIES, MAX_CHUNK_BYTES};
use pyro_protocol::v1::{FailureKind, Transferred};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, chownat, fchmod, fchown, futimens,
    linkat, mkdirat, openat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid, geteuid};
use tar::{Archive, Entry, EntryType, Header};

use crate::fail::Fail;
use crate::tree::{Tree, refuse_parent, relative, split};

const PERMISSIONS: u32 = 0o7777;

/// Who owns what is unpacked.
#[derive(Debug, Clone, Copy)]
pub enum Owner {
    /// Whom the archive says.
    Archived,
    /// Whoever unpacks, as nobody but root may give files away.
    Unpacker,
    /// This user and group.
    Fixed { uid: u32, gid: u32 },
}

impl Default for Owner {
    fn default() -> Self {
        if geteuid().is_root() { Self::Archived } else { Self::Unpacker }
    }
}

/// Unpacks one archive into one directory.
pub struct Unpacker {
    tree: Tree,
    owner: Owner,
    /// The directory of the entry before, which is that of most entries.
    parent: Option<(PathBuf, Rc<OwnedFd>)>,
    directories: Vec<(PathBuf, Attributes)>,
    buffer: Vec<u8>,
    unpacked: Transferred,
}

impl Unpacker {
    /// An unpacker into `tree`.
    pub fn new(tree: Tree, owner: Owner) -> Self {
        Self {
            tree,
            owner,
            parent: None,
            directories: Vec::new(),
            buffer: vec![0; MAX_CHUNK_BYTES],
            unpacked: Transferred::default(),
        }
    }

    /// Unpacks everything in `input`, and reads it to its end.
    pub fn unpack(mut self, input: &mut impl Read) -> Result<Transferred, Fail> {
        let mut archive = Archive::new(&mut *input);
        for entry in archive.entries().map_err(|error| unreadable(&error))? {
            self.entry(entry.map_err(|error| unreadable(&error))?)?;
        }
        // What follows an archive's end is padding; only the host's own end says that it came whole.
        io::copy(input, &mut io::sink()).map_err(|error| unreadable(&error))?;
        self.finish_directories()?;
        Ok(self.unpacked)
    }

    fn entry(&mut self, mut entry: Entry<'_, impl Read>) -> Result<(), Fail> {
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let raw = entry.path_bytes().into_owned();
        self.count(entry.size()).map_err(|fail| fail.at(&raw[..]))?;
        let path = relative(&raw)?;
        // Archives of old mark a directory by its name only.
        let is_directory = kind == EntryType::Directory || kind == EntryType::Regular && raw.ends_with(b"/");
        let attributes = Attributes::of(entry.header(), self.owner);
        let Some((parent, name)) = split(&path) else {
            // The destination exists and keeps its attributes.
            if is_directory {
                return Ok(());
            }
            return Err(Fail::unsafe_path("an entry takes the place of the destination", raw));
        };
        let parent = self.parent(parent).map_err(|error| refuse_parent(error, &raw))?;
        let made = match kind {
            _ if is_directory => {
                self.directories.push((path.clone(), attributes));
                make_directory(&parent, name)
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.make_file(&parent, name, &attributes, &mut entry)
            }
            EntryType::Symlink => make_symlink(&parent, name, &attributes, &link_name(&entry)),
            EntryType::Link => self.make_link(&parent, name, &link_name(&entry)),
            _ => Err(Fail::unsafe_path("an entry is neither a file, a directory nor a link", Vec::new())),
        };
        made.map_err(|fail| fail.at(raw))
    }

    fn count(&mut self, size: u64) -> Result<(), Fail> {
        self.unpacked.entries += 1;
        self.unpacked.bytes = self.unpacked.bytes.saturating_add(size);
        if self.unpacked.entries > MAX_ARCHIVE_ENTRIES || self.unpacked.bytes > MAX_ARCHIVE_BYTES {
            return Err(Fail::new(FailureKind::Exhausted, "the archive is over its limit"));
        }
        Ok(())
    }

    fn parent(&mut self, parent: &Path) -> rustix::io::Result<Rc<OwnedFd>> {
        if let Some((known, open)) = &self.parent
            && known == parent
        {
            return Ok(Rc::clone(open));
        }
        let open = Rc::new(self.tree.make_directory(parent)?);
        self.parent = Some((parent.to_owned(), Rc::clone(&open)));
        Ok(open)
    }

    fn make_file(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        attributes: &Attributes,
        content: &mut impl Read,
    ) -> Result<(), Fail> {
        clear(parent, name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(parent, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| Fail::os("create the file", error))?;
        let mut file = File::from(file);
        loop {
            let count = content.read(&mut self.buffer).map_err(|error| unreadable(&error))?;
            if count == 0 {
                break;
            }
            file.write_all(&self.buffer[..count]).map_err(|error| Fail::os("write the file", error))?;
        }
        attributes.apply(file)
    }

    /// Links to what an earlier entry made, or to what else lies beneath the destination.
    fn make_link(&mut self, parent: &OwnedFd, name: &OsStr, target: &[u8]) -> Result<(), Fail> {
        let target = relative(target)?;
        let (directory, target_name) = split(&target)
            .ok_or_else(|| Fail::unsafe_path("a hard link names the destination", Vec::new()))?;
        let directory = self.tree.directory(directory).map_err(|error| refuse_parent(error, &[]))?;
        let is_itself = |stat: &rustix::fs::Stat| {
            statat(&directory, target_name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|other| (other.st_dev, other.st_ino) == (stat.st_dev, stat.st_ino))
        };
        // Clearing the way must not remove the only name there is.
        if statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| is_itself(&stat)) {
            return Ok(());
        }
        clear(parent, name)?;
        linkat(&directory, target_name, parent, name, AtFlags::empty())
            .map_err(|error| Fail::os("create the hard link", error))
    }

    fn finish_directories(&mut self) -> Result<(), Fail> {
        // From the leaves up: a directory may lose the permission to be entered.
        for (path, attributes) in self.directories.drain(..).rev() {
            let directory = self
                .tree
                .readable_directory(&path)
                .map_err(|error| refuse_parent(error, path.as_os_str().as_bytes()))?;
            attributes.apply(directory).map_err(|fail| fail.at(path.as_os_str().as_bytes()))?;
        }
        Ok(())
    }
}

/// What an entry says about its file beside the content.
#[derive(Debug)]
struct Attributes {
    mode: Mode,
    owner: Option<(Uid, Gid)>,
    times: Timestamps,
}

impl Attributes {
    fn of(header: &Header, owner: Owner) -> Self {
        let archived = |id: io::Result<u64>| id.ok().and_then(|id| u32::try_from(id).ok());
        let owner = match owner {
            Owner::Fixed { uid, gid } => Some((uid, gid)),
            Owner::Archived => archived(header.uid()).zip(archived(header.gid())),
            Owner::Unpacker => None,
        };
        // The largest number means "unchanged" to the system call.
        let owner = owner.filter(|(uid, gid)| *uid != u32::MAX && *gid != u32::MAX);
        let modified =
            header.mtime().ok().and_then(|seconds| i64::try_from(seconds).ok()).unwrap_or_default();
        Self {
            mode: Mode::from_raw_mode(header.mode().unwrap_or_default() & PERMISSIONS),
            owner: owner.map(|(uid, gid)| (Uid::from_raw(uid), Gid::from_raw(gid))),
            times: Timestamps {
                last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
                last_modification: Timespec { tv_sec: modified, tv_nsec: 0 },
            },
        }
    }

    /// Owner first: changing it clears the set-user bits of the mode.
    fn apply(&self, file: impl AsFd) -> Result<(), Fail> {
        if let Some((user, group)) = self.owner {
            fchown(&file, Some(user), Some(group)).map_err(|error| Fail::os("set the owner", error))?;
        }
        fchmod(&file, self.mode).map_err(|error| Fail::os("set the mode", error))?;
        futimens(&file, &self.times).map_err(|error| Fail::os("set the time", error))
    }
}

fn make_directory(parent: &OwnedFd, name: &OsStr) -> Result<(), Fail> {
    match mkdirat(parent, name, Mode::RWXU) {
        Ok(()) => return Ok(()),
        Err(Errno::EXIST) => {}
        Err(error) => return Err(Fail::os("create the directory", error)),
    }
    let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| Fail::os("look at the entry", error))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Ok(()),
        FileType::Symlink => {
            Err(Fail::unsafe_path("a symbolic link is where a directory should be", Vec::new()))
        }
        _ => Err(Fail::new(FailureKind::AlreadyExists, "something else is where a directory should be")),
    }
}

fn make_symlink(parent: &OwnedFd, name: &OsStr, attributes: &Attributes, target: &[u8]) -> Result<(), Fail> {
    clear(parent, name)?;
    symlinkat(target, parent, name).map_err(|error| Fail::os("create the symbolic link", error))?;
    if let Some((user, group)) = attributes.owner {
        chownat(parent, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| Fail::os("set the owner", error))?;
    }
    utimensat(parent, name, &attributes.times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| Fail::os("set the time", error))
}

/// Removes what an entry replaces; a directory is not replaced by anything else.
fn clear(parent: &OwnedFd, name: &OsStr) -> Result<(), Fail> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => Err(Fail::new(FailureKind::AlreadyExists, "a directory is in the way")),
        Err(error) => Err(Fail::os("replace the file", error)),
    }
}

fn link_name(entry: &Entry<'_, impl Read>) -> Vec<u8> {
    entry.link_name_bytes().unwrap_or_default().into_owned()
}

/// The failure of reading the archive: the host went away, or what it sent is no archive.
fn unreadable(error: &io::Error) -> Fail {
    match error.kind() {
        ErrorKind::ConnectionAborted => Fail::host_gone(),
        _ => Fail::invalid(format!("the archive is malformed: {error}")),
    }
}
