//! Snapshots: copies of the writable disk.
//!
//! A running guest is frozen while its disk is copied: its file system is flushed, and nothing writes to it until the copy is
//! whole. The copy shares blocks with the disk where the host's file system can, and holds only what was written otherwise.

use super::access::{Turn, expired};
use super::{SnapshotName, WorkspaceError, WorkspaceId};
use crate::boxed;
use crate::store::{Event, SnapshotRow, WorkspaceState};
use crate::{Pyro, PyroError};
use jiff::Timestamp;
use pyro_runtime::fs::{FsError, copy_sparse, disk_usage, remove_all};
use pyro_vmm::Guest;
use serde::Serialize;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a guest may be frozen. Copying what was written takes a fraction of a second for each 100 MB.
const FREEZE_LIMIT: Duration = Duration::from_mins(5);

/// Who made a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SnapshotKind {
    /// It was taken when the workspace was created.
    Baseline,
    /// A user took it.
    Named,
}

/// A snapshot.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SnapshotInfo {
    /// Its name.
    pub snapshot_name: String,
    /// Who made it.
    pub kind: SnapshotKind,
    /// When it was taken.
    pub created_at: Timestamp,
    /// Whether it can be deleted.
    pub deletable: bool,
    /// Bytes on the host's disk, of which others may share some.
    pub disk_bytes: u64,
}

/// The snapshots of a workspace, the oldest first.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SnapshotList {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// How many.
    pub count: usize,
    /// Which.
    pub snapshots: Vec<SnapshotInfo>,
}

/// A snapshot that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SnapshotDeleted {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The name it had.
    pub snapshot_name: String,
    /// It is gone.
    pub deleted: bool,
}

impl Pyro {
    /// Takes a snapshot of the whole disk of a workspace, running or stopped.
    #[boxed]
    pub async fn create_snapshot(
        &self,
        id: &WorkspaceId,
        name: &SnapshotName,
    ) -> Result<SnapshotInfo, PyroError> {
        if name.is_baseline() {
            return Err(WorkspaceError::BaselineStays { action: "taken again" }.into());
        }
        let turn = self.turn(id).await?;
        turn.require_disk("taking a snapshot")?;
        if self.snapshot_names(id).await?.iter().any(|existing| existing == name.as_str()) {
            return Err(WorkspaceError::SnapshotExists { id: id.clone(), name: name.to_string() }.into());
        }
        let file = turn.directory.snapshot(name);
        let copied = if turn.record.state == WorkspaceState::Running {
            turn.copy_frozen(file.clone()).await
        } else {
            turn.copy_disk(turn.directory.disk(), file.clone()).await
        };
        // Once its time has passed, its supervisor ends the guest, whoever has the turn.
        copied.map_err(|error| if turn.record.is_expired() { expired(&turn.record) } else { error })?;
        let (recorded, snapshot, bytes) = (id.clone(), name.clone(), disk_usage(&file));
        let recording = turn.transact(self, move |store| {
            SnapshotRow::insert(store, &recorded, &snapshot, bytes)?;
            Event::SnapshotCreated { name: snapshot.to_string() }.insert(store, &recorded)
        });
        if let Err(error) = recording.await {
            let _left = self.remove_stray_copies(&turn).await;
            return Err(error);
        }
        drop(turn);
        let mut list = self.list_snapshots(id).await?.snapshots;
        list.retain(|info| info.snapshot_name == name.as_str());
        list.pop().ok_or_else(|| WorkspaceError::Interrupted { id: id.clone() }.into())
    }

    /// The snapshots of a workspace, `baseline` first.
    #[boxed]
    pub async fn list_snapshots(&self, id: &WorkspaceId) -> Result<SnapshotList, PyroError> {
        let record = self.workspace(id).await?;
        let listed = id.clone();
        let rows = self.read(move |store| SnapshotRow::all(store, &listed)).await?;
        let baseline = record.is_guest().then(|| SnapshotInfo {
            snapshot_name: SnapshotName::BASELINE.to_owned(),
            kind: SnapshotKind::Baseline,
            created_at: record.created_at,
            deletable: false,
            disk_bytes: disk_usage(&self.workspace_directory(id).snapshot(&SnapshotName::baseline())),
        });
        let named = rows.into_iter().map(|row| SnapshotInfo {
            snapshot_name: row.name,
            kind: SnapshotKind::Named,
            created_at: row.created_at,
            deletable: true,
            disk_bytes: row.bytes,
        });
        let snapshots: Vec<_> = baseline.into_iter().chain(named).collect();
        Ok(SnapshotList { workspace_id: id.clone(), count: snapshots.len(), snapshots })
    }

