//! What can be wrong with a patch on a given file.

use std::fmt;

use pyro_protocol::error::{Diagnostic, ErrorKind};

use crate::path::PatchPath;

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
