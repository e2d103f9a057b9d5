//! Patch: a unified diff, applied whole or not at all.
//!
//! Every file that the patch names is read, every hunk is applied in memory, and only then are all files replaced by one call,
//! which checks again that none has changed meanwhile and undoes everything where one cannot be replaced.

use super::access::Session;
use super::names::absolute;
use super::{MAX_TEXT_BYTES, WorkspaceError, WorkspaceId};
use crate::boxed;
use crate::store::Event;
use crate::{Pyro, PyroError};
use pyro_patch::{FilePatch, Kind, Patch};
use pyro_protocol::limits::{MAX_REPLACE_BYTES, MAX_REPLACE_FILES};
use pyro_protocol::v1::FailureKind;
use pyro_vmm::VmmError;
use pyro_vmm::guest::FileChange;
use serde::Serialize;

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PatchedFile {
    /// Its absolute path.
    pub path: String,
    /// `added`, `modified`, `deleted`.
    pub status: &'static str,
}

/// A patch that was applied.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkspacePatched {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// Anything changed.
    pub changed: bool,
    /// Files in all.
    pub total: usize,
    /// Files that are new.
    pub added: usize,
    /// Files with other content.
    pub modified: usize,
    /// Files that are gone.
    pub deleted: usize,
    /// Each file, in the patch's order.
    pub entries: Vec<PatchedFile>,
}

impl Pyro {
    /// Applies a unified diff of at most [`MAX_TEXT_BYTES`] to the workspace.
    #[boxed]
    pub async fn apply_workspace_patch(
        &self,
        id: &WorkspaceId,
        patch: &str,
    ) -> Result<WorkspacePatched, PyroError> {
        let parsed = match Patch::parse(patch.as_bytes()) {
            Ok(parsed) => parsed,
            Err(error) => {
                let error = WorkspaceError::from(error).into();
                // Where there is no workspace there are no secrets.
                let Ok(record) = self.workspace(id).await else { return Err(error) };
                return Err(self.redaction(&record).await?.error(error));
            }
        };
        let session = self.session(id, "applying a patch").await?;
        let (files, most) = (parsed.files().len() as u64, MAX_REPLACE_FILES as u64);
        if files > most {
            return Err(
                WorkspaceError::OutOfRange { what: "the number of files", max: most, given: files }.into()
            );
        }
        let mut changes = Vec::new();
        let mut entries = Vec::new();
        let mut bytes = 0;
        for file in parsed.files() {
            let change = self.change(&session, file).await;
            let (change, status) = change.map_err(|error| session.redaction.error(error))?;
            bytes += change.content.as_ref().map_or(0, |(_, content)| content.len() as u64);
            if bytes > MAX_REPLACE_BYTES {
                let what = "what the patched files hold together";
                return Err(WorkspaceError::TooLarge { what, bytes, max: MAX_REPLACE_BYTES }.into());
            }
            changes.push(change);
            entries.push(PatchedFile { path: absolute(&path_of(file)), status });
        }
        if let Err(error) = session.guest.replace(&session.root, changes).await {
            return Err(self.explain(&session, error).await);
        }
        let count = |status| entries.iter().filter(|entry| entry.status == status).count();
        let (added, modified, deleted) = (count("added"), count("modified"), count("deleted"));
        let [more, other, fewer] = [added, modified, deleted].map(|count| count as u64);
        self.note(&session, Event::PatchApplied { added: more, modified: other, deleted: fewer }).await;
        Ok(WorkspacePatched {
            workspace_id: id.clone(),
            changed: !entries.is_empty(),
            total: entries.len(),
            added,
            modified,
            deleted,
            entries,
        })
    }

    /// What one file is to become, from what it is.
    async fn change(
        &self,
        session: &Session,
        file: &FilePatch,
    ) -> Result<(FileChange, &'static str), PyroError> {
        let path = file.path().as_bytes().to_vec();
        // One byte more tells whether it is too long.
        let read = session.guest.read_file(&session.root, &path, MAX_TEXT_BYTES + 1).await;
        let present = match read {
            Ok(present) => Some(present),
            Err(VmmError::Refused { kind: FailureKind::NotFound, .. }) => None,
            Err(error) => return Err(self.explain(session, error).await),
        };
        if let Some(too_large) = present.as_ref().filter(|present| present.size > MAX_TEXT_BYTES) {
            let (what, bytes) = ("a file that the patch names", too_large.size);
            return Err(WorkspaceError::TooLarge { what, bytes, max: MAX_TEXT_BYTES }.into());
        }
        let text = present.as_ref().map(|present| std::str::from_utf8(&present.bytes)).transpose();
        let text = text.map_err(|_| WorkspaceError::NotText { path: absolute(&path_of(file)) })?;
        let applied = file.apply(text).map_err(WorkspaceError::from)?;
        let (status, mode) = match applied.kind {
            Kind::Add { mode } => ("added", mode.bits()),
            Kind::Modify => ("modified", present.as_ref().map_or(0, |present| present.mode)),
            Kind::Delete => ("deleted", 0),
        };
        let content = applied.text.map(|text| (mode, text.into_bytes()));
        Ok((FileChange { path, expected: present.map(|present| present.stamp), content }, status))
    }
}

fn path_of(file: &FilePatch) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(file.path().as_bytes())
}
