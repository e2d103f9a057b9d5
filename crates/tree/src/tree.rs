//! A directory and what lies beneath it, reached without ever following a symbolic link or leaving it.
//!
//! The kernel enforces this on every lookup (`openat2`), so it holds even while something else changes the tree.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use pyro_protocol::limits::MAX_PATH_BYTES;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, ResolveFlags, Stat, fstat, mkdirat, openat2, statat};
use rustix::io::{Errno, Result};

use crate::{Problem, TreeError};

/// What newly created parents get, before the umask.
const PARENT_MODE: Mode = Mode::from_raw_mode(0o755);

/// How often a look-up that something else disturbed is tried again.
#[cfg(feature = "host")]
const MAX_ATTEMPTS: u32 = 10_000;

const BENEATH: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// Longest name of one file (Linux' own `NAME_MAX`).
const MAX_NAME_BYTES: usize = 255;

/// An absolute path from a request, which may go through links. Fails with [`Problem::Invalid`] for any other.
pub fn absolute(path: &[u8]) -> std::result::Result<PathBuf, TreeError> {
    if path.first() != Some(&b'/') || path.len() >= MAX_PATH_BYTES || path.contains(&0) {
        let problem = Problem::Invalid("the path must be absolute, without NUL, and within the limit");
        return Err(TreeError::from(problem).at(path));
    }
    Ok(PathBuf::from(OsStr::from_bytes(path)))
}

/// A path that can only name something beneath a directory: no root, no `..`. Empty for the directory itself.
///
/// Fails with [`Problem::UnsafePath`] for what may leave, with [`Problem::Invalid`] for what no file can be called.
pub fn relative(path: &[u8]) -> std::result::Result<PathBuf, TreeError> {
    let refused = |problem: Problem| Err(TreeError::from(problem).at(path));
    if path.contains(&0) || path.len() >= MAX_PATH_BYTES {
        return refused(Problem::Invalid("the path contains NUL or is over the limit"));
    }
    let mut normal = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(path)).components() {
        match component {
            Component::Normal(name) if name.len() > MAX_NAME_BYTES => {
                return refused(Problem::Invalid("a name in the path is longer than 255 bytes"));
            }
            Component::Normal(name) => normal.push(name),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => {
                return refused(Problem::UnsafePath("an absolute path leaves the tree"));
            }
            Component::ParentDir => {
                return refused(Problem::UnsafePath("a path with `..` may leave the tree"));
            }
        }
    }
    Ok(normal)
}

/// The directory part and the name of a path from [`relative`]; `None` for the directory itself.
pub fn split(path: &Path) -> Option<(&Path, &OsStr)> {
    Some((path.parent()?, path.file_name()?))
}

/// An open directory.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
}

