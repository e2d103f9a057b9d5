//! Why a file system could not be read or written.

use pyro_protocol::error::{Diagnostic, ErrorKind};
use std::io;

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// What the file system says about itself contradicts itself, or its checksums.
    #[error("the file system is damaged: {what}")]
    Damaged {
        /// What is wrong.
        what: &'static str,
    },
    /// The file system is of a kind that is not read.
    #[error("the file system has {what}, which is not read without a guest")]
    Unsupported {
        /// What it has.
        what: &'static str,
    },
    /// The image of an environment or of a seed cannot be read.
    #[error("an image cannot be read: {what}")]
    Image {
        /// What its reader said.
        what: String,
    },
    /// The host could not read or write a file.
    #[error("the disk cannot be {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// There is more of something than is taken.
    #[error("there are more than {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are taken.
        max: u64,
    },
    /// The time for it has passed.
    #[error("the file system was not read in time")]
    TooSlow,
    /// Nobody waits for it any more.
    #[error("cancelled")]
    Cancelled,
    /// There is nothing of this name.
    #[error("there is no such file or directory")]
    NotFound,
    /// Something that is no directory is in the middle of a path.
    #[error("a part of the path is not a directory")]
    NotADirectory,
    /// Symbolic links lead to each other.
    #[error("there are too many symbolic links on the way")]
    TooManyLinks,
}

impl DiskError {
    pub(crate) fn read(source: io::Error) -> Self {
        Self::Io { action: "read", source }
    }

    pub(crate) fn written(source: io::Error) -> Self {
        Self::Io { action: "written", source }
    }
}

/// The file system is damaged.
pub(crate) fn damaged<T>(what: &'static str) -> Result<T, DiskError> {
    Err(DiskError::Damaged { what })
}

impl Diagnostic for DiskError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Damaged { .. } | Self::Image { .. } => ErrorKind::Integrity,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => ErrorKind::Exhausted,
            Self::Io { .. } => ErrorKind::Host,
            Self::TooMany { .. } => ErrorKind::Exhausted,
            Self::TooSlow => ErrorKind::TimedOut,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::NotFound => ErrorKind::NotFound,
            Self::NotADirectory | Self::TooManyLinks => ErrorKind::InvalidInput,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Damaged { .. } | Self::Unsupported { .. } | Self::TooSlow => Some(
                "look at it from inside, after a start; `pyro workspace reset` goes back to a whole disk"
                    .to_owned(),
            ),
            Self::TooMany { .. } => Some("ask for less of it at a time".to_owned()),
            Self::NotFound | Self::NotADirectory | Self::TooManyLinks => {
                Some("look at what there is with `pyro workspace disk list`".to_owned())
            }
            _ => None,
        }
    }
}
