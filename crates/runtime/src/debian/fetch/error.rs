//! Why a download failed.

use std::io;

use pyro_protocol::error::{Diagnostic, ErrorKind};

use crate::digest::Sha256Digest;
use crate::env_vars::EnvVars;
use crate::fs::FsError;

/// A download failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// A file of the host's.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// No answer.
    #[error("cannot reach {url}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why there was no answer.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The answer broke off.
    #[error("{url} broke off after {received} of {size} bytes")]
    Interrupted {
        /// What was asked for.
        url: String,
        /// Bytes of it that arrived, and are kept for the next attempt.
        received: u64,
        /// Bytes it should have.
        size: u64,
        /// What ended it.
        #[source]
        source: io::Error,
    },
    /// The server refused.
    #[error("{url} was answered with status {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The server sends more than the signed index announced.
    #[error("{url} is larger than the {size} bytes announced")]
    Oversize {
        /// What was asked for.
        url: String,
        /// Bytes it should have.
        size: u64,
    },
    /// The file is not the one the signed index names.
    #[error("{file} has the wrong checksum: {actual} instead of {expected} ({url})")]
    Mismatch {
        /// What was asked for.
        url: String,
        /// The name of the file.
        file: String,
        /// The digest that the index has.
        expected: Sha256Digest,
        /// The digest of what arrived.
        actual: Sha256Digest,
        /// Whether part of it came from an earlier attempt, and may be to blame.
        resumed: bool,
    },
}

impl FetchError {
    /// Whether another attempt may help.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => {
                !matches!(**source, ureq::Error::BadUri(_) | ureq::Error::Http(_))
            }
            Self::Interrupted { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500..),
            Self::Mismatch { resumed, .. } => *resumed,
            Self::Fs(_) | Self::Oversize { .. } => false,
        }
    }
}

impl Diagnostic for FetchError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Fs(error) => error.kind(),
            Self::Unreachable { .. } | Self::Interrupted { .. } | Self::Status { .. } => {
                ErrorKind::Unreachable
            }
            Self::Oversize { .. } | Self::Mismatch { .. } => ErrorKind::Integrity,
        }
    }

    fn hint(&self) -> Option<String> {
        let mirror = EnvVars::PYRO_DEBIAN_MIRROR;
        Some(match self {
            Self::Fs(error) => return error.hint(),
            Self::Unreachable { .. } => {
                format!("Check the network and http_proxy, or set {mirror} to a mirror you can reach.")
            }
            Self::Interrupted { .. } => {
                format!(
                    "Run the command again: it continues where it stopped. Or set {mirror} to another mirror."
                )
            }
            Self::Status { .. } => {
                format!(
                    "The mirror may be incomplete or in the middle of an update: try later, or set {mirror}."
                )
            }
            Self::Oversize { .. } | Self::Mismatch { .. } => format!(
                "Something between you and the Debian archive changed the file: set {mirror} to another mirror."
            ),
        })
    }
}
