//! Why secrets cannot be kept, or given to a call. No text shows a value, nor anything that may be one.

use super::super::WorkspaceId;
use super::{MAX_SECRET_NAME_CHARS, SecretName};
use pyro_protocol::error::{Diagnostic, ErrorKind, kind_of_io};
use std::path::PathBuf;

/// Every failure that is about secrets alone.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The name of a secret is malformed. What was given may be a value.
    #[error(
        "the name of a secret is up to {MAX_SECRET_NAME_CHARS} letters, digits and `_`, not beginning with a digit"
    )]
    MalformedName,
    /// What a secret is to be called in the environment is malformed.
    #[error(
        "the variable for the secret {secret} has to be letters, digits and `_`, not beginning with a digit"
    )]
    MalformedVariable {
        /// The secret.
        secret: SecretName,
    },
    /// A secret is given twice.
    #[error("the secret {name} is given twice")]
    Duplicate {
        /// The secret.
        name: SecretName,
    },
    /// A variable is given twice.
    #[error("the variable {variable} is given two secrets")]
    DuplicateVariable {
        /// The variable.
        variable: String,
    },
    /// The workspace has no such secret.
    #[error("the workspace `{id}` has no secret {name}")]
    Unknown {
        /// The workspace.
        id: WorkspaceId,
        /// The name.
        name: SecretName,
        /// The secrets that it has.
        existing: Vec<String>,
    },
    /// The file of a secret cannot be read.
    #[error("cannot read `{}`, which holds the secret {name}", path.display())]
    Unreadable {
        /// The secret.
        name: SecretName,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// What is to hold a secret is no regular file.
    #[error("`{}`, which is to hold the secret {name}, is no regular file", path.display())]
    NoFile {
        /// The secret.
        name: SecretName,
        /// The path.
        path: PathBuf,
    },
    /// A value is too short or too long, or there are too many.
    #[error(transparent)]
    Values(#[from] pyro_redact::SecretsError),
    /// The values are too long together.
    #[error("the secrets have {bytes} bytes together; at most {max} are accepted")]
    TooLarge {
        /// Their bytes.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Commands would run on the host, from which nothing can be kept.
    #[error("secrets need a guest, and none can run here: commands would run on the host itself")]
    NeedGuest,
    /// The file with the values is damaged, or was taken away.
    #[error("the secrets of the workspace `{id}` are lost")]
    Lost {
        /// The workspace.
        id: WorkspaceId,
        /// What is wrong with the file.
        #[source]
        source: std::io::Error,
    },
}

impl Diagnostic for SecretError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::MalformedName
            | Self::MalformedVariable { .. }
            | Self::Duplicate { .. }
            | Self::DuplicateVariable { .. }
            | Self::NoFile { .. }
            | Self::TooLarge { .. } => ErrorKind::InvalidInput,
            Self::Unknown { .. } => ErrorKind::NotFound,
            Self::Unreadable { source, .. } => kind_of_io(source),
            Self::Values(source) => source.kind(),
            Self::NeedGuest => ErrorKind::Unsupported,
            Self::Lost { .. } => ErrorKind::Integrity,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::MalformedName => "give each a name, and its value or the file that has it".to_owned(),
            Self::MalformedVariable { secret } => {
                format!("name a variable as shells do, or leave it away: it is `{secret}` then")
            }
            Self::Duplicate { .. } | Self::DuplicateVariable { .. } => "take one of them away".to_owned(),
            Self::Unknown { existing, .. } if existing.is_empty() => {
                "it has none; they are given when a workspace is created".to_owned()
            }
            Self::Unknown { existing, .. } => format!("choose one of: {}", existing.join(", ")),
            Self::Unreadable { .. } | Self::NoFile { .. } => "name a file that you can read".to_owned(),
            Self::Values(source) => return source.hint(),
            Self::TooLarge { .. } => "give fewer, or shorter ones".to_owned(),
            Self::NeedGuest => "`pyro doctor` says why no guest runs; or leave the secrets away".to_owned(),
            Self::Lost { .. } => "create a new workspace; this one can only be deleted".to_owned(),
        })
    }
}
