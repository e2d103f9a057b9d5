//! What can be wrong with a patch, and with a patch on a given file.

use std::fmt;

use pyro_protocol::error::{Diagnostic, ErrorKind};

use crate::MAX_PATCH_BYTES;
use crate::path::{PatchPath, PathProblem};
use crate::quote::quoted;

/// Most characters of a line that an error shows.
const MAX_SHOWN_CHARS: usize = 200;

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

/// Why a file's patch does not go onto the file. `line` is a line of the file, from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// To be modified or deleted, and not there.
    #[error("{path} does not exist")]
    Missing {
        /// The file.
        path: PatchPath,
    },
    /// To be added, and there.
    #[error("{path} exists already")]
    Exists {
        /// The file.
        path: PatchPath,
    },
    /// A hunk's context and removed lines are nowhere in the file, after the hunk before it.
    #[error("{path}: hunk {hunk} of {hunks} does not apply: line {line} should be {expected}, {}", Found(found.as_deref()))]
    Mismatch {
        /// The file.
        path: PatchPath,
        /// Which hunk, from 1.
        hunk: usize,
        /// How many there are.
        hunks: usize,
        /// Where the first difference is, taking the hunk to be where it says it is.
        line: usize,
        /// What the patch expects there, quoted and bounded.
        expected: String,
        /// What is there, quoted and bounded; nothing when the file ends before.
        found: Option<String>,
        /// What may have gone wrong.
        cause: Cause,
    },
    /// A hunk is not where it says it is, and two places are equally near.
    #[error(
        "{path}: hunk {hunk} of {hunks} does not apply: not at line {line}, and equally near at lines {above} and {below}"
    )]
    Ambiguous {
        /// The file.
        path: PatchPath,
        /// Which hunk, from 1.
        hunk: usize,
        /// How many there are.
        hunks: usize,
        /// Where it says it is.
        line: usize,
        /// The place before.
        above: usize,
        /// The place after.
        below: usize,
    },
    /// A hunk that only adds lines, without context, to a file with content: nothing says that its place is right.
    #[error("{path}: hunk {hunk} of {hunks} does not apply: it has no context, and the file is not empty")]
    NoContext {
        /// The file.
        path: PatchPath,
        /// Which hunk, from 1.
        hunk: usize,
        /// How many there are.
        hunks: usize,
    },
    /// A hunk says that the file ends after it, without a newline, and the file goes on.
    #[error(
        "{path}: hunk {hunk} of {hunks} does not apply: it ends the file without a newline, and line {line} follows"
    )]
    NotAtEnd {
        /// The file.
        path: PatchPath,
        /// Which hunk, from 1.
        hunk: usize,
        /// How many there are.
        hunks: usize,
        /// The line after it.
        line: usize,
    },
    /// To be deleted, and the patch leaves lines over.
    #[error(
        "{path} would be deleted, but has lines that the patch does not remove, the first at line {line}"
    )]
    LeavesContent {
        /// The file.
        path: PatchPath,
        /// The first of them.
        line: usize,
    },
    /// The search for the places of the hunks took more steps than any sound patch needs.
    #[error("{path}: hunk {hunk} of {hunks} does not apply: its place was not found in reasonable time")]
    TooCostly {
        /// The file.
        path: PatchPath,
        /// Which hunk, from 1.
        hunk: usize,
        /// How many there are.
        hunks: usize,
    },
}

/// What a mismatch looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The line is there with another terminator.
    LineEndings,
    /// The line is there, and one of the two ends the file without a newline.
    FinalNewline,
    /// The line is there with other blanks.
    Blanks,
    /// What the hunk makes is there already.
    AlreadyApplied,
    /// The hunk's lines are in the file, before the hunk that precedes it.
    OutOfOrder,
    /// None of these: the file is not what the patch was made for.
    Different,
}

impl Diagnostic for ApplyError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Missing { .. } => ErrorKind::NotFound,
            Self::Exists { .. } => ErrorKind::AlreadyExists,
            Self::TooCostly { .. } => ErrorKind::InvalidInput,
            _ => ErrorKind::WrongState,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Missing { .. } => "Use `--- /dev/null` to add a file, or correct its name.",
            Self::Exists { .. } => "Make the patch against the file as it is, or delete it first.",
            Self::Mismatch { cause, .. } => match cause {
                Cause::LineEndings => "End the lines of the patch as the file ends its own (LF or CRLF).",
                Cause::FinalNewline => {
                    "Put `\\ No newline at end of file` after a last line without newline, and only there."
                }
                Cause::Blanks => "Copy spaces and tabs exactly as they are in the file.",
                Cause::AlreadyApplied => "Leave the hunk out: the file has this change already.",
                Cause::OutOfOrder => "Put the hunks in the order of their lines in the file.",
                Cause::Different => "Read the file again, and make the patch against its present content.",
            },
            Self::Ambiguous { .. } => "Give the right line number, or more lines of context.",
            Self::NoContext { .. } => "Give at least one line of context around the added lines.",
            Self::NotAtEnd { .. } => "Leave `\\ No newline at end of file` out unless the file ends there.",
            Self::LeavesContent { .. } => {
                "Remove every line of the file in the patch, or run rm in the workspace."
            }
            Self::TooCostly { .. } => "Give the right line numbers, and split the patch.",
        };
        Some(hint.to_owned())
    }
}

/// The second half of a mismatch: what is there.
struct Found<'a>(Option<&'a str>);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(text) => write!(f, "found {text}"),
            None => f.write_str("the file ends before it"),
        }
    }
}

/// A file's name as git shows it, bounded.
pub(crate) fn shown_name(name: &[u8]) -> String {
    match name.split_at_checked(MAX_SHOWN_CHARS) {
        Some((head, rest)) if !rest.is_empty() => format!("{}…", quoted("", head)),
        _ if name.is_empty() => "\"\"".to_owned(),
        _ => quoted("", name),
    }
}

/// `text` in quotes on one line, without its newline, escaped where it is not printable, and bounded.
pub(crate) fn shown(text: &str) -> String {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let mut end = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    match end.nth(MAX_SHOWN_CHARS).and_then(|at| text.get(..at)) {
        Some(head) if head.len() < text.len() => format!("{head:?}…"),
        _ => format!("{text:?}"),
    }
}