    /// Deletes a named snapshot.
    #[boxed]
    pub async fn delete_snapshot(
        &self,
        id: &WorkspaceId,
        name: &SnapshotName,
    ) -> Result<SnapshotDeleted, PyroError> {
        if name.is_baseline() {
            return Err(WorkspaceError::BaselineStays { action: "deleted" }.into());
        }
        let turn = self.turn(id).await?;
        self.require_snapshot(id, name).await?;
        // The record goes first: it must not claim what is not there.
        let (recorded, snapshot) = (id.clone(), name.clone());
        let forgetting = turn.transact(self, move |store| {
            SnapshotRow::delete(store, &recorded, &snapshot)?;
            Event::SnapshotDeleted { name: snapshot.to_string() }.insert(store, &recorded)
        });
        forgetting.await?;
        let file = turn.directory.snapshot(name);
        turn.blocking(move || Ok(remove_all(&file)?)).await?;
        Ok(SnapshotDeleted { workspace_id: id.clone(), snapshot_name: name.to_string(), deleted: true })
    }

    /// Fails unless the workspace has such a snapshot.
    pub(super) async fn require_snapshot(
        &self,
        id: &WorkspaceId,
        name: &SnapshotName,
    ) -> Result<(), PyroError> {
        if name.is_baseline() {
            return Ok(());
        }
        let mut existing = self.snapshot_names(id).await?;
        if existing.iter().any(|existing| existing == name.as_str()) {
            return Ok(());
        }
        existing.insert(0, SnapshotName::BASELINE.to_owned());
        Err(WorkspaceError::UnknownSnapshot { id: id.clone(), name: name.to_string(), existing }.into())
    }

    /// Removes the copies of a workspace's disk that are on no record, as after the end of whoever was making or removing them. No
    /// reset may be pending. What cannot be removed now is tried again at the next turn.
    pub(super) async fn remove_stray_copies(&self, turn: &Turn) -> Result<(), PyroError> {
        let names = self.snapshot_names(&turn.record.id).await?;
        let directory = turn.directory.clone();
        let removing = turn.blocking(move || {
            let on_record: Vec<_> = names.iter().map(|name| directory.named_snapshot(name)).collect();
            let snapshots = fs::read_dir(directory.snapshots()).into_iter().flatten().flatten();
            let strays = snapshots.map(|entry| entry.path()).filter(|path| !on_record.contains(path));
            for stray in strays.chain([directory.unfinished(), directory.next_disk()]) {
                let _left = remove_all(&stray);
            }
            Ok(())
        });
        removing.await
    }

    async fn snapshot_names(&self, id: &WorkspaceId) -> Result<Vec<String>, PyroError> {
        let id = id.clone();
        let rows = self.read(move |store| SnapshotRow::all(store, &id)).await?;
        Ok(rows.into_iter().map(|row| row.name).collect())
    }
}

/// Copies a disk that nobody writes to `to`, which shows up whole or not at all.
pub(super) fn copy_disk(disk: &Path, unfinished: &Path, to: &Path) -> Result<(), FsError> {
    copy(disk, unfinished)?;
    install(unfinished, to)
}

fn copy(disk: &Path, unfinished: &Path) -> Result<(), FsError> {
    // What whoever was killed before us left.
    remove_all(unfinished)?;
    copy_sparse(disk, unfinished)?;
    // A record must not claim what the host's disk does not hold.
    File::open(unfinished).and_then(|copy| copy.sync_data()).map_err(FsError::on("write", unfinished))
}

/// Gives a whole copy its name, for good.
fn install(unfinished: &Path, to: &Path) -> Result<(), FsError> {
    fs::rename(unfinished, to).map_err(FsError::on("rename", unfinished))?;
    let directory = to.parent().unwrap_or(Path::new("/"));
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(FsError::on("write", directory))
}

impl Turn {
    /// Copies the disk of the running guest to `to`, which shows up whole or not at all.
    async fn copy_frozen(&self, to: PathBuf) -> Result<(), PyroError> {
        let frozen = Guest::at(self.directory.guest_socket()).freeze(FREEZE_LIMIT).await?;
        let directory = self.directory.clone();
        let copied = self.blocking(move || Ok(copy(&directory.disk(), &directory.unfinished())?)).await;
        // Thawed in time, or the copy is of no use.
        frozen.thaw().await?;
        copied?;
        let unfinished = self.directory.unfinished();
        self.blocking(move || Ok(install(&unfinished, &to)?)).await
    }

    /// The same for a disk that nobody writes to.
    async fn copy_disk(&self, disk: PathBuf, to: PathBuf) -> Result<(), PyroError> {
        let unfinished = self.directory.unfinished();
        self.blocking(move || Ok(copy_disk(&disk, &unfinished, &to)?)).await
    }

    /// The disk as it was when `name` was taken, ready to become the workspace's.
    pub(super) async fn prepare_next_disk(&self, name: &SnapshotName) -> Result<(), PyroError> {
        self.copy_disk(self.directory.snapshot(name), self.directory.next_disk()).await
    }
}
