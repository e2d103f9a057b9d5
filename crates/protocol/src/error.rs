//! The one error model: every error of every crate says what kind it is, why, and what to do about it.
//!
//! Errors are `thiserror` enums whose text never repeats their source; the chain is printed once, by the face that
//! reports it. [`ErrorKind`] is the table that maps failures to exit statuses and to codes in JSON and MCP.

use std::error::Error;

/// What went wrong, at the granularity a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The caller asked for something malformed or out of range.
    InvalidInput,
    /// What was named does not exist.
    NotFound,
    /// What was to be created exists already.
    AlreadyExists,
    /// Not legal in the present state of the machine or workspace.
    WrongState,
    /// This build or this host cannot do it.
    Unsupported,
    /// The host's permissions forbid it.
    PermissionDenied,
    /// A mirror or registry could not be reached, or failed midway.
    Unreachable,
    /// A signature or checksum is wrong, or something on disk is not what it was.
    Integrity,
    /// Disk full, memory, processes or another resource used up.
    Exhausted,
    /// The guest did not come up, or went away.
    GuestUnavailable,
    /// The guest broke the protocol.
    GuestMisbehaved,
    /// A deadline passed.
    TimedOut,
    /// The caller cancelled it.
    Cancelled,
    /// The host's operating system failed in a way with no kind of its own.
    Host,
}

impl ErrorKind {
    const ALL: [Self; 14] = [
        Self::InvalidInput,
        Self::NotFound,
        Self::AlreadyExists,
        Self::WrongState,
        Self::Unsupported,
        Self::PermissionDenied,
        Self::Unreachable,
        Self::Integrity,
        Self::Exhausted,
        Self::GuestUnavailable,
        Self::GuestMisbehaved,
        Self::TimedOut,
        Self::Cancelled,
        Self::Host,
    ];

    /// Stable lower-case code, for `--json` and MCP.
    pub fn code(self) -> &'static str {
        match self {
            Self::InvalidInput => "invalid_input",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::WrongState => "wrong_state",
            Self::Unsupported => "unsupported",
            Self::PermissionDenied => "permission_denied",
            Self::Unreachable => "unreachable",
            Self::Integrity => "integrity",
            Self::Exhausted => "exhausted",
            Self::GuestUnavailable => "guest_unavailable",
            Self::GuestMisbehaved => "guest_misbehaved",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Host => "host",
        }
    }

    /// The kind that a code stands for.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// Exit status of a command that failed this way and is not one that relays a guest's status.
    pub fn exit_status(self) -> u8 {
        match self {
            Self::InvalidInput => 2,
            _ => 1,
        }
    }
}

/// An error that can be reported: kind, cause (its `Display` and sources) and a way out.
pub trait Diagnostic: Error + Send + Sync + 'static {
    /// What kind of failure this is.
    fn kind(&self) -> ErrorKind;

    /// What the user can do about it, as one imperative sentence.
    fn hint(&self) -> Option<String>;
}

/// The text of `error` and of each of its sources, outermost first, joined by ": ".
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// The kind of an operating-system error on a file of the host's.
pub fn kind_of_io(error: &std::io::Error) -> ErrorKind {
    use std::io::ErrorKind as Io;
    match error.kind() {
        Io::NotFound => ErrorKind::NotFound,
        Io::AlreadyExists => ErrorKind::AlreadyExists,
        Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::PermissionDenied,
        Io::StorageFull | Io::QuotaExceeded | Io::OutOfMemory | Io::FileTooLarge => ErrorKind::Exhausted,
        Io::TimedOut => ErrorKind::TimedOut,
        _ => ErrorKind::Host,
    }
}
