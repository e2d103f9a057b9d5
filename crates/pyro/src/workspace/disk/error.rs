//! Why something about the disk of a stopped workspace failed.

use crate::workspace::WorkspaceId;
use pyro_disk::DiskError;
use pyro_protocol::error::{Diagnostic, ErrorKind};

/// Every failure that is about disks of stopped workspaces.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceDiskError {
    /// A path cannot be one of the root.
    #[error("the path `{path}` is refused: {why}")]
    RefusedPath {
        /// The path, shortened.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A path leads nowhere, or cannot be read.
    #[error("`{path}` cannot be looked at on the disk of the workspace `{id}`")]
    Unreadable {
        /// The workspace.
        id: WorkspaceId,
        /// The path.
        path: String,
        /// Why.
        #[source]
        source: DiskError,
    },
    /// What is to be read is no regular file.
    #[error("`{path}` is a {what}, not a regular file")]
    NotAFile {
        /// The path.
        path: String,
        /// What it is.
        what: &'static str,
    },
}

impl Diagnostic for WorkspaceDiskError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::RefusedPath { .. } | Self::NotAFile { .. } => ErrorKind::InvalidInput,
            Self::Unreadable { source, .. } => source.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::RefusedPath { .. } => Some(
                "give a path of the workspace's root, such as `/etc/hosts` or `/workspace/a.txt`".to_owned(),
            ),
            Self::NotAFile { .. } => Some("look at what it is with `pyro workspace disk list`".to_owned()),
            Self::Unreadable { source, .. } => source.hint(),
        }
    }
}
