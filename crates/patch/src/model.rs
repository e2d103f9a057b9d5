//! What a patch is, once parsed.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::path::PatchPath;

/// A parsed patch: at least one file, none twice, none inside another that stays a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    pub(crate) files: Vec<FilePatch>,
}

impl Patch {
    /// Its files in the order in which they stand in the text.
    pub fn files(&self) -> &[FilePatch] {
        &self.files
    }
}

/// What a patch does to one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePatch {
    pub(crate) path: PatchPath,
    pub(crate) kind: Kind,
    pub(crate) hunks: Vec<Hunk>,
    /// The text of the patch, shared by its files; [`HunkLine`]s are ranges of it.
    pub(crate) source: Arc<str>,
}

impl FilePatch {
    /// The file, relative to the workspace's root.
    pub fn path(&self) -> &PatchPath {
        &self.path
    }

    /// Whether it is added, modified or deleted.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How many hunks there are; none for the addition or deletion of an empty file.
    pub fn hunk_count(&self) -> usize {
        self.hunks.len()
    }

    /// How many lines are added and how many removed.
    pub fn line_counts(&self) -> (usize, usize) {
        let of = |wanted: LineKind| {
            self.hunks.iter().flat_map(|hunk| &hunk.lines).filter(|line| line.kind == wanted).count()
        };
        (of(LineKind::Added), of(LineKind::Removed))
    }

    /// Whether it makes the file when there is none although its headers name both sides: its one hunk starts from
    /// nothing (`@@ -0,0 …`), which git and patch(1) take for an addition too.
    pub fn creates_if_missing(&self) -> bool {
        self.kind == Kind::Modify
            && matches!(self.hunks.as_slice(), [hunk] if hunk.old_start == 0 && hunk.old_count == 0)
    }

    /// The text of `line`, with its terminator if it has one.
    pub(crate) fn text(&self, line: &HunkLine) -> &str {
        self.source.get(line.range.clone()).unwrap_or_default()
    }
}

/// What happens to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It is made; there must be nothing at its path.
    Add {
        /// Mode that it is made with.
        mode: FileMode,
    },
    /// Its content changes, its mode stays.
    Modify,
    /// It is removed; the patch must remove all of its lines.
    Delete,
}

/// Mode of a regular file, as git knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum FileMode {
    /// `100644`
    #[default]
    Regular,
    /// `100755`
    Executable,
}

impl FileMode {
    /// Git's view of a file with these permission bits: executable for its owner, or not.
    pub fn from_bits(bits: u32) -> Self {
        if bits & 0o100 == 0 { Self::Regular } else { Self::Executable }
    }

    /// Permission bits: `0o644` or `0o755`.
    pub fn bits(self) -> u32 {
        match self {
            Self::Regular => 0o644,
            Self::Executable => 0o755,
        }
    }
}

/// As in git's headers: `100644` or `100755`.
impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "100{:o}", self.bits())
    }
}

/// One hunk; its counts are those of its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hunk {
    /// Line of the original that it starts at, from 1; the line before it when `old_count` is 0.
    pub(crate) old_start: usize,
    pub(crate) old_count: usize,
    pub(crate) new_count: usize,
    pub(crate) lines: Vec<HunkLine>,
}

/// One line of a hunk. Its range of the patch's text leaves out the marker, and the newline where
/// `\ No newline at end of file` follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HunkLine {
    pub(crate) kind: LineKind,
    pub(crate) range: Range<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineKind {
    Context,
    Added,
    Removed,
}

impl LineKind {
    /// Whether such a line is in the original.
    pub(crate) fn is_old(self) -> bool {
        self != Self::Added
    }

    /// Whether such a line is in the result.
    pub(crate) fn is_new(self) -> bool {
        self != Self::Removed
    }
}
