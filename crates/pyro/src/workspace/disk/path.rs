//! Paths in the root of a workspace.

use super::WorkspaceDiskError;
use crate::workspace::names::shortened;
use pyro_protocol::WORKSPACE_DIR;
use std::fmt;

const MAX_PATH_BYTES: usize = 4096;

/// A path in the whole root of a workspace: absolute, or relative to `/workspace`, without `..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskPath {
    /// Absolute, without a slash at its end unless it is nothing else.
    absolute: String,
}

impl DiskPath {
    /// The root itself.
    pub fn root() -> Self {
        Self { absolute: "/".to_owned() }
    }

    /// Fails when the path is empty, holds `..` or NUL, or is too long.
    pub fn parse(text: &str) -> Result<Self, WorkspaceDiskError> {
        let refused = |why| WorkspaceDiskError::RefusedPath { path: shortened(text), why };
        if text.is_empty() {
            return Err(refused("it is empty"));
        }
        if text.len() + WORKSPACE_DIR.len() >= MAX_PATH_BYTES {
            return Err(refused("it is longer than paths can be"));
        }
        if text.contains('\0') {
            return Err(refused("it contains NUL"));
        }
        let whole = if text.starts_with('/') { text.to_owned() } else { format!("{WORKSPACE_DIR}/{text}") };
        let parts: Vec<&str> = whole.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if parts.contains(&"..") {
            return Err(refused("it contains `..`"));
        }
        Ok(Self { absolute: format!("/{}", parts.join("/")) })
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.absolute
    }
}

impl fmt::Display for DiskPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.absolute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_of_the_root_or_refused() {
        let cases = [
            ("/", Some("/")),
            ("//etc/./hosts/", Some("/etc/hosts")),
            ("a/b", Some("/workspace/a/b")),
            (".", Some("/workspace")),
            ("/a..b", Some("/a..b")),
            ("", None),
            ("..", None),
            ("/etc/../etc", None),
            ("a\0", None),
        ];
        for (given, expected) in cases {
            assert_eq!(DiskPath::parse(given).ok().as_ref().map(DiskPath::as_str), expected, "{given:?}");
        }
        assert!(DiskPath::parse(&"a/".repeat(4000)).is_err());
    }
}
