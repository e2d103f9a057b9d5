//! Why values cannot be kept out of streams.

use pyro_protocol::error::{Diagnostic, ErrorKind};

use crate::{MAX_SECRETS, MAX_VALUE_BYTES, MIN_VALUE_BYTES};

/// Why [`Secrets`](crate::Secrets) cannot be made of these values. None of the texts shows a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretsError {
    /// More than [`MAX_SECRETS`].
    #[error("there are more than {MAX_SECRETS} secrets")]
    TooMany,
    /// Shorter than [`MIN_VALUE_BYTES`].
    #[error(
        "the value of secret {name} has {len} bytes; fewer than {MIN_VALUE_BYTES} cannot be kept out of output"
    )]
    TooShort {
        /// The secret.
        name: String,
        /// Length of its value in bytes, without a line end at its end.
        len: usize,
    },
    /// Longer than [`MAX_VALUE_BYTES`].
    #[error("the value of secret {name} has {len} bytes; the limit is {MAX_VALUE_BYTES}")]
    TooLong {
        /// The secret.
        name: String,
        /// Length of its value in bytes.
        len: usize,
    },
}

impl Diagnostic for SecretsError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::TooMany => format!("Give at most {MAX_SECRETS} secrets"),
            Self::TooShort { name, .. } => format!("Give {name} a longer value, or pass it as plain text"),
            Self::TooLong { name, .. } => format!("Shorten the value of {name}"),
        })
    }
}
