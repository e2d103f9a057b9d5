//! A directory and what lies beneath it, reached without ever following a symbolic link or leaving it.
//!
//! The kernel enforces this on every lookup (`openat2`), so it holds even while something else changes the tree.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use pyro_protocol::limits::MAX_PATH_BYTES;
use pyro_protocol::v1::FailureKind;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::io::{Errno, Result};

use crate::fail::Fail;

/// What newly created parents get, before the umask.
const PARENT_MODE: Mode = Mode::from_raw_mode(0o755);

const BENEATH: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// An absolute path from a request, which may go through links.
pub fn absolute(path: &[u8]) -> std::result::Result<PathBuf, Fail> {
    if path.first() != Some(&b'/') || path.len() >= MAX_PATH_BYTES || path.contains(&0) {
        return Err(Fail::invalid("the path must be absolute, without NUL, and within the limit").at(path));
    }
    Ok(PathBuf::from(OsStr::from_bytes(path)))
}

/// A path that can only name something beneath a directory: no root, no `..`. Empty for the directory itself.
pub fn relative(path: &[u8]) -> std::result::Result<PathBuf, Fail> {
    if path.contains(&0) || path.len() >= MAX_PATH_BYTES {
        return Err(Fail::invalid("the path contains NUL or is over the limit").at(path));
    }
    let mut normal = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(path)).components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => {
                return Err(Fail::unsafe_path("an absolute path leaves the tree", path));
            }
            Component::ParentDir => {
                return Err(Fail::unsafe_path("a path with `..` may leave the tree", path));
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
    pub fn open(path: &Path) -> std::result::Result<Self, Fail> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| {
            let bytes = path.as_os_str().as_bytes();
            if path.is_symlink() {
                return Fail::unsafe_path("the directory is a symbolic link", bytes);
            }
            Fail::os("open the directory", error).at(bytes)
        })?;
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
}

fn beneath(from: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    openat2(from, path, flags | OFlags::CLOEXEC, Mode::empty(), BENEATH)
}

/// The failure of looking up or creating the directory of `path`.
pub fn refuse_parent(error: Errno, path: &[u8]) -> Fail {
    match error {
        Errno::LOOP | Errno::XDEV => Fail::unsafe_path("the path goes through a symbolic link", path),
        Errno::NOTDIR => {
            Fail::new(FailureKind::AlreadyExists, "a part of the path is not a directory").at(path)
        }
        other => Fail::os("reach the directory", other).at(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn relative_paths_are_normalised_or_refused() {
        let cases: [(&[u8], std::result::Result<&str, FailureKind>); 10] = [
            (b"a/b", Ok("a/b")),
            (b"./a//b/./c/", Ok("a/b/c")),
            (b".", Ok("")),
            (b"", Ok("")),
            (b"a/..b", Ok("a/..b")),
            (b"/etc/passwd", Err(FailureKind::UnsafePath)),
            (b"..", Err(FailureKind::UnsafePath)),
            (b"a/../../b", Err(FailureKind::UnsafePath)),
            (b"a/../b", Err(FailureKind::UnsafePath)),
            (b"a\0b", Err(FailureKind::Invalid)),
        ];
        for (path, expected) in cases {
            let got = relative(path).map_err(|fail| fail.kind);
            assert_eq!(got, expected.map(PathBuf::from), "{}", String::from_utf8_lossy(path));
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
