//! One of the trees that are compared.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};

use pyro_protocol::v1::FileKind;
use pyro_tree::{Tree, split};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use rustix::io::Errno;

use crate::fail::Fail;
use crate::files::kind_of;

const PERMISSIONS: u32 = 0o7777;

const READING: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// A tree, or nothing at all.
pub struct View {
    tree: Option<Tree>,
    /// The directory of the path before, which is that of most paths.
    parent: Option<(PathBuf, OwnedFd)>,
    /// How often something was looked up.
    #[cfg(test)]
    pub lookups: usize,
}

/// What lies at a path.
#[derive(Debug)]
pub struct Node {
    pub kind: FileKind,
    /// Bytes of a regular file, 0 otherwise.
    pub size: u64,
    pub mode: u32,
    /// What a symbolic link says.
    pub link_target: Vec<u8>,
    /// A regular file, open.
    pub file: Option<File>,
    /// What tells devices, pipes and sockets apart.
    pub special: (u32, u64),
}

impl View {
    pub fn new(tree: Option<Tree>) -> Self {
        Self {
            tree,
            parent: None,
            #[cfg(test)]
            lookups: 0,
        }
    }

    /// What lies at `path`; `None` for nothing, and for what a link or a file is in the way of.
    pub fn look(&mut self, path: &Path) -> Result<Option<Node>, Fail> {
        #[cfg(test)]
        {
            self.lookups += 1;
        }
        let node = match split(path) {
            Some((parent, name)) => self.open_parent(parent).and_then(|parent| Node::at(parent, name)),
            None => Err(Errno::NOENT),
        };
        there(node).map_err(|error| Fail::os("look at the file", error))
    }

    /// The names in the directory `path`, in their order; none where there is no directory.
    pub fn names(&self, path: &Path) -> Result<Vec<OsString>, Fail> {
        let Some(tree) = &self.tree else {
            return Ok(Vec::new());
        };
        let names = there(tree.children(path)).map_err(|error| Fail::os("list the directory", error))?;
        Ok(names.unwrap_or_default())
    }

    /// The directory `path`, for reading; `None` where there is none.
    pub fn directory(&self, path: &Path) -> Result<Option<OwnedFd>, Fail> {
        let opened = self.tree.as_ref().map_or(Err(Errno::NOENT), |tree| tree.readable_directory(path));
        there(opened).map_err(|error| Fail::os("open the directory", error))
    }

    fn open_parent(&mut self, path: &Path) -> rustix::io::Result<&OwnedFd> {
        let known = self.parent.take().filter(|(known, _)| known == path);
        let open = match known {
            Some((_, open)) => open,
            None => self.tree.as_ref().ok_or(Errno::NOENT)?.directory(path)?,
        };
        Ok(&self.parent.insert((path.to_owned(), open)).1)
    }
}

impl Node {
    fn at(parent: &OwnedFd, name: &OsStr) -> rustix::io::Result<Self> {
        let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match kind_of(&stat) {
            FileKind::File => {
                let file = openat(parent, name, READING, Mode::empty())?;
                let stat = fstat(&file)?;
                // It may have become something else; a file again, or gone, is as good an answer as any.
                if kind_of(&stat) != FileKind::File {
                    return Err(Errno::NOENT);
                }
                Ok(Self { file: Some(File::from(file)), ..Self::of(&stat) })
            }
            FileKind::Symlink => {
                let link_target = readlinkat(parent, name, Vec::new()).map_err(|_| Errno::NOENT)?;
                Ok(Self { link_target: link_target.into_bytes(), ..Self::of(&stat) })
            }
            _ => Ok(Self::of(&stat)),
        }
    }

    fn of(stat: &Stat) -> Self {
        let kind = kind_of(stat);
        let size = if kind == FileKind::File { u64::try_from(stat.st_size).unwrap_or_default() } else { 0 };
        Self {
            kind,
            size,
            mode: stat.st_mode & PERMISSIONS,
            link_target: Vec::new(),
            file: None,
            special: (stat.st_mode & !PERMISSIONS, stat.st_rdev),
        }
    }
}

fn there<T>(result: rustix::io::Result<T>) -> rustix::io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error),
    }
}
