//! Why a tree could not be reached, packed or unpacked.

use std::error::Error;
use std::fmt;
use std::io;

use pyro_protocol::error::{Diagnostic, ErrorKind, kind_of_io};
use rustix::io::Errno;

/// A failure, and the path or the archive's entry that it is about.
#[derive(Debug)]
pub struct TreeError {
    /// What went wrong.
    pub problem: Problem,
    /// The path or entry; empty where there is none.
    pub path: Vec<u8>,
}

/// What can go wrong with a tree or an archive.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The caller asked for something malformed.
    #[error("{0}")]
    Invalid(&'static str),
    /// What a person brought is neither a directory nor an archive of a known kind.
    #[error("{0}")]
    NoSource(&'static str),
    /// A path, or an entry of an archive, that is not followed or not created.
    #[error("{0}")]
    UnsafePath(&'static str),
    /// A symbolic link whose target lies outside of what is exported.
    #[error("the symbolic link leads out of what is exported, to {}", quoted(target))]
    EscapingLink {
        /// Where it leads.
        target: Vec<u8>,
    },
    /// Something is where something else should go.
    #[error("{0}")]
    AlreadyExists(&'static str),
    /// More than a limit allows.
    #[error("{0}")]
    Exhausted(&'static str),
    /// What was read is no sound archive.
    #[error("the archive is malformed")]
    Malformed(#[source] io::Error),
    /// The reader or the writer of the archive was aborted by its other end, which knows why.
    #[error("the other end of the archive's stream is gone")]
    Gone,
    /// The operating system refused.
    #[error("cannot {action}")]
    Io {
        /// What was tried, as "open the file".
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl TreeError {
    /// A failure to do what `action` says ("open the file").
    pub fn io(action: &'static str, source: impl Into<io::Error>) -> Self {
        Problem::Io { action, source: source.into() }.into()
    }

    /// The same failure, about `path`.
    #[must_use]
    pub fn at(mut self, path: impl Into<Vec<u8>>) -> Self {
        self.path = path.into();
        self
    }

    /// The failure of reading an archive: its other end is gone, its medium failed, or it is malformed.
    pub(crate) fn reading(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionAborted => Problem::Gone.into(),
            _ if error.raw_os_error().is_some() => Self::io("read the archive", error),
            _ => Problem::Malformed(error).into(),
        }
    }

    /// The failure of writing an archive.
    pub(crate) fn writing(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => Problem::Gone.into(),
            _ => Self::io("write the archive", error),
        }
    }
}

impl From<Problem> for TreeError {
    fn from(problem: Problem) -> Self {
        Self { problem, path: Vec::new() }
    }
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", quoted(&self.path))?;
        }
        self.problem.fmt(f)
    }
}

impl Error for TreeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.problem.source()
    }
}

impl Diagnostic for TreeError {
    fn kind(&self) -> ErrorKind {
        match &self.problem {
            Problem::Invalid(_)
            | Problem::NoSource(_)
            | Problem::UnsafePath(_)
            | Problem::EscapingLink { .. }
            | Problem::Malformed(_) => ErrorKind::InvalidInput,
            Problem::AlreadyExists(_) => ErrorKind::AlreadyExists,
            Problem::Exhausted(_) => ErrorKind::Exhausted,
            Problem::Gone => ErrorKind::GuestUnavailable,
            Problem::Io { source, .. } => match Errno::from_io_error(source) {
                Some(Errno::LOOP | Errno::XDEV | Errno::NAMETOOLONG | Errno::NOTDIR) => {
                    ErrorKind::InvalidInput
                }
                _ => kind_of_io(source),
            },
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match &self.problem {
            Problem::EscapingLink { .. } => {
                "remove the link in the workspace, or export a directory without it"
            }
            Problem::NoSource(_) => {
                "give a directory, or an archive whose name ends in .tar, .tar.gz or .tgz"
            }
            Problem::Malformed(_) => "check the archive with `tar -tvf`, and make it again if that fails too",
            Problem::Exhausted(_) => "leave out what is not needed, or split it",
            Problem::UnsafePath(_) => "leave it out of what is transferred",
            Problem::AlreadyExists(_) => "remove it or choose another place",
            Problem::Io { source, .. } => match kind_of_io(source) {
                ErrorKind::PermissionDenied => {
                    "make it accessible to the user who runs pyro, or leave it out"
                }
                ErrorKind::Exhausted => "free some space",
                ErrorKind::NotFound => "name what is there",
                _ if Errno::from_io_error(source) == Some(Errno::NOTDIR) => {
                    "a file is where a directory should be: choose another place"
                }
                _ => return None,
            },
            Problem::Invalid(_) | Problem::Gone => return None,
        };
        Some(hint.to_owned())
    }
}

/// A path for a person: whatever is in it, it stays on one line.
fn quoted(path: &[u8]) -> String {
    format!("`{}`", String::from_utf8_lossy(path).escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyro_protocol::error::chain;

    #[test]
    fn the_text_names_the_path_once_and_never_its_source() {
        let error = TreeError::io("open the file", Errno::ACCESS).at(&b"a\nb"[..]);
        assert_eq!(error.to_string(), r"`a\nb`: cannot open the file");
        assert_eq!(chain(&error), r"`a\nb`: cannot open the file: Permission denied (os error 13)");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.hint().is_some());
    }
}
