//! What a guest says of its files, checked before anybody uses it.

use pyro_protocol::limits::MAX_PATH_BYTES;
use pyro_protocol::v1;
use std::cmp::Ordering;

const PERMISSIONS: u32 = 0o7777;

/// What lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, pipe or socket.
    Other,
}

impl FileKind {
    pub(super) fn checked(kind: v1::FileKind) -> Result<Self, &'static str> {
        match kind {
            v1::FileKind::File => Ok(Self::File),
            v1::FileKind::Directory => Ok(Self::Directory),
            v1::FileKind::Symlink => Ok(Self::Symlink),
            v1::FileKind::Other => Ok(Self::Other),
            v1::FileKind::Unspecified => Err("it told of a file of an unknown kind"),
        }
    }
}

/// A path that names something beneath a directory, in normal form: no root, no `.`, no `..`, no doubled slash.
pub(super) fn path(path: &[u8]) -> Result<Vec<u8>, &'static str> {
    let normal = |name: &[u8]| !name.is_empty() && name != b"." && name != b"..";
    if path.len() < MAX_PATH_BYTES && !path.contains(&0) && path.split(|byte| *byte == b'/').all(normal) {
        return Ok(path.to_vec());
    }
    Err("it sent a path that is not beneath the directory asked for, or not in normal form")
}

/// Permission bits.
pub(super) fn mode(mode: u32) -> Result<u32, &'static str> {
    if mode & !PERMISSIONS == 0 { Ok(mode) } else { Err("it sent a mode that has more than permission bits") }
}

/// What a symbolic link says, which anything may; nothing for whatever is no link.
pub(super) fn link_target(kind: FileKind, target: &[u8]) -> Result<Vec<u8>, &'static str> {
    let fits = match kind {
        FileKind::Symlink => !target.is_empty() && target.len() <= MAX_PATH_BYTES && !target.contains(&0),
        _ => target.is_empty(),
    };
    if fits { Ok(target.to_vec()) } else { Err("it sent a link target that no link can have") }
}

/// The order in which a tree is told: a directory before what is in it, names by their bytes.
pub(super) fn order(one: &[u8], other: &[u8]) -> Ordering {
    one.split(|byte| *byte == b'/').cmp(other.split(|byte| *byte == b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_normal_paths_beneath_pass() {
        for good in [&b"a"[..], b"a/b", b"a/..b", b"...", b"new\nline", b"\xff/\xfe", b"C:\\x"] {
            assert_eq!(path(good), Ok(good.to_vec()));
        }
        let long = vec![b'a'; MAX_PATH_BYTES];
        let bad: [&[u8]; 12] =
            [b"", b"/", b"/a", b"a/", b"a//b", b".", b"./a", b"..", b"../x", b"a/../b", b"a\0b", &long];
        for bad in bad {
            assert!(path(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn a_directory_comes_before_what_is_in_it() {
        let ordered: [&[u8]; 5] = [b"a", b"a/b", b"a/b/c", b"a-b", b"b"];
        assert!(ordered.is_sorted_by(|one, other| order(one, other) == Ordering::Less));
    }

    #[test]
    fn modes_and_targets_are_bounded() {
        assert_eq!(mode(0o7777), Ok(0o7777));
        assert!(mode(0o10_0644).is_err());
        assert!(link_target(FileKind::Symlink, b"../anywhere").is_ok());
        assert!(link_target(FileKind::Symlink, b"").is_err());
        assert!(link_target(FileKind::Symlink, b"a\0").is_err());
        assert!(link_target(FileKind::File, b"a").is_err());
    }
}
