//! What is there of the names that Git tracks, found without following a link.

use super::ProjectError;
use crate::engine::on_thread;
use pyro_tree::{Tree, split};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Names beneath the root of a checkout.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Tracked files and links.
    pub(super) files: Vec<PathBuf>,
    /// Places of submodules.
    pub(super) directories: Vec<PathBuf>,
    /// Those of them that are not checked out.
    pub(super) empty_submodules: Vec<PathBuf>,
}

/// What Git tracks in a checkout, and how it stands in the working tree.
#[derive(Debug, Default)]
pub(super) struct Tracked {
    /// Files and links that Git tracks.
    pub(super) count: u64,
    /// What is to be taken: those that are there, and the directories of submodules.
    pub(super) names: Vec<PathBuf>,
    /// Those that are not there.
    pub(super) missing: u64,
    /// Those in whose place is neither a file nor a link.
    pub(super) replaced: u64,
    /// Those that cannot be read.
    pub(super) unreadable: Vec<PathBuf>,
    /// Submodules that are not checked out.
    pub(super) empty_submodules: Vec<PathBuf>,
}

impl Tracked {
    /// Fails where a workspace cannot be made of it.
    pub(super) fn check(&self, root: &Path) -> Result<(), ProjectError> {
        if let Some(path) = self.unreadable.first() {
            return Err(ProjectError::Unreadable { path: path.clone(), count: self.unreadable.len() as u64 });
        }
        if self.names.is_empty() {
            return Err(ProjectError::Nothing { root: root.to_owned(), tracked: self.count });
        }
        Ok(())
    }
}

/// How a file stands.
enum Standing {
    Present,
    Missing,
    Replaced,
    Unreadable,
}

/// Whether there is a directory at `path` beneath `root`, without a link on the way.
pub(super) fn is_directory_beneath(root: &Path, path: &Path) -> bool {
    Tree::open(root).is_ok_and(|tree| tree.directory(path).is_ok())
}

/// Looks at each name.
pub(super) async fn look_at(root: PathBuf, names: Names) -> Result<Tracked, ProjectError> {
    on_thread(move || look(&root, names)).await
}

fn look(root: &Path, names: Names) -> Result<Tracked, ProjectError> {
    let Names { mut files, mut directories, mut empty_submodules } = names;
    for list in [&mut files, &mut directories, &mut empty_submodules] {
        list.sort_unstable();
        list.dedup();
    }
    let tree = Tree::open(root).map_err(|error| ProjectError::BadPath {
        path: root.to_owned(),
        source: std::io::Error::other(error),
    })?;
    let mut tracked = Tracked { count: files.len() as u64, empty_submodules, ..Tracked::default() };
    let mut parents = Parents { tree: &tree, last: None };
    for file in files {
        match parents.standing(&file) {
            Standing::Present => tracked.names.push(file),
            Standing::Missing => tracked.missing += 1,
            Standing::Replaced => tracked.replaced += 1,
            Standing::Unreadable => tracked.unreadable.push(file),
        }
    }
    tracked.names.extend(directories.into_iter().filter(|path| tree.directory(path).is_ok()));
    Ok(tracked)
}

/// Files in the order of their names are mostly in the directory of the one before.
struct Parents<'a> {
    tree: &'a Tree,
    last: Option<(PathBuf, Result<OwnedFd, Errno>)>,
}

impl Parents<'_> {
    fn standing(&mut self, path: &Path) -> Standing {
        let Some((parent, name)) = split(path) else { return Standing::Missing };
        let opened = match self.last.take() {
            Some((last, opened)) if last == parent => opened,
            _ => self.tree.directory(parent),
        };
        let standing = match &opened {
            Ok(directory) => in_directory(directory, name),
            Err(error) => absent(*error),
        };
        self.last = Some((parent.to_owned(), opened));
        standing
    }
}

fn in_directory(directory: &OwnedFd, name: &OsStr) -> Standing {
    let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(error) => return absent(error),
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => Standing::Present,
        FileType::RegularFile => {
            // Whatever takes its place meanwhile: opening it must not wait.
            let flags =
                OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            match openat(directory, name, flags, Mode::empty()) {
                Ok(_file) => Standing::Present,
                Err(error) => absent(error),
            }
        }
        _ => Standing::Replaced,
    }
}

/// What it means that something cannot be looked at.
fn absent(error: Errno) -> Standing {
    match error {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV => Standing::Missing,
        _ => Standing::Unreadable,
    }
}
