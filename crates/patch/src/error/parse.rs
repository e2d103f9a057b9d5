//! What can be wrong with a patch by itself.

use std::fmt;

use pyro_protocol::error::{Diagnostic, ErrorKind};

use crate::MAX_PATCH_BYTES;
use crate::path::{PatchPath, PathProblem};

/// Why a text is not a patch that can be taken. `line` is a line of the patch's text, from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// Larger than [`MAX_PATCH_BYTES`].
    #[error("the patch has {bytes} bytes, more than {MAX_PATCH_BYTES}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not UTF-8, or with NUL bytes.
    #[error("the patch is not UTF-8 text")]
    NotText,
    /// No file header in it.
    #[error("the patch changes nothing: no `---` and `+++` headers in it")]
    Empty,
    /// Well formed, but asks for something that a workspace does not take.
    #[error("line {line}: {file}: {feature} are not supported in a patch")]
    Unsupported {
        /// Where.
        line: usize,
        /// Name of the file as the patch has it.
        file: String,
        /// What it asks for.
        feature: Feature,
    },
    /// A path outside the lexical rules.
    #[error("line {line}: path {path} is refused: {problem}")]
    Path {
        /// Where.
        line: usize,
        /// As the patch has it, bounded.
        path: String,
        /// What is wrong with it.
        problem: PathProblem,
    },
    /// One file has two sections.
    #[error("line {line}: {path} is in the patch twice")]
    Twice {
        /// The second section.
        line: usize,
        /// The file.
        path: PatchPath,
    },
    /// A file and a directory of the same name would both be there.
    #[error("{path} is a file in the patch, and {inside} needs it to be a directory")]
    FileAndDirectory {
        /// The file.
        path: PatchPath,
        /// Another file, below the first.
        inside: PatchPath,
    },
    /// A header that cannot be read, or that its neighbours contradict.
    #[error("line {line}: {problem}")]
    Header {
        /// Where.
        line: usize,
        /// What is wrong with it.
        problem: HeaderProblem,
    },
    /// A file section without hunks that is not the addition or deletion of an empty file.
    #[error("line {line}: {path} has no hunks")]
    NoHunks {
        /// Its header.
        line: usize,
        /// The file.
        path: PatchPath,
    },
    /// A hunk that no file header precedes.
    #[error("line {line}: a hunk without `---` and `+++` headers before it")]
    StrayHunk {
        /// Its header.
        line: usize,
    },
    /// A hunk that cannot be read.
    #[error("line {line}: {path}: hunk {hunk}: {problem}")]
    Hunk {
        /// Where.
        line: usize,
        /// The file.
        path: PatchPath,
        /// Which hunk of the file, from 1.
        hunk: usize,
        /// What is wrong with it.
        problem: HunkProblem,
    },
}

/// What a patch may ask for and a workspace does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Feature {
    /// `rename from`, or two different names.
    Rename,
    /// `copy from`
    Copy,
    /// `old mode` and `new mode`
    ModeChange,
    /// A mode other than `100644` and `100755`.
    OddMode,
    /// `GIT binary patch`, or `Binary files … differ`
    Binary,
    /// Mode `120000`
    Symlink,
    /// Mode `160000`
    Submodule,
    /// `diff --cc`, or `@@@`
    Combined,
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rename => "renames",
            Self::Copy => "copies",
            Self::ModeChange => "mode changes",
            Self::OddMode => "file modes other than 100644 and 100755",
            Self::Binary => "binary changes",
            Self::Symlink => "symbolic links",
            Self::Submodule => "submodules",
            Self::Combined => "combined diffs",
        })
    }
}

/// What is wrong with the headers of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderProblem {
    /// An unreadable name.
    #[error("the file name cannot be read")]
    Name,
    /// `---` alone.
    #[error("`---` without `+++` on the next line")]
    NoNewName,
    /// `/dev/null` twice.
    #[error("both sides are /dev/null")]
    NoFile,
    /// `diff --git`, `new file mode` or `deleted file mode` say one thing, `---` and `+++` another.
    #[error("the headers contradict each other")]
    Contradiction,
}

/// What is wrong with one hunk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HunkProblem {
    /// Not `@@ -LINE,COUNT +LINE,COUNT @@`.
    #[error("unreadable header {text}")]
    Header {
        /// The header, bounded.
        text: String,
    },
    /// The hunk ends before its header's counts are reached.
    #[error(
        "wrong counts: its header says {old} old and {new} new lines, it ends after {found_old} old and {found_new} new"
    )]
    TooShort {
        /// Old lines as stated.
        old: usize,
        /// New lines as stated.
        new: usize,
        /// Old lines there are.
        found_old: usize,
        /// New lines there are.
        found_new: usize,
    },
    /// Lines follow that its header does not count.
    #[error("wrong counts: its header says {old} old and {new} new lines, and more follow")]
    TooLong {
        /// Old lines as stated.
        old: usize,
        /// New lines as stated.
        new: usize,
    },
    /// `\ No newline at end of file` where the file does not end.
    #[error("`\\ No newline at end of file` where lines follow, or without a line before it")]
    Marker,
    /// An added file with lines that it had before.
    #[error("a new file cannot have context or removed lines, or a second hunk")]
    AddHasOldLines,
    /// A deleted file with lines that stay.
    #[error("a deleted file cannot have context or added lines")]
    DeleteHasNewLines,
}

impl Diagnostic for PatchError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            _ => ErrorKind::InvalidInput,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::TooLarge { .. } => "Split it into several patches.",
            Self::NotText => "Give the patch as UTF-8; copy other files in instead of patching them.",
            Self::Empty => {
                "Give a unified diff: `--- a/FILE`, `+++ b/FILE`, `@@ -LINE,COUNT +LINE,COUNT @@`, then the lines."
            }
            Self::Unsupported { feature, .. } => match feature {
                Feature::Rename => "Delete the file under its old name and add it under its new one.",
                Feature::Copy => "Add the copy as a new file.",
                Feature::ModeChange | Feature::OddMode => {
                    "Leave the mode out, and run chmod in the workspace."
                }
                Feature::Binary => "Copy the file in instead of patching it.",
                Feature::Symlink => "Run ln in the workspace.",
                Feature::Submodule => "Patch the submodule's own files.",
                Feature::Combined => "Make the diff against one parent.",
            },
            Self::Path { .. } => "Name files relative to /workspace.",
            Self::Twice { .. } => "Put all hunks of a file into one section.",
            Self::FileAndDirectory { .. } => "Delete the file in the same patch, or choose another name.",
            Self::Header { .. } => {
                "Write `--- a/FILE` and `+++ b/FILE`, with /dev/null for the side that is missing."
            }
            Self::NoHunks { .. } => "Give at least one hunk for the file, or leave it out.",
            Self::StrayHunk { .. } => "Put `--- a/FILE` and `+++ b/FILE` before the first hunk of each file.",
            Self::Hunk { problem, .. } => match problem {
                HunkProblem::Header { .. } => "Write `@@ -LINE,COUNT +LINE,COUNT @@` with numbers.",
                HunkProblem::TooShort { .. } | HunkProblem::TooLong { .. } => {
                    "Count context and removed lines for the first number, context and added lines for the second."
                }
                HunkProblem::Marker => "Put the marker only after the last line of the file.",
                HunkProblem::AddHasOldLines => "Start every line of a new file with `+`, in one hunk.",
                HunkProblem::DeleteHasNewLines => "Start every line of a deleted file with `-`.",
            },
        };
        Some(hint.to_owned())
    }
}
