//! Listing what is on a disk.

use super::DiskPath;
use crate::boxed;
use crate::workspace::files::MAX_LISTED;
use crate::workspace::{ArtifactType, FileListEntry, WorkspaceFileList, WorkspaceId};
use crate::{Pyro, PyroError};
use pyro_disk::{DiskError, Kind, Node, Root};
use std::time::Duration;

/// How long a disk may be read for a listing or for a file.
pub(super) const LIMIT: Duration = Duration::from_mins(1);

impl Pyro {
    /// Lists a directory of the root of a stopped workspace, or one file, without a guest. Links on the way are followed as in the
    /// guest, never out of its root; a link at the end is listed itself. `/dev`, `/proc`, `/run` and `/sys` are empty. Fails when
    /// the workspace is not stopped, has no guest, or its file system is damaged.
    #[boxed]
    pub async fn list_workspace_disk(
        &self,
        id: &WorkspaceId,
        path: &DiskPath,
        recursive: bool,
    ) -> Result<WorkspaceFileList, PyroError> {
        let disk = self.stopped_disk(id, "listing files on its disk").await?;
        let wanted = path.clone();
        let listed = disk.work(path, Some(LIMIT), move |root| entries(root, wanted.as_str(), recursive));
        let entries = listed.await.map_err(|error| disk.redaction.error(error))?;
        Ok(WorkspaceFileList {
            workspace_id: id.clone(),
            path: path.to_string(),
            recursive,
            count: entries.len(),
            entries,
        })
    }
}

fn entries(root: &Root, path: &str, recursive: bool) -> Result<Vec<FileListEntry>, DiskError> {
    let node = root.find(path.as_bytes(), false)?;
    if node.meta.kind != Kind::Directory {
        return Ok(vec![entry(root, &node, path.to_owned())?]);
    }
    // Behind a link, the files are where it leads to; they are named as they were asked for.
    let above = node.path.len();
    let mut entries = vec![];
    let mut walk = root.walk(&node, recursive, MAX_LISTED)?;
    while let Some(node) = walk.next_node()? {
        let below = String::from_utf8_lossy(node.path.get(above..).unwrap_or_default());
        let below = below.trim_start_matches('/');
        entries.push(entry(root, &node, format!("{}/{below}", path.trim_end_matches('/')))?);
    }
    Ok(entries)
}

fn entry(root: &Root, node: &Node, path: String) -> Result<FileListEntry, DiskError> {
    let artifact_type = match node.meta.kind {
        Kind::File => ArtifactType::File,
        Kind::Directory => ArtifactType::Directory,
        Kind::Symlink => ArtifactType::Symlink,
        Kind::Character | Kind::Block | Kind::Pipe | Kind::Socket => ArtifactType::Other,
    };
    let link_target = match artifact_type {
        ArtifactType::Symlink => Some(String::from_utf8_lossy(&root.target(node)?).into_owned()),
        _ => None,
    };
    let size_bytes = if artifact_type == ArtifactType::File { node.meta.size } else { 0 };
    Ok(FileListEntry { path, artifact_type, size_bytes, link_target })
}
