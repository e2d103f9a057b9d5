//! Reading a file on a disk.

use super::list::LIMIT;
use super::{DiskPath, WorkspaceDiskError};
use crate::boxed;
use crate::workspace::files::text;
use crate::workspace::{MAX_TEXT_BYTES, WorkspaceError, WorkspaceFile, WorkspaceId};
use crate::{Pyro, PyroError};
use pyro_disk::{DiskError, Kind, Root};

/// What a path leads to: the size and the beginning of a file, or what else it is.
type Read = Result<(u64, Vec<u8>), &'static str>;

impl Pyro {
    /// Reads a text file in the root of a stopped workspace, up to `max_bytes` (1 to [`MAX_TEXT_BYTES`]), without a guest, and
    /// with marks in the place of secrets. Links are followed as in the guest, never out of its root. Fails when it is no regular
    /// file, or no UTF-8, and as [`Pyro::list_workspace_disk`].
    #[boxed]
    pub async fn read_workspace_disk(
        &self,
        id: &WorkspaceId,
        path: &DiskPath,
        max_bytes: u64,
    ) -> Result<WorkspaceFile, PyroError> {
        if !(1..=MAX_TEXT_BYTES).contains(&max_bytes) {
            let (what, max) = ("max_bytes", MAX_TEXT_BYTES);
            return Err(WorkspaceError::OutOfRange { what, max, given: max_bytes }.into());
        }
        let disk = self.stopped_disk(id, "reading a file on its disk").await?;
        let redaction = &disk.redaction;
        // A secret that begins before the end is to be seen as a whole.
        let most = max_bytes.saturating_add(redaction.margin());
        let wanted = path.clone();
        let read = disk.work(path, Some(LIMIT), move |root| beginning(root, wanted.as_str(), most)).await;
        let (size_bytes, bytes) = read.map_err(|error| redaction.error(error))?.map_err(|what| {
            redaction.error(
                WorkspaceError::from(WorkspaceDiskError::NotAFile { path: path.to_string(), what }).into(),
            )
        })?;
        let is_whole = size_bytes <= bytes.len() as u64;
        let shown = usize::try_from(max_bytes).unwrap_or(usize::MAX);
        let (bytes, is_cut) = redaction.beginning(&bytes, is_whole, shown);
        let truncated = !is_whole || is_cut;
        let not_text = || PyroError::from(WorkspaceError::NotText { path: path.to_string() });
        let content = text(&bytes, truncated).ok_or_else(|| redaction.error(not_text()))?.to_owned();
        Ok(WorkspaceFile {
            workspace_id: id.clone(),
            path: path.to_string(),
            size_bytes,
            max_bytes,
            content,
            truncated,
        })
    }
}

fn beginning(root: &Root, path: &str, most: u64) -> Result<Read, DiskError> {
    let node = root.find(path.as_bytes(), true)?;
    Ok(match node.meta.kind {
        Kind::File => Ok((node.meta.size, root.beginning(&node, most)?)),
        Kind::Directory => Err("directory"),
        Kind::Symlink => Err("symbolic link"),
        Kind::Character | Kind::Block => Err("device"),
        Kind::Pipe => Err("pipe"),
        Kind::Socket => Err("socket"),
    })
}