impl Tree {
    /// Opens an existing directory. Its own path may go through links, but not end in one.
    pub fn open(path: &Path) -> std::result::Result<Self, TreeError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| {
            let bytes = path.as_os_str().as_bytes();
            if path.is_symlink() {
                return TreeError::from(Problem::UnsafePath("the directory is a symbolic link")).at(bytes);
            }
            TreeError::io("open the directory", error).at(bytes)
        })?;
        Ok(Self { root })
    }

    /// The existing directory `path` beneath, as a tree of its own.
    pub fn subtree(&self, path: &Path) -> std::result::Result<Self, TreeError> {
        let root = self.directory(path).map_err(|error| refuse_parent(error, path.as_os_str().as_bytes()))?;
        Ok(Self { root })
    }

    /// The same, made with its parents where it is missing.
    pub fn make_subtree(&self, path: &Path) -> std::result::Result<Self, TreeError> {
        let made = self.make_directory(path);
        let root = made.map_err(|error| refuse_parent(error, path.as_os_str().as_bytes()))?;
        Ok(Self { root })
    }

    /// The directory `path` beneath, as a place to start from only.
    pub fn directory(&self, path: &Path) -> Result<OwnedFd> {
        beneath(&self.root, path, OFlags::PATH | OFlags::DIRECTORY)
    }

    /// The directory `path` beneath, for reading it and changing its attributes.
    pub fn readable_directory(&self, path: &Path) -> Result<OwnedFd> {
        beneath(&self.root, path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// The directory `path` beneath, created together with its parents where they are missing.
    pub fn make_directory(&self, path: &Path) -> Result<OwnedFd> {
        match self.directory(path) {
            Err(Errno::NOENT) => {}
            other => return other,
        }
        let mut directory = self.directory(Path::new(""))?;
        for name in path.components() {
            match mkdirat(&directory, name.as_os_str(), PARENT_MODE) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            directory = beneath(&directory, name.as_ref(), OFlags::PATH | OFlags::DIRECTORY)?;
        }
        Ok(directory)
    }

    /// The regular file or directory `path` beneath, opened with `flags`, to which those against links are added.
    pub fn open_file(&self, path: &Path, flags: OFlags) -> Result<File> {
        beneath(&self.root, path, flags | OFlags::NOFOLLOW).map(File::from)
    }

    /// What lies at `path` beneath; a link itself, not what it points to.
    pub fn stat(&self, path: &Path) -> Result<Stat> {
        match split(path) {
            Some((parent, name)) => statat(self.directory(parent)?, name, AtFlags::SYMLINK_NOFOLLOW),
            None => fstat(&self.root),
        }
    }

    /// Resolves `path` through symbolic links, as long as they do not lead out; fails with `XDEV` when one does.
    #[cfg(feature = "host")]
    pub(crate) fn resolve(&self, path: &Path) -> Result<OwnedFd> {
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let mut attempts = 0;
        loop {
            match openat2(&self.root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), within) {
                // Something was renamed anywhere on the host while the kernel followed a `..`.
                Err(Errno::AGAIN) if attempts < MAX_ATTEMPTS => attempts += 1,
                resolved => return resolved,
            }
        }
    }

    /// The names in the directory `path` beneath, in their order.
    pub fn children(&self, path: &Path) -> Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::new(self.readable_directory(path)?)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

fn beneath(from: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    openat2(from, path, flags | OFlags::CLOEXEC, Mode::empty(), BENEATH)
}

/// The failure of looking up or creating the directory of `path`.
pub fn refuse_parent(error: Errno, path: &[u8]) -> TreeError {
    let failure = match error {
        Errno::LOOP | Errno::XDEV => Problem::UnsafePath("the path goes through a symbolic link").into(),
        Errno::NOTDIR => Problem::AlreadyExists("a part of the path is not a directory").into(),
        other => TreeError::io("reach the directory", other),
    };
    failure.at(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn relative_paths_are_normalised_or_refused() {
        enum Refused {
            Invalid,
            Unsafe,
        }
        use Refused::{Invalid, Unsafe};
        let long = [b'n'; 256];
        let cases: [(&[u8], std::result::Result<&str, Refused>); 11] = [
            (b"a/b", Ok("a/b")),
            (b"./a//b/./c/", Ok("a/b/c")),
            (b".", Ok("")),
            (b"", Ok("")),
            (b"a/..b", Ok("a/..b")),
            (b"/etc/passwd", Err(Unsafe)),
            (b"..", Err(Unsafe)),
            (b"a/../../b", Err(Unsafe)),
            (b"a/../b", Err(Unsafe)),
            (b"a\0b", Err(Invalid)),
            (&long, Err(Invalid)),
        ];
        for (path, expected) in cases {
            let got = relative(path);
            let right = match (&got, expected) {
                (Ok(got), Ok(expected)) => got == Path::new(expected),
                (Err(error), Err(Invalid)) => matches!(error.problem, Problem::Invalid(_)),
                (Err(error), Err(Unsafe)) => matches!(error.problem, Problem::UnsafePath(_)),
                _ => false,
            };
            assert!(right, "{}: {got:?}", String::from_utf8_lossy(path));
        }
    }

    #[test]
    fn links_are_never_followed_and_parents_are_made() {
        let outside = tempfile::tempdir().unwrap();
        let inside = tempfile::tempdir().unwrap();
        symlink(outside.path(), inside.path().join("link")).unwrap();
        symlink("sub", inside.path().join("within")).unwrap();
        fs::create_dir(inside.path().join("sub")).unwrap();
        fs::write(inside.path().join("file"), "").unwrap();
        let tree = Tree::open(inside.path()).unwrap();
        let made = |path: &str| tree.make_directory(Path::new(path)).map(|_| ());
        assert_eq!(made("link"), Err(Errno::LOOP));
        assert_eq!(made("link/new"), Err(Errno::LOOP));
        assert_eq!(made("within/new"), Err(Errno::LOOP));
        assert_eq!(made("file/new"), Err(Errno::NOTDIR));
        assert_eq!(made("sub/a/b/c"), Ok(()));
        assert!(inside.path().join("sub/a/b/c").is_dir());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_tree_is_not_opened_through_a_link_in_the_last_part() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        symlink(directory.path(), &link).unwrap();
        assert!(Tree::open(&link).is_err());
        assert!(Tree::open(&link.join("absent")).is_err());
    }

    proptest! {
        #[test]
        fn no_accepted_path_can_leave(path in "[a-b./\\\\]{0,24}") {
            if let Ok(accepted) = relative(path.as_bytes()) {
                prop_assert!(accepted.components().all(|part| matches!(part, Component::Normal(_))));
                prop_assert_eq!(relative(accepted.as_os_str().as_bytes()).unwrap(), accepted);
            }
        }
    }
}
