//! A tree as a tar archive, in GNU format: every reader takes long names from it, which is not so with pax.
//!
//! Entries come in the order of their names, a directory before what is in it. What vanishes while it is being packed
//! is left out; a file that changes its size meanwhile is cut, or filled up with zeros, to what its header said.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use pyro_protocol::limits::{MAX_ARCHIVE_BYTES, MAX_ARCHIVE_ENTRIES, MAX_CHUNK_BYTES};
use pyro_protocol::v1::{FailureKind, Transferred};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use rustix::io::Errno;
use tar::{Builder, EntryType, Header};

use crate::fail::Fail;
use crate::tree::{Tree, refuse_parent, split};

const PERMISSIONS: u32 = 0o7777;

/// Where a name that does not fit its header's field is put, by convention.
const LONG_NAME: &[u8] = b"././@LongLink";

/// Writes `path`, a directory or anything else, as an archive.
pub fn pack(path: &Path, out: &mut impl Write) -> Result<Transferred, Fail> {
    let at = |error: io::Error| Fail::os("look at the path", error).at(bytes(path));
    let stat = rustix::fs::lstat(path).map_err(|error| at(error.into()))?;
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let (root, first) = match split(path) {
        Some((parent, name)) if !is_directory => (parent.canonicalize().map_err(at)?, Path::new(name)),
        _ => (path.to_owned(), Path::new("")),
    };
    let mut packer = Packer {
        tree: Tree::open(&root)?,
        device: stat.st_dev,
        parent: None,
        links: HashMap::new(),
        builder: Builder::new(out),
        packed: Transferred::default(),
    };
    if is_directory {
        packer.descend(first)?;
    } else {
        packer.entry(first)?;
    }
    packer.builder.finish().map_err(|error| unsent(error, path))?;
    Ok(packer.packed)
}

struct Packer<'a, W: Write> {
    tree: Tree,
    /// The file system that is packed.
    device: u64,
    /// The directory of the entry before, which is that of most entries.
    parent: Option<(PathBuf, Rc<OwnedFd>)>,
    /// Files with several names, by file system and inode, with the first name packed.
    links: HashMap<(u64, u64), PathBuf>,
    builder: Builder<&'a mut W>,
    packed: Transferred,
}

