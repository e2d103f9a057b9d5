//! Why something about the disk of a stopped workspace failed.

use super::export::kind_of;
use crate::workspace::WorkspaceId;
use pyro_disk::DiskError;
use pyro_protocol::error::{Diagnostic, ErrorKind};
use std::io;
use std::path::PathBuf;

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
    /// There is something where the image is to be.
    #[error("`{}` exists already", path.display())]
    OutputExists {
        /// The path on the host.
        path: PathBuf,
    },
    /// The image cannot be written.
    #[error("the image `{}` cannot be written", path.display())]
    Output {
        /// The path on the host.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
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
            Self::OutputExists { .. } => ErrorKind::AlreadyExists,
            Self::Output { source, .. } => kind_of(source),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::RefusedPath { .. } => Some(
                "give a path of the workspace's root, such as `/etc/hosts` or `/workspace/a.txt`".to_owned(),
            ),
            Self::NotAFile { .. } => Some("look at what it is with `pyro workspace disk list`".to_owned()),
            Self::Unreadable { source, .. } => source.hint(),
            Self::OutputExists { .. } => Some("choose a path at which there is nothing yet".to_owned()),
            Self::Output { .. } => Some(
                "choose a path in a directory that exists, with room, and that you may write to".to_owned(),
            ),
        }
    }
}
