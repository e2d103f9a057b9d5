//! Unpacks a tar archive beneath a directory, which no entry can leave.
//!
//! Each entry's directory is looked up anew beneath the destination without following links, so a link that an earlier
//! entry made leads nowhere. Entries of other kinds than files, directories and links are refused. The first refusal
//! ends the unpacking; what came before it stays.
//!
//! Directories get their attributes at the end: until then they must be writable, and their times would change.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use pyro_protocol::limits::MAX_CHUNK_BYTES;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, chownat, fchmod, fchown, fstat,
    futimens, linkat, mkdirat, openat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid, geteuid};
use tar::{Archive, Entry, EntryType, Header};

use crate::metered::{Meter, Metered};
use crate::tree::{Tree, refuse_parent, relative, split};
use crate::{Limits, PERMISSIONS, Problem, Totals, TreeError};

/// Runs of zeros are left as holes in units of this.
const HOLE_BYTES: usize = 4096;

/// The bits of a mode that a host takes over from a guest.
const HARMLESS: u32 = 0o755;

/// Most names on the way to an entry on a host. Programs that remove trees may hold a descriptor for each.
const MAX_HOST_DEPTH: usize = 256;

/// Most bytes of names of directories that are remembered until the end.
const MAX_REMEMBERED_BYTES: usize = 64 * 1024 * 1024;

/// Most padding after an archive's end.
const MAX_PADDING_BYTES: u64 = 64 * 1024 * 1024;

/// Who owns what is unpacked.
#[derive(Debug, Clone, Copy)]
pub enum Owner {
    /// Whom the archive says.
    Archived,
    /// Whoever unpacks, as nobody but root may give files away.
    Unpacker,
    /// This user and group.
    Fixed {
        /// Its user.
        uid: u32,
        /// Its group.
        gid: u32,
    },
}

impl Default for Owner {
    fn default() -> Self {
        if geteuid().is_root() { Self::Archived } else { Self::Unpacker }
    }
}

/// Changes the content of files on its way, one file after the other.
pub trait Rewrite: fmt::Debug + Send {
    /// Takes what comes next of a file, and appends what is to be written.
    fn push(&mut self, content: &[u8], out: &mut Vec<u8>);

    /// The file has ended: appends the rest. What comes after that is another file.
    fn finish(&mut self, out: &mut Vec<u8>);
}

/// Unpacks one archive into one directory.
pub struct Unpacker {
    tree: Tree,
    owner: Owner,
    limits: Limits,
    /// Takes over what is harmless on a host only.
    for_host: bool,
    /// The destination itself was an entry.
    is_directory: bool,
    /// The directory of the entry before, which is that of most entries.
    parent: Option<(PathBuf, Rc<OwnedFd>)>,
    directories: Vec<(PathBuf, Attributes)>,
    remembered: usize,
    buffer: Vec<u8>,
    rewrite: Option<Box<dyn Rewrite>>,
    rewritten: Vec<u8>,
    unpacked: Totals,
}

impl Unpacker {
    /// An unpacker into `tree` of at most what `limits` says.
    pub fn new(tree: Tree, owner: Owner, limits: Limits) -> Self {
        Self {
            tree,
            owner,
            limits,
            for_host: false,
            is_directory: false,
            parent: None,
            directories: Vec::new(),
            remembered: 0,
            buffer: vec![0; MAX_CHUNK_BYTES],
            rewrite: None,
            rewritten: Vec::new(),
            unpacked: Totals::default(),
        }
    }

    /// Takes over only what is harmless on a host. Modes: the owner can read and write everything, nobody else can
    /// write, and there are no set-user, set-group and sticky bits. Depth: what any program can remove again.
    #[cfg(feature = "host")]
    pub(crate) fn for_host(mut self) -> Self {
        self.for_host = true;
        self
    }

    /// Writes what `rewrite` makes of the files.
    #[cfg(feature = "host")]
    pub(crate) fn rewriting(mut self, rewrite: Option<Box<dyn Rewrite>>) -> Self {
        self.rewrite = rewrite;
        self
    }

    /// Unpacks everything in `input`, and reads it to its end.
    pub fn unpack(self, input: &mut impl Read) -> Result<Totals, TreeError> {
        self.run(input).map(|(totals, _)| totals)
    }

    /// Unpacks everything, and says whether the archive calls itself that of a directory.
    pub(crate) fn run(mut self, input: &mut impl Read) -> Result<(Totals, bool), TreeError> {
        let meter = Meter::new();
        let mut archive = Archive::new(Metered { input: &mut *input, meter: &meter });
        let mut entries = archive.entries().map_err(TreeError::reading)?;
        loop {
            meter.parsing();
            let Some(entry) = entries.next() else { break };
            meter.content();
            let mut entry = entry.map_err(TreeError::reading)?;
            self.entry(&mut entry)?;
            io::copy(&mut entry, &mut io::sink()).map_err(TreeError::reading)?;
        }
        // Only the sender's own end says that it came whole.
        read_padding(input)?;
        self.finish_directories()?;
        Ok((self.unpacked, self.is_directory))
    }

