//! Reset: the whole sandbox anew, from the baseline or a named snapshot.
//!
//! 1. The snapshot is copied beside the disk; nothing has changed so far, and where there is no room nothing will.
//! 2. The record says that the reset is pending: from here on it is completed, by whoever comes next if need be.
//! 3. The supervisor ends with the guest; the copy takes the disk's place; journal and events go.
//! 4. A new guest starts.

use super::access::Turn;
use super::supervisor;
use super::{SnapshotName, WorkspaceId, WorkspaceStatus};
use crate::boxed;
use crate::store::Record;
use crate::vm::milliseconds;
use crate::{Pyro, PyroError};
use pyro_runtime::fs::FsError;
use serde::Serialize;
use std::time::Instant;

/// What a reset did.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkspaceReset {
    /// The snapshot it went back to.
    pub snapshot_name: String,
    /// Milliseconds from the call to a guest that is up.
    pub duration_ms: u64,
}

/// A workspace after a reset.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkspaceResetResult {
    /// The workspace, as it stands.
    #[serde(flatten)]
    pub status: WorkspaceStatus,
    /// What was done.
    pub workspace_reset: WorkspaceReset,
}

impl Pyro {
    /// Recreates the whole sandbox from a snapshot, whatever was done to it, running or stopped. Processes, journal and every
    /// file outside the snapshot are gone; id, name, labels, snapshots and baseline stay.
    #[boxed]
    pub async fn reset_workspace(
        &self,
        id: &WorkspaceId,
        snapshot: &SnapshotName,
    ) -> Result<WorkspaceResetResult, PyroError> {
        let begun = Instant::now();
        let turn = self.turn(id).await?;
        turn.require_disk("resetting")?;
        self.require_snapshot(id, snapshot).await?;
        // What could not be started again is not reset.
        let boot = self.install_for(&turn.record).await?;
        self.progress().phase(&format!("reset workspace_id={id} snapshot={snapshot}"));
        turn.prepare_next_disk(snapshot).await?;
        let (reset, name) = (id.clone(), snapshot.to_string());
        turn.transact(self, move |store| Record::begin_reset(store, &reset, &name)).await?;
        supervisor::end(&turn.directory).await?;
        self.complete_reset(&turn).await?;
        self.progress().phase(&format!("start workspace_id={id}"));
        if let Err(error) = self.start_stopped(&turn, boot).await {
            let reset = id.clone();
            turn.transact(self, move |store| Record::give_up_reset(store, &reset)).await?;
            return Err(error);
        }
        drop(turn);
        let duration_ms = milliseconds(begun.elapsed());
        let workspace_reset = WorkspaceReset { snapshot_name: snapshot.to_string(), duration_ms };
        Ok(WorkspaceResetResult { status: self.status_workspace(id).await?, workspace_reset })
    }

    /// Completes a pending reset of a workspace without a guest.
    pub(super) async fn complete_reset(&self, turn: &Turn) -> Result<(), PyroError> {
        let (next, disk) = (turn.directory.next_disk(), turn.directory.disk());
        let renaming = turn.blocking(move || match std::fs::rename(&next, disk) {
            // It is in place already.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => Ok(other.map_err(FsError::on("rename", next))?),
        });
        renaming.await?;
        let reset = turn.record.id.clone();
        turn.transact(self, move |store| Record::finish_reset(store, &reset)).await
    }
}
