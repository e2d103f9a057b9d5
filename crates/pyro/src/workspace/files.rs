//! Single files: list, read, write.
//!
//! Paths are checked here, and resolved in the guest beneath the workspace without following any link, so that a process that
//! swaps a directory for a link meanwhile gains nothing.

use super::names::absolute;
use super::{MAX_TEXT_BYTES, WorkspaceError, WorkspaceId, WorkspacePath};
use crate::boxed;
use crate::store::Event;
use crate::{Pyro, PyroError};
use pyro_vmm::guest::FileKind;
use serde::Serialize;

/// Most entries of one listing.
pub(super) const MAX_LISTED: u64 = 200_000;
/// Mode of a new file.
pub(super) const NEW_FILE_MODE: u32 = 0o644;

/// What lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ArtifactType {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, pipe or socket.
    Other,
}

impl ArtifactType {
    /// The name in results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::Other => "other",
        }
    }
}

impl From<FileKind> for ArtifactType {
    fn from(kind: FileKind) -> Self {
        match kind {
            FileKind::File => Self::File,
            FileKind::Directory => Self::Directory,
            FileKind::Symlink => Self::Symlink,
            FileKind::Other => Self::Other,
        }
    }
}

/// What lies in a directory.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkspaceFileList {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// What was listed.
    pub path: String,
    /// With everything below.
    pub recursive: bool,
    /// How many.
    pub count: usize,
    /// Which, sorted by path.
    pub entries: Vec<FileListEntry>,
}

/// One entry of a listing.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FileListEntry {
    /// Its absolute path, with U+FFFD for what is not UTF-8.
    pub path: String,
    /// What it is.
    pub artifact_type: ArtifactType,
    /// Size of a file's content.
    pub size_bytes: u64,
    /// Where a link points.
    pub link_target: Option<String>,
}

/// The text of a file.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkspaceFile {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// Its absolute path.
    pub path: String,
    /// Size of the whole file.
    pub size_bytes: u64,
    /// Most bytes that were to be read.
    pub max_bytes: u64,
    /// The text, to the limit.
    pub content: String,
    /// There is more.
    pub truncated: bool,
}

/// A file that was written.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkspaceFileWritten {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// Its absolute path.
    pub path: String,
    /// Size of its new content.
    pub size_bytes: u64,
}

impl Pyro {
    /// Lists a directory of the workspace, or one file.
    #[boxed]
    pub async fn list_workspace_files(
        &self,
        id: &WorkspaceId,
        path: &WorkspacePath,
        recursive: bool,
    ) -> Result<WorkspaceFileList, PyroError> {
        let session = self.session(id, "listing files").await?;
        let listed =
            session.guest.list(&session.root, path.relative().as_bytes(), recursive, MAX_LISTED).await;
        let listed = match listed {
            Ok(listed) => listed,
            Err(error) => return Err(self.explain(&session, error).await),
        };
        let entries: Vec<_> = listed
            .into_iter()
            .map(|entry| FileListEntry {
                path: absolute(&String::from_utf8_lossy(&entry.path)),
                artifact_type: entry.kind.into(),
                size_bytes: entry.size,
                link_target: (entry.kind == FileKind::Symlink)
                    .then(|| String::from_utf8_lossy(&entry.link_target).into_owned()),
            })
            .collect();
        Ok(WorkspaceFileList {
            workspace_id: id.clone(),
            path: path.to_string(),
            recursive,
            count: entries.len(),
            entries,
        })
    }

    /// Reads a text file, up to `max_bytes` (1 to [`MAX_TEXT_BYTES`]), with marks in the place of secrets. Fails when it is no regular
    /// file, or no UTF-8.
    #[boxed]
    pub async fn read_workspace_file(
        &self,
        id: &WorkspaceId,
        path: &WorkspacePath,
        max_bytes: u64,
    ) -> Result<WorkspaceFile, PyroError> {
        if !(1..=MAX_TEXT_BYTES).contains(&max_bytes) {
            let (what, max) = ("max_bytes", MAX_TEXT_BYTES);
            return Err(WorkspaceError::OutOfRange { what, max, given: max_bytes }.into());
        }
        let session = self.session(id, "reading a file").await?;
        // A secret that begins before the end is to be seen as a whole.
        let most = max_bytes.saturating_add(session.redaction.margin());
        let read = session.guest.read_file(&session.root, path.relative().as_bytes(), most).await;
        let file = match read {
            Ok(file) => file,
            Err(error) => return Err(self.explain(&session, error).await),
        };
        let is_whole = file.size <= file.bytes.len() as u64;
        let shown = usize::try_from(max_bytes).unwrap_or(usize::MAX);
        let (bytes, is_cut) = session.redaction.beginning(&file.bytes, is_whole, shown);
        let truncated = !is_whole || is_cut;
        let not_text = || PyroError::from(WorkspaceError::NotText { path: path.to_string() });
        let content = text(&bytes, truncated).ok_or_else(|| session.redaction.error(not_text()))?;
        Ok(WorkspaceFile {
            workspace_id: id.clone(),
            path: path.to_string(),
            size_bytes: file.size,
            max_bytes,
            content: content.to_owned(),
            truncated,
        })
    }

    /// Writes a text of at most [`MAX_TEXT_BYTES`] as a file, which takes the place of the old one at once and keeps its mode.
    #[boxed]
    pub async fn write_workspace_file(
        &self,
        id: &WorkspaceId,
        path: &WorkspacePath,
        text: &str,
    ) -> Result<WorkspaceFileWritten, PyroError> {
        let bytes = text.len() as u64;
        if bytes > MAX_TEXT_BYTES {
            return Err(WorkspaceError::TooLarge { what: "the text", bytes, max: MAX_TEXT_BYTES }.into());
        }
        if path.is_root() {
            let why = "it is the workspace itself, not a file in it";
            return Err(WorkspaceError::RefusedPath { path: path.to_string(), why }.into());
        }
        let session = self.session(id, "writing a file").await?;
        let written = session
            .guest
            .write_file(&session.root, path.relative().as_bytes(), NEW_FILE_MODE, text.as_bytes())
            .await;
        if let Err(error) = written {
            return Err(self.explain(&session, error).await);
        }
        self.note(&session, Event::FileWritten { path: path.to_string(), bytes }).await;
        Ok(WorkspaceFileWritten { workspace_id: id.clone(), path: path.to_string(), size_bytes: bytes })
    }
}

/// The text that `bytes` are; a character cut in two at the end of a truncated text is left out.
pub(super) fn text(bytes: &[u8], truncated: bool) -> Option<&str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) if truncated && error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_that_was_cut_is_no_sign_of_binary_content() {
        assert_eq!(text("aä".as_bytes(), false), Some("aä"));
        assert_eq!(text(&"aä".as_bytes()[..2], true), Some("a"));
        assert_eq!(text(&"aä".as_bytes()[..2], false), None);
        assert_eq!(text(b"\xffa", true), None);
    }
}
