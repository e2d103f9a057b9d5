//! A tree as a tar archive.
//!
//! Entries come in the order of their names, a directory before what is in it. What vanishes while it is being packed
//! is left out; a file that changes its size meanwhile is cut, or filled up with zeros, to what its header said. Holes
//! stay holes where they are worth it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, SeekFrom, Stat, fstat, openat, readlinkat, seek, statat};
use rustix::io::Errno;
use tar::EntryType;

use crate::emit::{BLOCK_BYTES, Emitter, Extent, Meta};
use crate::tree::{Tree, refuse_parent, split};
use crate::{Limits, Problem, Totals, TreeError};

/// Fewer bytes of holes than this in a file are packed as zeros.
const MIN_HOLES_BYTES: u64 = 64 * 1024;

/// So is the rest of a file after this many extents, since readers hold the map in memory.
const MAX_EXTENTS: usize = 4096;

/// Unit of `st_blocks`.
const STAT_BLOCK_BYTES: u64 = 512;

/// Writes `path`, a directory or anything else, as an archive. Its directory may be reached through links. Of a directory only
/// the file system it is on is packed.
pub fn pack(path: &Path, out: &mut impl Write) -> Result<Totals, TreeError> {
    let at = |error: std::io::Error| TreeError::io("look at the path", error).at(bytes(path));
    match split(path) {
        Some((parent, name)) => {
            pack_beneath(&Tree::open(&parent.canonicalize().map_err(at)?)?, Path::new(name), out)
        }
        None => pack_beneath(&Tree::open(path)?, Path::new(""), out),
    }
}

/// Writes what is at `path` beneath `tree`, reached without following a link, as [`pack()`] does.
pub fn pack_beneath(tree: &Tree, path: &Path, out: &mut impl Write) -> Result<Totals, TreeError> {
    let stat = tree.stat(path).map_err(|error| match error {
        Errno::NOENT => TreeError::io("look at the path", error).at(bytes(path)),
        error => refuse_parent(error, bytes(path)),
    })?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if !matches!(kind, FileType::RegularFile | FileType::Directory | FileType::Symlink) {
        let neither = Problem::Invalid("it is neither a file, a directory nor a link");
        return Err(TreeError::from(neither).at(bytes(path)));
    }
    let rules = Rules { device: Some(stat.st_dev), ..Rules::default() };
    let directory = split(path).filter(|_| kind != FileType::Directory);
    let Some((parent, name)) = directory else {
        let mut packer = Packer::new(tree.subtree(path)?, rules, Emitter::new(out, Limits::default()));
        // Tells whoever unpacks it that what follows was a directory's.
        packer.emitter.bare(&rules.meta(EntryType::Directory, &stat, b"./", &[]))?;
        packer.emitter.totals.entries -= 1;
        packer.descend(Path::new(""))?;
        return packer.finish();
    };
    let mut packer = Packer::new(tree.subtree(parent)?, rules, Emitter::new(out, Limits::default()));
    packer.entry(Path::new(name))?;
    packer.finish()
}

/// What is packed of a tree, and how.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    /// The one file system that is descended into.
    pub device: Option<u64>,
    /// Everything belongs to root in the archive.
    pub owned_by_root: bool,
    /// Device nodes are errors, not left out.
    pub refuse_devices: bool,
}

/// Packs parts of one tree into one archive.
pub struct Packer<'a, W: Write> {
    tree: Tree,
    rules: Rules,
    /// The directory of the entry before, which is that of most entries.
    parent: Option<(PathBuf, Rc<OwnedFd>)>,
    /// Files with several names, by file system and inode, with the first name packed.
    links: HashMap<(u64, u64), PathBuf>,
    emitter: Emitter<'a, W>,
}

impl<'a, W: Write> Packer<'a, W> {
    pub fn new(tree: Tree, rules: Rules, emitter: Emitter<'a, W>) -> Self {
        Self { tree, rules, parent: None, links: HashMap::new(), emitter }
    }

    /// The end of the archive.
    pub fn finish(self) -> Result<Totals, TreeError> {
        self.emitter.finish()
    }

    /// Packs everything beneath `directory`. A stack of its own, because a tree may be deeper than the thread's.
    pub fn descend(&mut self, directory: &Path) -> Result<(), TreeError> {
        let mut pending = vec![(directory.to_owned(), self.children(directory)?.into_iter())];
        while let Some((directory, names)) = pending.last_mut() {
            let Some(name) = names.next() else {
                pending.pop();
                continue;
            };
            let path = directory.join(name);
            if self.entry(&path)? {
                let names = self.children(&path)?;
                pending.push((path, names.into_iter()));
            }
        }
        Ok(())
    }