    fn entry(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<(), TreeError> {
        let kind = entry.header().entry_type();
        let raw = entry.path_bytes().into_owned();
        self.unpacked
            .count(entry.size(), self.limits)
            .map_err(|problem| TreeError::from(problem).at(&raw[..]))?;
        if kind == EntryType::XGlobalHeader {
            self.unpacked.entries -= 1;
            return Ok(());
        }
        let path = relative(&raw)?;
        // Archives of old mark a directory by its name only.
        let is_directory = kind == EntryType::Directory || kind == EntryType::Regular && raw.ends_with(b"/");
        if self.for_host && path.components().count() > MAX_HOST_DEPTH {
            return Err(TreeError::from(Problem::Exhausted("the entry is nested too deeply")).at(raw));
        }
        let mut attributes = Attributes::of(entry.header(), self.owner);
        if self.for_host {
            attributes.make_harmless(is_directory);
        }
        let Some((parent, name)) = split(&path) else {
            // The destination exists and keeps its attributes.
            if is_directory {
                self.unpacked.entries -= 1;
                self.is_directory = true;
                return Ok(());
            }
            let problem = Problem::UnsafePath("an entry takes the place of the destination");
            return Err(TreeError::from(problem).at(raw));
        };
        let parent = self.parent(parent).map_err(|error| refuse_parent(error, &raw))?;
        let made = match kind {
            _ if is_directory => {
                self.remember(&path, attributes).and_then(|()| make_directory(&parent, name))
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.make_file(&parent, name, &attributes, entry)
            }
            EntryType::Symlink => make_symlink(&parent, name, &attributes, &link_name(entry)),
            EntryType::Link => self.make_link(&parent, name, &link_name(entry)),
            _ => Err(Problem::UnsafePath("an entry is neither a file, a directory nor a link").into()),
        };
        made.map_err(|error| error.at(raw))
    }

    fn remember(&mut self, path: &Path, attributes: Attributes) -> Result<(), TreeError> {
        self.remembered += path.as_os_str().len();
        if self.remembered > MAX_REMEMBERED_BYTES {
            return Err(Problem::Exhausted("the names of all directories together are too long").into());
        }
        self.directories.push((path.to_owned(), attributes));
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
    ) -> Result<(), TreeError> {
        // What can be said when a file is made need not be said afterwards, which costs as much again.
        let mode = attributes.mode & (Mode::RWXU | Mode::RWXG | Mode::RWXO);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match openat(parent, name, flags, mode) {
            Err(Errno::EXIST) => {
                clear(parent, name)?;
                openat(parent, name, flags, mode)
            }
            opened => opened,
        };
        let file = File::from(file.map_err(|error| TreeError::io("create the file", error))?);
        let (mut length, mut written) = (0, 0);
        loop {
            let count = read_full(content, &mut self.buffer).map_err(TreeError::reading)?;
            let is_last = count < self.buffer.len();
            let chunk = rewritten(&mut self.rewrite, &self.buffer[..count], is_last, &mut self.rewritten);
            let bytes = self.unpacked.bytes.saturating_add(chunk.len() as u64);
            self.unpacked.bytes = bytes.saturating_sub(count as u64);
            let end =
                write_sparse(&file, chunk, length).map_err(|error| TreeError::io("write the file", error))?;
            written = end.unwrap_or(written);
            length += chunk.len() as u64;
            if is_last {
                break;
            }
        }
        if written < length {
            // It ends with a hole.
            file.set_len(length).map_err(|error| TreeError::io("write the file", error))?;
        }
        attributes.apply(file)
    }

    /// Links to what an earlier entry made, or to what else lies beneath the destination.
    fn make_link(&mut self, parent: &OwnedFd, name: &OsStr, target: &[u8]) -> Result<(), TreeError> {
        let target = relative(target)?;
        let (directory, target_name) =
            split(&target).ok_or(Problem::UnsafePath("a hard link names the destination"))?;
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
            .map_err(|error| TreeError::io("create the hard link", error))
    }

    fn finish_directories(&mut self) -> Result<(), TreeError> {
        // From the leaves up: a directory may lose the permission to be entered.
        for (path, attributes) in self.directories.drain(..).rev() {
            let directory = self
                .tree
                .readable_directory(&path)
                .map_err(|error| refuse_parent(error, path.as_os_str().as_bytes()))?;
            attributes.apply(directory).map_err(|error| error.at(path.as_os_str().as_bytes()))?;
        }
        Ok(())
    }
}

/// What is to be written in the place of `content`.
fn rewritten<'a>(
    rewrite: &mut Option<Box<dyn Rewrite>>,
    content: &'a [u8],
    is_last: bool,
    out: &'a mut Vec<u8>,
) -> &'a [u8] {
    let Some(rewrite) = rewrite else { return content };
    out.clear();
    rewrite.push(content, out);
    if is_last {
        rewrite.finish(out);
    }
    out
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

    fn make_harmless(&mut self, is_directory: bool) {
        let needed = if is_directory { Mode::RWXU } else { Mode::RUSR | Mode::WUSR };
        self.mode = self.mode & Mode::from_raw_mode(HARMLESS) | needed;
    }

    /// Sets what is not so already. Owner first: changing it clears the set-user bits of the mode.
    fn apply(&self, file: impl AsFd) -> Result<(), TreeError> {
        let stat = fstat(&file).map_err(|error| TreeError::io("look at the file", error))?;
        let mut mode = Mode::from_raw_mode(stat.st_mode & PERMISSIONS);
        if let Some((user, group)) = self.owner
            && (user.as_raw(), group.as_raw()) != (stat.st_uid, stat.st_gid)
        {
            fchown(&file, Some(user), Some(group)).map_err(|error| TreeError::io("set the owner", error))?;
            mode -= Mode::SUID | Mode::SGID;
        }
        if mode != self.mode {
            fchmod(&file, self.mode).map_err(|error| TreeError::io("set the mode", error))?;
        }
        futimens(&file, &self.times).map_err(|error| TreeError::io("set the time", error))
    }
}

