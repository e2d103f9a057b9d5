//! Export: one file or directory of the workspace, to a new path of the host's.

use super::stream::export;
use super::{WorkspaceError, WorkspaceId, WorkspacePath};
use crate::boxed;
use crate::engine::blocking;
use crate::store::Event;
use crate::{Pyro, PyroError};
use pyro_tree::{ArtifactType, Destination, Limits};
use serde::Serialize;
use std::path::PathBuf;

/// What to export, and where to.
#[derive(Debug, Clone)]
pub struct WorkspaceExportRequest {
    /// A file or directory of the workspace.
    pub path: WorkspacePath,
    /// A path of the host's that does not exist yet, in a directory that does.
    pub output_path: PathBuf,
}

/// What was exported.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkspaceExport {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// What was exported.
    pub path: String,
    /// Where it is now.
    pub output_path: String,
    /// `file` or `directory`.
    pub artifact_type: &'static str,
    /// Files, directories and links.
    pub entry_count: u64,
    /// Bytes of the files.
    pub bytes_written: u64,
}

impl Pyro {
    /// Exports one file or directory. The host's path appears whole or not at all; links stay links, and one that leads out of
    /// what is exported fails the export. Files have marks in the place of secrets.
    #[boxed]
    pub async fn export_workspace(
        &self,
        id: &WorkspaceId,
        request: WorkspaceExportRequest,
    ) -> Result<WorkspaceExport, PyroError> {
        let WorkspaceExportRequest { path, output_path } = request;
        let output_path = std::path::absolute(&output_path).unwrap_or(output_path);
        let session = self.session(id, "exporting").await?;
        self.progress().phase(&format!("export workspace_id={id}"));
        let target = output_path.clone();
        let rewrite = session.redaction.rewrite();
        let mut destination = blocking(move || {
            let destination = Destination::create(&target).map_err(WorkspaceError::from)?;
            Ok(match rewrite {
                Some(rewrite) => destination.rewriting(rewrite),
                None => destination,
            })
        })
        .await?;
        let call = session.guest.pack_beneath(&session.root, path.relative().as_bytes()).await;
        let call = match call {
            Ok(call) => call,
            Err(error) => return Err(self.explain(&session, error).await),
        };
        let exported = export(call, move |mut archive| {
            destination.unpack(&mut archive, Limits::default(), None).map_err(WorkspaceError::from)?;
            Ok(destination.finish().map_err(WorkspaceError::from)?)
        })
        .await;
        let exported = match exported {
            Ok(exported) => exported,
            Err(error) => return Err(self.explain(&session, error).await),
        };
        let result = WorkspaceExport {
            workspace_id: id.clone(),
            path: path.to_string(),
            output_path: output_path.display().to_string(),
            artifact_type: match exported.artifact_type {
                ArtifactType::File => "file",
                ArtifactType::Directory => "directory",
                ArtifactType::Symlink => "symlink",
            },
            entry_count: exported.entries,
            bytes_written: exported.bytes,
        };
        let event = Event::Exported {
            path: result.path.clone(),
            output: result.output_path.clone(),
            artifact_type: result.artifact_type.to_owned(),
            entries: result.entry_count,
            bytes: result.bytes_written,
        };
        self.note(&session, event).await;
        Ok(result)
    }
}
