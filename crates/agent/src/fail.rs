//! Why a call ended without its result, on its way to becoming a `Failure`.

use std::io;

use bytes::Bytes;
use pyro_protocol::limits::{MAX_MESSAGE_BYTES, MAX_PATH_BYTES};
use pyro_protocol::v1::{Failure, FailureKind, reply};
use pyro_tree::{Problem, TreeError};
use rustix::io::Errno;

/// A failure of one call: its kind, its whole cause for a person, and the path it is about.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Fail {
    pub kind: FailureKind,
    message: String,
    path: Vec<u8>,
}

impl Fail {
    /// A failure of `kind`, explained by `message`.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), path: Vec::new() }
    }

    /// The request is malformed or out of range.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Invalid, message)
    }

    /// The call is not legal in the agent's present state.
    pub fn wrong_state(message: impl Into<String>) -> Self {
        Self::new(FailureKind::WrongState, message)
    }

    /// The host's side of the stream is gone; nobody reads this.
    pub fn host_gone() -> Self {
        Self::new(FailureKind::Io, "the host closed the stream")
    }

    /// The operating system refused to do what `doing` says ("open the file").
    pub fn os(doing: &str, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        Self::new(kind_of(&error), format!("cannot {doing}: {error}"))
    }

    /// The same failure, about `path`.
    pub fn at(mut self, path: impl Into<Vec<u8>>) -> Self {
        self.path = path.into();
        self
    }

    /// The same failure with what `rewrite` makes of its message and its path.
    pub fn map_words(mut self, rewrite: impl Fn(&[u8]) -> Vec<u8>) -> Self {
        self.message = String::from_utf8_lossy(&rewrite(self.message.as_bytes())).into_owned();
        self.path = rewrite(&self.path);
        self
    }

    /// The reply that ends the call.
    pub fn into_reply(mut self) -> reply::Reply {
        self.message.truncate(self.message.floor_char_boundary(MAX_MESSAGE_BYTES));
        self.path.truncate(MAX_PATH_BYTES);
        reply::Reply::Failure(Failure {
            kind: self.kind.into(),
            message: self.message,
            path: Bytes::from(self.path),
        })
    }
}

impl From<TreeError> for Fail {
    fn from(TreeError { problem, path }: TreeError) -> Self {
        let kind = match problem {
            Problem::Gone => return Self::host_gone(),
            Problem::Io { action, source } => return Self::os(action, source).at(path),
            Problem::Malformed(source) => {
                return Self::invalid(format!("the archive is malformed: {source}")).at(path);
            }
            Problem::Invalid(_) | Problem::NoSource(_) => FailureKind::Invalid,
            Problem::UnsafePath(_) | Problem::EscapingLink { .. } => FailureKind::UnsafePath,
            Problem::AlreadyExists(_) => FailureKind::AlreadyExists,
            Problem::Exhausted(_) => FailureKind::Exhausted,
        };
        Self::new(kind, problem.to_string()).at(path)
    }
}

fn kind_of(error: &io::Error) -> FailureKind {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT) => FailureKind::NotFound,
        Some(Errno::EXIST) => FailureKind::AlreadyExists,
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => FailureKind::PermissionDenied,
        Some(
            Errno::NOSPC
            | Errno::DQUOT
            | Errno::FBIG
            | Errno::NOMEM
            | Errno::AGAIN
            | Errno::MFILE
            | Errno::NFILE
            | Errno::MLINK,
        ) => FailureKind::Exhausted,
        Some(Errno::LOOP | Errno::XDEV) => FailureKind::UnsafePath,
        Some(Errno::NAMETOOLONG | Errno::ISDIR | Errno::NOTDIR | Errno::INVAL) => FailureKind::Invalid,
        _ => FailureKind::Io,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_system_keep_their_kind() {
        let cases = [
            (Errno::NOENT, FailureKind::NotFound),
            (Errno::NOSPC, FailureKind::Exhausted),
            (Errno::AGAIN, FailureKind::Exhausted),
            (Errno::LOOP, FailureKind::UnsafePath),
            (Errno::ROFS, FailureKind::PermissionDenied),
            (Errno::IO, FailureKind::Io),
        ];
        for (errno, kind) in cases {
            assert_eq!(Fail::os("try", errno).kind, kind, "{errno}");
        }
    }

    #[test]
    fn a_reply_is_cut_to_the_limits_at_a_character() {
        let fail = Fail::invalid("ü".repeat(MAX_MESSAGE_BYTES)).at(vec![b'p'; 2 * MAX_PATH_BYTES]);
        let reply::Reply::Failure(failure) = fail.into_reply() else {
            panic!("a failure becomes a failure");
        };
        assert_eq!(failure.message.len(), MAX_MESSAGE_BYTES);
        assert_eq!(failure.path.len(), MAX_PATH_BYTES);
    }
}