    /// The names in `directory`; none where it is no directory any more.
    fn children(&self, directory: &Path) -> Result<Vec<OsString>, TreeError> {
        match self.tree.children(directory) {
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => Ok(Vec::new()),
            listed => listed.map_err(|error| TreeError::io("list the directory", error).at(bytes(directory))),
        }
    }

    /// Whether there is something at `path`, without a symbolic link on the way to it.
    #[cfg(feature = "host")]
    pub fn reaches(&self, path: &Path) -> Result<bool, TreeError> {
        match self.tree.stat(path) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::XDEV) => Ok(false),
            Err(error) => Err(TreeError::io("look at the file", error).at(bytes(path))),
        }
    }

    /// Packs `path` itself; returns whether it is a directory to descend into.
    pub fn entry(&mut self, path: &Path) -> Result<bool, TreeError> {
        let Some((parent, name)) = split(path) else {
            return Ok(false);
        };
        let packed = match self.open_parent(parent) {
            Ok(parent) => self.entry_in(&parent, name, path),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(refuse_parent(error, bytes(path))),
        };
        packed.map_err(|error| if error.path.is_empty() { error.at(bytes(path)) } else { error })
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

    fn entry_in(&mut self, parent: &OwnedFd, name: &OsStr, path: &Path) -> Result<bool, TreeError> {
        let stat = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(TreeError::io("look at the file", error)),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let mut name = bytes(path).to_vec();
                name.push(b'/');
                self.emitter.bare(&self.rules.meta(EntryType::Directory, &stat, &name, &[]))?;
                return Ok(self.rules.device.is_none_or(|device| device == stat.st_dev));
            }
            FileType::RegularFile => self.file(parent, name, path)?,
            FileType::Symlink => match readlinkat(parent, name, Vec::new()) {
                Ok(target) => {
                    let target = target.as_bytes();
                    self.emitter.bare(&self.rules.meta(EntryType::Symlink, &stat, bytes(path), target))?;
                }
                Err(Errno::NOENT | Errno::INVAL) => {}
                Err(error) => return Err(TreeError::io("read the link", error)),
            },
            FileType::BlockDevice | FileType::CharacterDevice if self.rules.refuse_devices => {
                return Err(Problem::UnsafePath("the file is a device").into());
            }
            _ => self.emitter.totals.skipped += 1,
        }
        Ok(false)
    }

    fn file(&mut self, parent: impl AsFd, name: &OsStr, path: &Path) -> Result<(), TreeError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(parent, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::LOOP) => return Ok(()),
            Err(error) => return Err(TreeError::io("open the file", error)),
        };
        let stat = fstat(&file).map_err(|error| TreeError::io("look at the file", error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        if stat.st_nlink > 1 {
            let inode = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&inode) {
                let link = self.rules.meta(EntryType::Link, &stat, bytes(path), bytes(first));
                return self.emitter.bare(&link);
            }
            self.links.insert(inode, path.to_owned());
        }
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        let extents = sparse_extents(&file, &stat, size);
        let meta = self.rules.meta(EntryType::Regular, &stat, bytes(path), &[]);
        self.emitter.file(&meta, size, extents.as_deref(), &file)
    }
}

impl Rules {
    fn meta<'a>(self, kind: EntryType, stat: &Stat, name: &'a [u8], link: &'a [u8]) -> Meta<'a> {
        Meta {
            kind,
            name,
            link,
            mode: stat.st_mode,
            owner: if self.owned_by_root { (0, 0) } else { (stat.st_uid, stat.st_gid) },
            modified: u64::try_from(stat.st_mtime).unwrap_or_default(),
        }
    }
}

/// Where the data of a file lies that has holes worth keeping. Boundaries are multiples of an archive's block, except
/// at the end of the file.
fn sparse_extents(file: &File, stat: &Stat, size: u64) -> Option<Vec<Extent>> {
    let worth = |holes: u64| holes >= MIN_HOLES_BYTES && holes >= size / 8;
    let allocated = u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(STAT_BLOCK_BYTES);
    if !worth(size.saturating_sub(allocated)) {
        return None;
    }
    let mut extents: Vec<Extent> = Vec::new();
    let mut end = 0;
    while end < size {
        let from = match seek(file, SeekFrom::Data(end)) {
            Ok(from) => from.max(end) / BLOCK_BYTES * BLOCK_BYTES,
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => break,
            Err(_) => return None,
        };
        if from >= size {
            break;
        }
        let from = from.max(end);
        let until = if extents.len() + 1 >= MAX_EXTENTS {
            size
        } else {
            seek(file, SeekFrom::Hole(from)).ok()?.next_multiple_of(BLOCK_BYTES).min(size)
        };
        if until <= from {
            // The file changes faster than it can be looked at.
            return None;
        }
        extents.push(Extent { offset: from, length: until - from });
        end = until;
    }
    let data: u64 = extents.iter().map(|extent| extent.length).sum();
    worth(size - data).then_some(extents)
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}