impl<W: Write> Packer<'_, W> {
    /// Packs everything beneath `directory`. A stack of its own, because a tree may be deeper than the thread's.
    fn descend(&mut self, directory: &Path) -> Result<(), Fail> {
        let mut pending = self.children(directory)?;
        while let Some(path) = pending.pop() {
            if self.entry(&path)? {
                pending.append(&mut self.children(&path)?);
            }
        }
        Ok(())
    }

    /// The paths in `directory`, the last name first.
    fn children(&self, directory: &Path) -> Result<Vec<PathBuf>, Fail> {
        let listed = self.tree.readable_directory(directory).and_then(Dir::new);
        let entries = match listed {
            Ok(entries) => entries,
            Err(Errno::NOENT) => return Ok(Vec::new()),
            Err(error) => return Err(refuse_parent(error, bytes(directory))),
        };
        let mut names: Vec<OsString> = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| Fail::os("list the directory", error).at(bytes(directory)))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(names.into_iter().map(|name| directory.join(name)).collect())
    }

    /// Packs `path` itself; returns whether it is a directory to descend into.
    fn entry(&mut self, path: &Path) -> Result<bool, Fail> {
        let Some((parent, name)) = split(path) else {
            return Ok(false);
        };
        match self.open_parent(parent) {
            Ok(parent) => self.entry_in(&parent, name, path),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(refuse_parent(error, bytes(path))),
        }
    }

    fn open_parent(&mut self, parent: &Path) -> rustix::io::Result<Rc<OwnedFd>> {
        if let Some((path, open)) = &self.parent
            && path == parent
        {
            return Ok(Rc::clone(open));
        }
        let open = Rc::new(self.tree.directory(parent)?);
        self.parent = Some((parent.to_owned(), Rc::clone(&open)));
        Ok(open)
    }

    fn entry_in(&mut self, parent: &OwnedFd, name: &OsStr, path: &Path) -> Result<bool, Fail> {
        let stat = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(Fail::os("look at the file", error).at(bytes(path))),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let mut name = bytes(path).to_vec();
                name.push(b'/');
                self.append(header(EntryType::Directory, &stat, 0), &name, &[], io::empty(), path)?;
                return Ok(stat.st_dev == self.device);
            }
            FileType::RegularFile => self.file(parent, name, path)?,
            FileType::Symlink => match readlinkat(parent, name, Vec::new()) {
                Ok(target) => {
                    let header = header(EntryType::Symlink, &stat, 0);
                    self.append(header, bytes(path), target.as_bytes(), io::empty(), path)?;
                }
                Err(Errno::NOENT | Errno::INVAL) => {}
                Err(error) => return Err(Fail::os("read the link", error).at(bytes(path))),
            },
            _ => {}
        }
        Ok(false)
    }

    fn file(&mut self, parent: impl AsFd, name: &OsStr, path: &Path) -> Result<(), Fail> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(parent, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::LOOP) => return Ok(()),
            Err(error) => return Err(Fail::os("open the file", error).at(bytes(path))),
        };
        let stat = fstat(&file).map_err(|error| Fail::os("look at the file", error).at(bytes(path)))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        if stat.st_nlink > 1 {
            let inode = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&inode).cloned() {
                return self.append(
                    header(EntryType::Link, &stat, 0),
                    bytes(path),
                    bytes(&first),
                    io::empty(),
                    path,
                );
            }
            self.links.insert(inode, path.to_owned());
        }
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        self.packed.bytes = self.packed.bytes.saturating_add(size);
        // Exactly as long as the header says, whatever happens to the file.
        let content = BufReader::with_capacity(MAX_CHUNK_BYTES, File::from(file));
        let content = content.take(size).chain(io::repeat(0)).take(size);
        self.append(header(EntryType::Regular, &stat, size), bytes(path), &[], content, path)
    }

    fn append(
        &mut self,
        mut header: Header,
        name: &[u8],
        link: &[u8],
        content: impl Read,
        path: &Path,
    ) -> Result<(), Fail> {
        self.packed.entries += 1;
        if self.packed.entries > MAX_ARCHIVE_ENTRIES || self.packed.bytes > MAX_ARCHIVE_BYTES {
            return Err(Fail::new(FailureKind::Exhausted, "the archive is over its limit").at(bytes(path)));
        }
        let write = || {
            if !fits(&mut header.as_old_mut().name, name) {
                append_long(&mut self.builder, EntryType::GNULongName, name)?;
            }
            if !fits(&mut header.as_old_mut().linkname, link) {
                append_long(&mut self.builder, EntryType::GNULongLink, link)?;
            }
            header.set_cksum();
            self.builder.append(&header, content)
        };
        write().map_err(|error| unsent(error, path))
    }
}

fn header(kind: EntryType, stat: &Stat, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(stat.st_mode & PERMISSIONS);
    header.set_uid(stat.st_uid.into());
    header.set_gid(stat.st_gid.into());
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or_default());
    header.set_size(size);
    header
}

/// Puts as much of `value` into the field as fits; returns whether that is all of it.
fn fits(field: &mut [u8], value: &[u8]) -> bool {
    let count = value.len().min(field.len());
    field[..count].copy_from_slice(&value[..count]);
    count == value.len()
}

fn append_long<W: Write>(builder: &mut Builder<W>, kind: EntryType, value: &[u8]) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    fits(&mut header.as_old_mut().name, LONG_NAME);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(value.len() as u64 + 1);
    header.set_cksum();
    builder.append(&header, value.chain(&b"\0"[..]))
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

fn unsent(error: io::Error, path: &Path) -> Fail {
    match error.kind() {
        ErrorKind::ConnectionAborted => Fail::host_gone(),
        _ => Fail::os("read the file", error).at(bytes(path)),
    }
}
