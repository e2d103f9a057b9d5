//! Names that cross the boundary: of workspaces, of snapshots, of paths inside.

use super::WorkspaceError;
use crate::PyroError;
use pyro_protocol::WORKSPACE_DIR;
use pyro_protocol::limits::MAX_PATH_BYTES;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Most characters of a name or the value of a label.
pub const MAX_NAME_CHARS: usize = 128;
/// Most characters of the key of a label.
pub const MAX_LABEL_KEY_CHARS: usize = 64;
/// Most labels of one workspace.
pub const MAX_LABELS: usize = 64;
/// Most characters of a snapshot's name.
pub const MAX_SNAPSHOT_NAME_CHARS: usize = 64;

/// Opaque, stable id of a workspace: `ws-` and 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct WorkspaceId(String);

impl WorkspaceId {
    pub(crate) fn random() -> Result<Self, PyroError> {
        Ok(Self(format!("ws-{:016x}", crate::vm::random()?)))
    }

    /// The id of a workspace as a user wrote it; whether there is such a workspace is told by the operation.
    pub fn parse(text: &str) -> Self {
        Self(text.chars().filter(|character| !character.is_control()).take(80).collect())
    }

    /// It has the form of the ids that pyro gives.
    pub(crate) fn is_well_formed(&self) -> bool {
        let digits = self.0.strip_prefix("ws-").unwrap_or_default();
        digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkspaceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Name of a snapshot: letters, digits, `.`, `_` and `-`, beginning with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct SnapshotName(String);

impl SnapshotName {
    /// Name of [`SnapshotName::baseline`].
    pub const BASELINE: &'static str = "baseline";

    /// The snapshot that every workspace has from its creation.
    pub fn baseline() -> Self {
        Self(Self::BASELINE.to_owned())
    }

    /// Fails when the name has other characters, or more than [`MAX_SNAPSHOT_NAME_CHARS`].
    pub fn parse(text: &str) -> Result<Self, WorkspaceError> {
        let allowed = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
        let well_formed = text.len() <= MAX_SNAPSHOT_NAME_CHARS
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.chars().all(allowed);
        if well_formed {
            return Ok(Self(text.to_owned()));
        }
        Err(WorkspaceError::MalformedSnapshotName { given: shortened(text) })
    }

    /// It is the one from the creation.
    pub fn is_baseline(&self) -> bool {
        self.0 == Self::BASELINE
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A path inside `/workspace`: given relative to it or absolute, without `..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspacePath {
    /// Without a slash at either end; empty for `/workspace` itself.
    relative: String,
}

impl WorkspacePath {
    /// `/workspace` itself.
    pub fn root() -> Self {
        Self { relative: String::new() }
    }

    /// Fails when the path is empty, leads out of `/workspace`, holds `..` or NUL, or is too long.
    pub fn parse(text: &str) -> Result<Self, WorkspaceError> {
        let refused = |why| WorkspaceError::RefusedPath { path: shortened(text), why };
        if text.is_empty() {
            return Err(refused("it is empty"));
        }
        if text.len() >= MAX_PATH_BYTES {
            return Err(refused("it is longer than paths can be"));
        }
        if text.contains('\0') {
            return Err(refused("it contains NUL"));
        }
        let mut parts = text.split('/').filter(|part| !part.is_empty() && *part != ".").peekable();
        if text.starts_with('/') && parts.next_if_eq(&WORKSPACE_DIR.trim_start_matches('/')).is_none() {
            return Err(refused("it is outside /workspace"));
        }
        let parts: Vec<&str> = parts.collect();
        if parts.contains(&"..") {
            return Err(refused("it contains `..`"));
        }
        Ok(Self { relative: parts.join("/") })
    }

    /// Relative to `/workspace`; empty for `/workspace` itself.
    pub fn relative(&self) -> &str {
        &self.relative
    }

    /// It is `/workspace` itself.
    pub fn is_root(&self) -> bool {
        self.relative.is_empty()
    }
}

impl fmt::Display for WorkspacePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&absolute(&self.relative))
    }
}

/// A path relative to `/workspace`, as an absolute one.
pub(super) fn absolute(relative: &str) -> String {
    if relative.is_empty() { WORKSPACE_DIR.to_owned() } else { format!("{WORKSPACE_DIR}/{relative}") }
}

/// Checks the name of a workspace.
pub(super) fn check_name(name: &str) -> Result<(), WorkspaceError> {
    if is_one_line(name, MAX_NAME_CHARS) && !name.trim().is_empty() {
        return Ok(());
    }
    Err(WorkspaceError::MalformedName { given: shortened(name) })
}

/// Checks the labels of a workspace.
pub(super) fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), WorkspaceError> {
    if labels.len() > MAX_LABELS {
        return Err(WorkspaceError::TooManyLabels { count: labels.len() });
    }
    for (key, value) in labels {
        let allowed = |character: char| character.is_ascii_alphanumeric() || "._-/".contains(character);
        let key_fits = !key.is_empty() && key.len() <= MAX_LABEL_KEY_CHARS && key.chars().all(allowed);
        if !key_fits || !is_one_line(value, MAX_NAME_CHARS) {
            return Err(WorkspaceError::MalformedLabel { key: shortened(key) });
        }
    }
    Ok(())
}

fn is_one_line(text: &str, most_chars: usize) -> bool {
    text.chars().count() <= most_chars && !text.chars().any(char::is_control)
}

/// A user's text as it is fit to be shown.
pub(super) fn shortened(text: &str) -> String {
    let mut shown: String = text.escape_debug().take(MAX_NAME_CHARS).collect();
    if text.chars().count() > MAX_NAME_CHARS {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_inside_or_refused() {
        let cases = [
            ("a/b", Some("a/b")),
            ("./a//b/", Some("a/b")),
            (".", Some("")),
            ("/workspace", Some("")),
            ("/workspace/", Some("")),
            ("/workspace/a b/ü", Some("a b/ü")),
            ("//workspace/./a", Some("a")),
            ("a..b/..c", Some("a..b/..c")),
            ("", None),
            ("/", None),
            ("/etc/passwd", None),
            ("/workspacex/a", None),
            ("..", None),
            ("a/../b", None),
            ("/workspace/../etc", None),
            ("a\0b", None),
        ];
        for (given, expected) in cases {
            let parsed = WorkspacePath::parse(given).ok();
            assert_eq!(parsed.as_ref().map(WorkspacePath::relative), expected, "{given:?}");
        }
        assert!(WorkspacePath::parse(&"a/".repeat(4000)).is_err());
        assert_eq!(WorkspacePath::parse("a").unwrap().to_string(), "/workspace/a");
        assert_eq!(WorkspacePath::parse(".").unwrap().to_string(), "/workspace");
    }

    #[test]
    fn names_of_snapshots_are_file_names() {
        for good in ["a", "before-fix.2", "1_", "baseline"] {
            assert!(SnapshotName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "-a", "a/b", "a b", "ä", &"a".repeat(65)] {
            assert!(SnapshotName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_and_names_are_one_line() {
        let labels = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        assert!(check_labels(&labels("team/ci", "any text, even ü")).is_ok());
        for (key, value) in [("", "x"), ("a b", "x"), ("a", "x\ny")] {
            assert!(check_labels(&labels(key, value)).is_err(), "{key:?}={value:?}");
        }
        assert!(check_name("my workspace").is_ok());
        for bad in ["", "  ", "a\nb", &"x".repeat(129)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
