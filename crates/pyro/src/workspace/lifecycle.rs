//! Start, stop and delete.

use super::access::{Turn, wrong_state};
use super::supervisor::{self, Starting};
use super::{WorkspaceId, WorkspaceStatus};
use crate::boxed;
use crate::store::{Record, Started, WorkspaceState};
use crate::vm::Shape;
use crate::{Pyro, PyroError};
use serde::Serialize;
use std::time::Duration;

/// A workspace that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkspaceDeleted {
    /// Its id.
    pub workspace_id: WorkspaceId,
    /// It is gone, with its disks, snapshots and journal.
    pub deleted: bool,
}

impl Pyro {
    /// Starts a stopped workspace from its disk. One that runs is left as it is.
    #[boxed]
    pub async fn start_workspace(&self, id: &WorkspaceId) -> Result<WorkspaceStatus, PyroError> {
        let mut turn = self.turn(id).await?;
        turn.record.require_guest("starting again")?;
        let is_running = turn.record.state == WorkspaceState::Running;
        if is_running && supervisor::is_responsive(&turn.directory).await != Some(true) {
            // A stop whose caller has gone may be under way, which is to hold up nobody else.
            let directory = turn.directory.clone();
            drop(turn);
            supervisor::settled(&directory).await?;
            turn = self.turn(id).await?;
        }
        if turn.record.state != WorkspaceState::Running {
            self.progress().phase(&format!("start workspace_id={id}"));
            let boot = self.install_for(&turn.record).await?;
            self.start_stopped(&turn, boot).await?;
            let started = id.clone();
            self.transact(move |store| Record::touch(store, &started)).await?;
        }
        drop(turn);
        self.status_workspace(id).await
    }

    /// Stops a running workspace: its processes end, its file systems are flushed, its disk stays.
    #[boxed]
    pub async fn stop_workspace(&self, id: &WorkspaceId) -> Result<WorkspaceStatus, PyroError> {
        let turn = self.turn(id).await?;
        turn.record.require_guest("stopping")?;
        if turn.record.state == WorkspaceState::Running {
            self.progress().phase(&format!("stop workspace_id={id}"));
            if supervisor::stop(&turn.directory).await.is_err() {
                // A supervisor that does not answer is as stuck as its guest, and ends with it.
                supervisor::end(&turn.directory).await?;
                let (stopped, generation) = (id.clone(), turn.record.generation);
                let reason = Some("it did not end when asked, and was killed");
                self.transact(move |store| Record::set_stopped(store, &stopped, generation, reason)).await?;
            }
            let stopped = id.clone();
            self.transact(move |store| Record::touch(store, &stopped)).await?;
        }
        drop(turn);
        self.status_workspace(id).await
    }

    /// Removes a workspace with everything it has, in whatever state it is.
    #[boxed]
    pub async fn delete_workspace(&self, id: &WorkspaceId) -> Result<WorkspaceDeleted, PyroError> {
        let turn = self.turn_to_delete(id).await?;
        if !turn.directory.is_supervised() {
            // Its VMM may be about to end; one that does not keeps the workspace, as it is, from being deleted.
            supervisor::end(&turn.directory).await?;
        }
        self.mark_deleting(id).await?;
        supervisor::end(&turn.directory).await?;
        self.remove_workspace_files(id).await?;
        Ok(WorkspaceDeleted { workspace_id: id.clone(), deleted: true })
    }

    /// Starts the guest of a workspace that has a disk and no guest, which may take `boot` to come up.
    pub(super) async fn start_stopped(&self, turn: &Turn, boot: Duration) -> Result<Started, PyroError> {
        let (record, directory) = (&turn.record, &turn.directory);
        // The supervisor of a stopped workspace waits for its time to pass.
        supervisor::end(directory).await?;
        let started = Starting::spawn(self, &record.id, directory, boot).await?.ready().await?;
        self.tell_start(&started);
        Ok(started)
    }

    /// Installs what the guest of a workspace needs, where it is missing, and tells how long the guest may take to boot. Fails
    /// where that is not what it was created with.
    pub(super) async fn install_for(&self, record: &Record) -> Result<Duration, PyroError> {
        let origin = &record.origin;
        let shape = Shape::new(&origin.environment, origin.vcpu_count, origin.mem_mib, !record.is_guest())?;
        let prepared = self.prepare_start(&shape).await?;
        record.require_image(prepared.image_digest())?;
        Ok(shape.boot_deadline())
    }

    pub(super) fn tell_start(&self, started: &Started) {
        if let Some(reason) = &started.cold_start_reason {
            self.progress().phase(&format!("cold-start reason=\"{reason}\""));
        }
        if started.fallback_reason.is_some() {
            self.progress().phase("fall-back execution_mode=host_compat");
        }
    }
}

impl Turn {
    /// Fails unless the workspace is in one of the two states in which it has a disk.
    pub(super) fn require_disk(&self, operation: &'static str) -> Result<(), PyroError> {
        self.record.require_guest(operation)?;
        match self.record.state {
            WorkspaceState::Running | WorkspaceState::Stopped => Ok(()),
            WorkspaceState::Creating | WorkspaceState::Deleting => {
                Err(wrong_state(&self.record, operation, "running"))
            }
        }
    }
}
