//! Sync push: a later import from the host. Not atomic: what fails in the middle leaves what came before.

use super::stream::import;
use super::{WorkspaceError, WorkspaceId, WorkspacePath};
use crate::boxed;
use crate::engine::blocking;
use crate::store::Event;
use crate::{Pyro, PyroError};
use pyro_tree::Source;
use serde::Serialize;
use std::path::PathBuf;

/// What to import, and where to.
#[derive(Debug, Clone)]
pub struct WorkspaceSyncRequest {
    /// A directory, or a `.tar`, `.tar.gz` or `.tgz` archive.
    pub source_path: PathBuf,
    /// A directory of the workspace; made where it is missing.
    pub dest: WorkspacePath,
}

/// What was imported.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkspaceSync {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// What was imported.
    pub source_path: String,
    /// Where it is now.
    pub destination: String,
    /// Files, directories and links.
    pub entry_count: u64,
    /// Bytes of the files.
    pub bytes_written: u64,
}

impl Pyro {
    /// Imports a directory or archive into a running workspace. Files of the same names are replaced, others stay.
    #[boxed]
    pub async fn push_workspace_sync(
        &self,
        id: &WorkspaceId,
        request: WorkspaceSyncRequest,
    ) -> Result<WorkspaceSync, PyroError> {
        let WorkspaceSyncRequest { source_path, dest } = request;
        let source_path = std::path::absolute(&source_path).unwrap_or(source_path);
        let path = source_path.clone();
        let source = blocking(move || Ok(Source::open(&path).map_err(WorkspaceError::from)?)).await?;
        let session = self.session(id, "an import").await?;
        self.progress().phase(&format!("import workspace_id={id}"));
        let (path, owner) = (dest.relative().as_bytes(), session.archive_owner());
        let call = session.guest.unpack_beneath(&session.root, path, owner).await;
        let call = match call {
            Ok(call) => call,
            Err(error) => return Err(self.explain(&session, error).await),
        };
        let imported = async {
            let totals = import(source, call).await?;
            session.guest.sync().await?;
            Ok::<_, PyroError>(totals)
        };
        let totals = match imported.await {
            Ok(totals) => totals,
            Err(error) => {
                let source = Box::new(self.explain(&session, error).await);
                let source_path = source_path.display().to_string();
                return Err(WorkspaceError::HalfImported { source_path, source }.into());
            }
        };
        let result = WorkspaceSync {
            workspace_id: id.clone(),
            source_path: source_path.display().to_string(),
            destination: dest.to_string(),
            entry_count: totals.entries,
            bytes_written: totals.bytes,
        };
        let event = Event::Synced {
            source: result.source_path.clone(),
            dest: result.destination.clone(),
            entries: result.entry_count,
            bytes: result.bytes_written,
        };
        self.note(&session, event).await;
        Ok(result)
    }
}
