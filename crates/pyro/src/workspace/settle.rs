//! What a crash left behind is set right, and what has expired removed, by whoever comes next.
//!
//! The record says what was acknowledged, the locks who is alive. Where the two disagree, somebody was killed.

use super::access::Turn;
use super::supervisor;
use super::{WorkspaceDirectory, WorkspaceId};
use crate::engine::blocking;
use crate::private_directory::PrivateDirectory;
use crate::store::{Record, WorkspaceState};
use crate::{Pyro, PyroError};
use jiff::{SignedDuration, Timestamp};
use pyro_protocol::error::{Diagnostic, ErrorKind};
use pyro_runtime::lock::FileLock;
use std::time::Duration;

/// How long a list waits for a process that was killed.
const GLANCE: Duration = Duration::from_millis(300);
/// How long a supervisor may take to remove its workspace, once that has expired.
const SUPERVISORS_TURN: SignedDuration = SignedDuration::from_mins(1);

impl Pyro {
    /// Whether a record claims what is not so, or what is not to stay.
    pub(super) fn is_unsettled(&self, record: &Record) -> bool {
        let must_live = record.state == WorkspaceState::Running;
        record.is_to_be_removed()
            || record.pending_reset.is_some()
            || must_live && !self.workspace_directory(&record.id).is_supervised()
    }

    /// Sets right what is wrong, if it still is.
    pub(super) async fn settle(&self, id: &WorkspaceId, lock: FileLock) -> Result<(), PyroError> {
        let (wanted, directory) = (id.clone(), self.workspace_directory(id));
        let Some(record) = self.read(move |store| Record::find(store, &wanted)).await? else {
            // It was removed while we waited, and what we locked is a leftover of our own.
            return blocking(move || directory.remove()).await;
        };
        if self.is_unsettled(&record) {
            self.repair(&Turn::new(record, directory, lock)).await?;
        }
        Ok(())
    }

    pub(super) async fn repair(&self, turn: &Turn) -> Result<(), PyroError> {
        let (record, directory) = (&turn.record, &turn.directory);
        // It may have a guest, or one that the kernel is about to end with its supervisor.
        supervisor::end(directory).await?;
        let id = record.id.clone();
        if record.is_to_be_removed() {
            return self.remove_workspace_files(&id).await;
        }
        if let Some(pending) = &record.pending_reset {
            if !pending.is_empty() {
                self.complete_reset(turn).await?;
            }
            // Its guest comes up when somebody starts it.
            return turn.transact(self, move |store| Record::give_up_reset(store, &id)).await;
        }
        let reason = "its supervisor was killed, or the host was restarted; what its guest had not written to disk is lost";
        let generation = record.generation;
        let stopping =
            turn.transact(self, move |store| Record::set_stopped(store, &id, generation, Some(reason)));
        stopping.await.map(drop)
    }

    /// Settles every workspace that nobody else is settling, and removes what has expired. What cannot be done now is left to
    /// the next call.
    pub(crate) async fn sweep(&self) -> Result<Vec<Record>, PyroError> {
        let records = self.read(Record::all).await?;
        let mut changed = false;
        for record in records.iter().filter(|record| self.is_unsettled(record)) {
            changed |= self.settle_now(record).await;
        }
        let records = if changed { self.read(Record::all).await? } else { records };
        self.sweep_directories(&records).await?;
        let clones = self.clones();
        blocking(move || {
            PrivateDirectory::sweep(&clones);
            Ok(records)
        })
        .await
    }

    /// Settles a workspace that nobody else takes anywhere, where that takes next to no time. Returns whether it may be another
    /// one than `record` says.
    pub(super) async fn settle_now(&self, record: &Record) -> bool {
        let directory = self.workspace_directory(&record.id);
        // What has just expired is being removed by its supervisor.
        let overdue = Timestamp::now().duration_since(record.expires_at) > SUPERVISORS_TURN;
        if record.is_expired() && !overdue && directory.is_supervised() {
            return false;
        }
        let lock = match self.lock(&record.id, Duration::ZERO).await {
            Ok(lock) => lock,
            Err(error) => return error.kind() == ErrorKind::NotFound,
        };
        let id = record.id.clone();
        // Whoever had the turn since `record` was read may have settled it.
        match self.read(move |store| Record::find(store, &id)).await {
            Ok(Some(now)) if !self.is_unsettled(&now) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
        if directory.is_supervised() && supervisor::kill(&directory).is_err() {
            return false;
        }
        self.is_free(&directory).await && self.settle(&record.id, lock).await.is_ok()
    }

    /// Whether nobody uses a workspace whose supervisor has gone, or was killed: its VMM may take a moment to end, for which
    /// nobody waits long.
    async fn is_free(&self, directory: &WorkspaceDirectory) -> bool {
        let directory = directory.clone();
        let is_free = blocking(move || Ok(directory.is_unused_within(GLANCE)?));
        is_free.await.unwrap_or(false)
    }

    /// Removes the files of what was never recorded: whoever made them was killed first.
    async fn sweep_directories(&self, records: &[Record]) -> Result<(), PyroError> {
        let (store, data, known) = (self.store().await?, self.dirs().data().to_owned(), records.len());
        let recorded: Vec<_> = records.iter().map(|record| record.id.clone()).collect();
        blocking(move || {
            let entries = std::fs::read_dir(WorkspaceDirectory::parent(&data));
            let entries: Vec<_> = entries.into_iter().flatten().flatten().collect();
            if entries.len() <= known {
                return Ok(());
            }
            for entry in entries {
                let id = WorkspaceId::parse(&entry.file_name().to_string_lossy());
                // Before a workspace is recorded it has no disk: what has one is somebody's, whatever the store says.
                let directory = WorkspaceDirectory::new(&data, &id);
                if !id.is_well_formed() || directory.disk().exists() || directory.is_supervised() {
                    continue;
                }
                if recorded.contains(&id) {
                    continue;
                }
                let Ok(_lock) = directory.lock(Duration::ZERO) else { continue };
                // It may have been recorded since.
                if store.read(|store| Record::find(store, &id))?.is_none() {
                    // What cannot be removed now is tried again by the next call.
                    let _left = directory.remove();
                }
            }
            Ok(())
        })
        .await
    }

    /// From here on a workspace does not exist for anyone, whatever happens to this process; on a full host, which has no room for
    /// a record, once its files are gone.
    pub(super) async fn mark_deleting(&self, id: &WorkspaceId) -> Result<(), PyroError> {
        let marked = id.clone();
        let marking = self.transact(move |store| Record::set_state(store, &marked, WorkspaceState::Deleting));
        marking.await.or_else(|error| if error.kind() == ErrorKind::Exhausted { Ok(()) } else { Err(error) })
    }

    /// Removes the files of a workspace and then its record. For whoever has the turn.
    pub(super) async fn remove_workspace_files(&self, id: &WorkspaceId) -> Result<(), PyroError> {
        self.mark_deleting(id).await?;
        let (directory, removed) = (self.workspace_directory(id), id.clone());
        blocking(move || directory.remove()).await?;
        self.transact(move |store| Record::delete(store, &removed)).await
    }
}