fn make_directory(parent: &OwnedFd, name: &OsStr) -> Result<(), TreeError> {
    match mkdirat(parent, name, Mode::RWXU) {
        Ok(()) => return Ok(()),
        Err(Errno::EXIST) => {}
        Err(error) => return Err(TreeError::io("create the directory", error)),
    }
    let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| TreeError::io("look at the entry", error))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Ok(()),
        FileType::Symlink => {
            Err(Problem::UnsafePath("a symbolic link is where a directory should be").into())
        }
        _ => Err(Problem::AlreadyExists("something else is where a directory should be").into()),
    }
}

fn make_symlink(
    parent: &OwnedFd,
    name: &OsStr,
    attributes: &Attributes,
    target: &[u8],
) -> Result<(), TreeError> {
    clear(parent, name)?;
    symlinkat(target, parent, name).map_err(|error| TreeError::io("create the symbolic link", error))?;
    if let Some((user, group)) = attributes.owner {
        chownat(parent, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| TreeError::io("set the owner", error))?;
    }
    utimensat(parent, name, &attributes.times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| TreeError::io("set the time", error))
}

/// Removes what an entry replaces; a directory is not replaced by anything else.
fn clear(parent: &OwnedFd, name: &OsStr) -> Result<(), TreeError> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => Err(Problem::AlreadyExists("a directory is in the way").into()),
        Err(error) => Err(TreeError::io("replace the file", error)),
    }
}

/// Reads what follows the end mark. What is not zeros there would be lost silently: another archive, for one.
pub(crate) fn read_padding(input: &mut impl Read) -> Result<(), TreeError> {
    let mut buffer = vec![0; MAX_CHUNK_BYTES];
    let mut total = 0;
    loop {
        let count = match input.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(TreeError::reading(error)),
        };
        if buffer[..count].iter().any(|byte| *byte != 0) {
            let after = io::Error::new(io::ErrorKind::InvalidData, "there is data after its end mark");
            return Err(Problem::Malformed(after).into());
        }
        total += count as u64;
        if total > MAX_PADDING_BYTES {
            return Err(Problem::Exhausted("the padding after the archive's end is over its limit").into());
        }
    }
}

fn link_name(entry: &Entry<'_, impl Read>) -> Vec<u8> {
    entry.link_name_bytes().unwrap_or_default().into_owned()
}

/// Reads until `buffer` is full or the input ends; returns how much there is.
fn read_full(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Writes `content` at `offset`, without what is zeros anyway in a file that is new. Returns where what was written ends, if
/// anything was.
fn write_sparse(file: &File, content: &[u8], offset: u64) -> io::Result<Option<u64>> {
    static ZEROS: [u8; HOLE_BYTES] = [0; HOLE_BYTES];
    let (mut begin, mut position, mut end) = (0, 0, None);
    let mut write = |begin: usize, until: usize| {
        if begin < until {
            file.write_all_at(&content[begin..until], offset + begin as u64)?;
            end = Some(offset + until as u64);
        }
        Ok::<_, io::Error>(())
    };
    for block in content.chunks(HOLE_BYTES) {
        let next = position + block.len();
        if *block == ZEROS[..block.len()] {
            write(begin, position)?;
            begin = next;
        }
        position = next;
    }
    write(begin, position)?;
    Ok(end)
}
