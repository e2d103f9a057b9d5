//! Paths in patches: lexical rules only. What the guest's tree makes of a path (links, types) is not known here.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use pyro_protocol::WORKSPACE_DIR;
use pyro_protocol::limits::MAX_PATH_BYTES;

use crate::quote::quoted;

/// Path of a file relative to the workspace's root: never empty, no `.`, `..` or empty component, no NUL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PatchPath(Vec<u8>);

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathProblem {
    /// Nothing is left of it.
    #[error("it is empty")]
    Empty,
    /// It begins with `/` and not with `/workspace/`.
    #[error("it is absolute and not below /workspace")]
    Absolute,
    /// It has a `..` component.
    #[error("it contains `..`")]
    ParentDir,
    /// It contains a NUL byte.
    #[error("it contains a NUL byte")]
    Nul,
    /// It is longer than the limit of paths.
    #[error("it is longer than {MAX_PATH_BYTES} bytes")]
    TooLong,
    /// It ends in `/`.
    #[error("it names a directory")]
    Directory,
}

impl PatchPath {
    /// The path in `bytes`: relative, or absolute below `/workspace`; `.` and empty components fall away.
    pub fn new(bytes: &[u8]) -> Result<Self, PathProblem> {
        if bytes.len() > MAX_PATH_BYTES {
            return Err(PathProblem::TooLong);
        }
        if bytes.contains(&0) {
            return Err(PathProblem::Nul);
        }
        let relative = if bytes.starts_with(b"/") {
            let below = bytes.strip_prefix(WORKSPACE_DIR.as_bytes()).ok_or(PathProblem::Absolute)?;
            if !below.is_empty() && !below.starts_with(b"/") {
                return Err(PathProblem::Absolute);
            }
            below
        } else {
            bytes
        };
        let mut path = Vec::with_capacity(relative.len());
        for component in relative.split(|&byte| byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => return Err(PathProblem::ParentDir),
                name => {
                    if !path.is_empty() {
                        path.push(b'/');
                    }
                    path.extend_from_slice(name);
                }
            }
        }
        if path.is_empty() {
            return Err(PathProblem::Empty);
        }
        if relative.ends_with(b"/") || relative.ends_with(b"/.") {
            return Err(PathProblem::Directory);
        }
        Ok(Self(path))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// It as a path relative to the workspace's root.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// Its components, outermost first.
    pub(crate) fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/')
    }

    /// Whether `other` lies below this path.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        other.0.strip_prefix(self.0.as_slice()).is_some_and(|rest| rest.starts_with(b"/"))
    }
}

/// As git shows it: C-quoted when it is odd.
impl fmt::Display for PatchPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quoted("", &self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Case<'a> = (&'a [u8], Result<&'a [u8], PathProblem>);

    #[test]
    fn paths_are_relative_to_the_workspace() {
        let long = vec![b'x'; MAX_PATH_BYTES];
        let too_long = vec![b'x'; MAX_PATH_BYTES + 1];
        let cases: &[Case<'_>] = &[
            (b"src/main.rs", Ok(b"src/main.rs")),
            (b"./src//./main.rs", Ok(b"src/main.rs")),
            (b"/workspace/src/main.rs", Ok(b"src/main.rs")),
            (b"/workspace//x", Ok(b"x")),
            (b"workspace/x", Ok(b"workspace/x")),
            (b"..x/.y", Ok(b"..x/.y")),
            (b"\xff", Ok(b"\xff")),
            (&long, Ok(&long)),
            (&too_long, Err(PathProblem::TooLong)),
            (b"", Err(PathProblem::Empty)),
            (b".", Err(PathProblem::Empty)),
            (b"/workspace", Err(PathProblem::Empty)),
            (b"/workspace/", Err(PathProblem::Empty)),
            (b"/workspaces/x", Err(PathProblem::Absolute)),
            (b"/etc/passwd", Err(PathProblem::Absolute)),
            (b"//workspace/x", Err(PathProblem::Absolute)),
            (b"../x", Err(PathProblem::ParentDir)),
            (b"a/../x", Err(PathProblem::ParentDir)),
            (b"/workspace/../etc/passwd", Err(PathProblem::ParentDir)),
            (b"a\0b", Err(PathProblem::Nul)),
            (b"src/", Err(PathProblem::Directory)),
            (b"src/.", Err(PathProblem::Directory)),
        ];
        for (given, wanted) in cases {
            let got = PatchPath::new(given);
            assert_eq!(got.as_ref().map(PatchPath::as_bytes), wanted.as_ref().map(|path| *path), "{given:?}");
        }
    }

    #[test]
    fn a_path_contains_what_lies_below_it() {
        let path = |text: &str| PatchPath::new(text.as_bytes()).unwrap();
        assert!(path("a").contains(&path("a/b")));
        assert!(!path("a").contains(&path("a")));
        assert!(!path("a").contains(&path("ab")));
    }
}
