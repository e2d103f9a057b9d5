//! How an operation finds its workspace.
//!
//! The record says what was acknowledged, the locks who is alive. Where the two disagree, somebody was killed; whoever comes
//! next sets it right under the workspace's lock, and then looks again.

use super::supervisor;
use super::{Redaction, WorkspaceDirectory, WorkspaceError, WorkspaceId};
use crate::engine::blocking;
use crate::private_directory::PrivateDirectory;
use crate::store::{Record, StoreError, WorkspaceState};
use crate::{Pyro, PyroError};
use jiff::{SignedDuration, Timestamp};
use pyro_protocol::WORKSPACE_DIR;
use pyro_protocol::error::Diagnostic;
use pyro_protocol::error::ErrorKind;
use pyro_protocol::v1::FailureKind;
use pyro_runtime::BundleError;
use pyro_runtime::lock::FileLock;
use pyro_vmm::guest::ArchiveOwner;
use pyro_vmm::{ExecutionMode, Guest, VmmError};
use rusqlite::Transaction;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How long another process may take to start, reset, stop or copy the same workspace.
const TURN_PATIENCE: Duration = Duration::from_mins(2);
/// A host's file system with less room than this takes next to nothing any more.
const FULL_BELOW_BYTES: u64 = 4 << 20;
/// How long a list waits for a process that was killed.
const GLANCE: Duration = Duration::from_millis(300);
/// How long whoever ended a guest may take to record it.
const RECORDING_PATIENCE: Duration = Duration::from_secs(5);
/// How long a supervisor may take to see that its guest has gone, and how often that is looked for.
const NOTICING: Duration = Duration::from_secs(2);
const NOTICED_AGAIN: Duration = Duration::from_millis(20);
/// How long a supervisor may take to remove its workspace, once that has expired.
const SUPERVISORS_TURN: SignedDuration = SignedDuration::from_mins(1);

/// A running workspace, and the way into its guest.
pub(crate) struct Session {
    pub(crate) record: Record,
    pub(crate) guest: Guest,
    /// The directory in the guest that is the workspace.
    pub(crate) root: Vec<u8>,
    /// What must not show of what comes out of it.
    pub(crate) redaction: Redaction,
}

/// The right to take a workspace to another state, and how it stands.
pub(crate) struct Turn {
    pub(crate) record: Record,
    pub(crate) directory: WorkspaceDirectory,
    lock: Arc<FileLock>,
}

impl Pyro {
    pub(crate) fn workspace_directory(&self, id: &WorkspaceId) -> WorkspaceDirectory {
        WorkspaceDirectory::new(self.dirs().data(), id)
    }

    /// The record of a workspace, after setting right what a crash left behind.
    pub(crate) async fn workspace(&self, id: &WorkspaceId) -> Result<Record, PyroError> {
        loop {
            let record = self.find_record(id).await?;
            if !self.is_unsettled(&record) {
                return Ok(record);
            }
            let is_leaving = record.is_leaving();
            let is_coming = record.state == WorkspaceState::Creating;
            let patience = if is_leaving || is_coming { Duration::ZERO } else { TURN_PATIENCE };
            match self.lock(id, patience).await {
                Ok(lock) => self.settle(id, lock).await?,
                Err(error) if is_coming && error.kind() != ErrorKind::NotFound => {
                    return Err(wrong_state(&record, "this", "running"));
                }
                Err(_) if is_leaving => return Err(expired(&record)),
                Err(error) => return Err(error),
            }
            if is_leaving {
                return Err(expired(&record));
            }
        }
    }

    /// A running workspace, for doing `operation` in its guest.
    pub(crate) async fn session(
        &self,
        id: &WorkspaceId,
        operation: &'static str,
    ) -> Result<Session, PyroError> {
        let record = self.workspace(id).await?;
        if record.state != WorkspaceState::Running {
            return Err(wrong_state(&record, operation, "running"));
        }
        let directory = self.workspace_directory(id);
        let root = if record.is_guest() {
            WORKSPACE_DIR.as_bytes().to_vec()
        } else {
            directory.machine().as_os_str().as_bytes().to_vec()
        };
        let redaction = self.redaction(&record).await?;
        Ok(Session { record, guest: Guest::at(directory.guest_socket()), root, redaction })
    }

    /// What must not show of what comes out of a workspace.
    pub(crate) async fn redaction(&self, record: &Record) -> Result<Redaction, PyroError> {
        match Redaction::load(record, &self.workspace_directory(&record.id)).await {
            Ok(redaction) => Ok(redaction),
            Err(error) => {
                // It may just have been deleted.
                self.workspace(&record.id).await?;
                Err(error)
            }
        }
    }

    /// The right to take a workspace to another state.
    pub(crate) async fn turn(&self, id: &WorkspaceId) -> Result<Turn, PyroError> {
        self.workspace(id).await?;
        let mut turn = self.turn_as_left(id).await?;
        if self.is_unsettled(&turn.record) {
            self.repair(&turn).await?;
            turn.record = self.find_record(id).await?;
        }
        self.remove_stray_copies(&turn).await?;
        Ok(turn)
    }

    /// The right to remove a workspace. What a crash left behind is not set right first: a full host has no room for that.
    pub(crate) async fn turn_to_delete(&self, id: &WorkspaceId) -> Result<Turn, PyroError> {
        if self.find_record(id).await?.is_to_be_removed() {
            self.workspace(id).await?;
        }
        self.turn_as_left(id).await
    }

    /// The right to take a workspace to another state; whoever had it before may have been killed.
    async fn turn_as_left(&self, id: &WorkspaceId) -> Result<Turn, PyroError> {
        let lock = self.lock(id, TURN_PATIENCE).await?;
        let record = self.find_record(id).await?;
        if record.is_leaving() {
            return Err(expired(&record));
        }
        Ok(Turn { record, directory: self.workspace_directory(id), lock: Arc::new(lock) })
    }

    /// What made a guest's disk fail: when the host has no room for what it writes, that.
    pub(super) fn blame_host(&self, id: &WorkspaceId, error: PyroError) -> PyroError {
        let by_disk = matches!(
            error,
            PyroError::Vmm(VmmError::Refused { kind: FailureKind::Io, .. })
                | PyroError::Bundle(BundleError::Tool { .. })
        );
        let free = rustix::fs::statvfs(self.workspace_directory(id).path());
        let is_full = free.is_ok_and(|free| free.f_bavail.saturating_mul(free.f_frsize) < FULL_BELOW_BYTES);
        if by_disk && is_full {
            return WorkspaceError::HostFull { id: id.clone(), source: Box::new(error) }.into();
        }
        error
    }

    /// What made a call into the guest fail: when the workspace has changed meanwhile, that. In words that show no secret.
    pub(crate) async fn explain(&self, session: &Session, error: impl Into<PyroError>) -> PyroError {
        let error = self.blame_host(&session.record.id, error.into());
        session.redaction.error(self.blame_change(session, error).await)
    }

    async fn blame_change(&self, session: &Session, error: PyroError) -> PyroError {
        let gone = match &error {
            PyroError::Vmm(VmmError::ChannelClosed { .. }) => true,
            other => other.kind() == ErrorKind::GuestUnavailable,
        };
        if !gone {
            return error;
        }
        let id = &session.record.id;
        let mut since = None;
        loop {
            return match self.after_the_others(id).await {
                // Its record may be gone by now.
                Err(_) if session.record.is_expired() => expired(&session.record),
                Err(now) => now,
                Ok(now) if now.generation != session.record.generation => {
                    WorkspaceError::Interrupted { id: id.clone() }.into()
                }
                Ok(now) if now.state != WorkspaceState::Running => {
                    wrong_state(&now, "what was going on", "running")
                }
                // A call may see a guest's end before the supervisor does.
                Ok(_) if since.get_or_insert_with(Instant::now).elapsed() < NOTICING => {
                    sleep(NOTICED_AGAIN).await;
                    continue;
                }
                Ok(_) => error,
            };
        }
    }

    /// Waits until whoever takes the workspace to another state, and so may have ended its guest, has recorded that.
    async fn after_the_others(&self, id: &WorkspaceId) -> Result<Record, PyroError> {
        // Where it takes too long, or the workspace is gone, the record says so.
        drop(self.lock(id, RECORDING_PATIENCE).await);
        self.workspace(id).await
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
    async fn settle_now(&self, record: &Record) -> bool {
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

    /// Removes the files of a workspace and then its record. For whoever has the turn.
    pub(crate) async fn remove_workspace_files(&self, id: &WorkspaceId) -> Result<(), PyroError> {
        let marked = id.clone();
        let marking =
            self.transact(move |store| Record::set_state(store, &marked, WorkspaceState::Deleting)).await;
        // There is room for a record once there are fewer files.
        marking.or_else(|error| if error.kind() == ErrorKind::Exhausted { Ok(()) } else { Err(error) })?;
        let (directory, removed) = (self.workspace_directory(id), id.clone());
        blocking(move || directory.remove()).await?;
        self.transact(move |store| Record::delete(store, &removed)).await
    }

    async fn lock(&self, id: &WorkspaceId, patience: Duration) -> Result<FileLock, PyroError> {
        let (directory, busy) = (self.workspace_directory(id), id.clone());
        let present = directory.clone();
        let locked = blocking(move || Ok(directory.lock(patience))).await?;
        match locked {
            Ok(lock) => Ok(lock),
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                Err(WorkspaceError::Busy { id: busy }.into())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let record = self.find_record(id).await?;
                if record.is_to_be_removed() {
                    // Whoever removed its files removes the record next, unless it was killed: what is made here now would stay.
                    self.transact(move |store| Record::delete(store, &busy)).await?;
                    return Err(expired(&record));
                }
                // Not pyro, which says so on the record first, where there is room for that.
                let lock = blocking(move || {
                    present.create()?;
                    Ok(present.lock(Duration::ZERO)?)
                });
                lock.await.map_err(|_| error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn find_record(&self, id: &WorkspaceId) -> Result<Record, PyroError> {
        let wanted = id.clone();
        let (found, others) = self
            .read(move |store| {
                let found = Record::find(store, &wanted)?;
                let others = if found.is_some() { vec![] } else { Record::all(store)? };
                Ok((found, others))
            })
            .await?;
        found.ok_or_else(|| WorkspaceError::Unknown { id: id.clone(), near: near(id, &others) }.into())
    }

    /// Whether a record claims what is not so, or what is not to stay.
    fn is_unsettled(&self, record: &Record) -> bool {
        let must_live = record.state == WorkspaceState::Running;
        record.is_to_be_removed()
            || record.pending_reset.is_some()
            || must_live && !self.workspace_directory(&record.id).is_supervised()
    }

    /// Sets right what is wrong, if it still is.
    async fn settle(&self, id: &WorkspaceId, lock: FileLock) -> Result<(), PyroError> {
        let (wanted, directory) = (id.clone(), self.workspace_directory(id));
        let Some(record) = self.read(move |store| Record::find(store, &wanted)).await? else {
            // It was removed while we waited, and what we locked is a leftover of our own.
            return blocking(move || directory.remove()).await;
        };
        if self.is_unsettled(&record) {
            self.repair(&Turn { record, directory, lock: Arc::new(lock) }).await?;
        }
        Ok(())
    }

    async fn repair(&self, turn: &Turn) -> Result<(), PyroError> {
        let (record, directory) = (&turn.record, &turn.directory);
        // Where there is still a guest, the kernel has ended its VMM with its supervisor, or is about to.
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
}

impl Turn {
    /// Runs blocking work that others must not come in between. It is not ended with its future, and keeps the turn until it is
    /// done.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PyroError> + Send + 'static,
    ) -> Result<T, PyroError> {
        let lock = Arc::clone(&self.lock);
        blocking(move || {
            let done = work();
            drop(lock);
            done
        })
        .await
    }

    /// Records what was done, likewise.
    pub(crate) async fn transact<T: Send + 'static>(
        &self,
        pyro: &Pyro,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, PyroError> {
        let store = pyro.store().await?;
        self.blocking(move || Ok(store.transact(work)?)).await
    }
}

impl Session {
    /// Who owns what is imported: whoever works in the workspace.
    pub(crate) fn archive_owner(&self) -> ArchiveOwner {
        if self.record.is_guest() { ArchiveOwner::Root } else { ArchiveOwner::Archived }
    }
}

impl Record {
    /// It was deleted, or its time has passed.
    pub(crate) fn is_leaving(&self) -> bool {
        self.is_expired() || self.state == WorkspaceState::Deleting
    }

    /// Nobody is to have it: for whoever has the turn it is there to be removed.
    fn is_to_be_removed(&self) -> bool {
        self.is_leaving() || self.state == WorkspaceState::Creating
    }

    /// It has a guest, or will when started; otherwise its commands run on the host.
    pub(crate) fn is_guest(&self) -> bool {
        self.origin.image_digest.is_some()
    }

    /// Fails where commands run on the host.
    pub(crate) fn require_guest(&self, operation: &'static str) -> Result<(), PyroError> {
        if self.is_guest() {
            return Ok(());
        }
        Err(WorkspaceError::NeedsGuest { id: self.id.clone(), operation }.into())
    }

    /// Fails unless this is the digest of the image that the workspace was created with: what its disk holds are the
    /// differences from that.
    pub(crate) fn require_image(&self, digest: Option<&str>) -> Result<(), PyroError> {
        if self.origin.image_digest.as_deref() == digest {
            return Ok(());
        }
        let environment = self.origin.environment.clone();
        Err(WorkspaceError::EnvironmentChanged { id: self.id.clone(), environment }.into())
    }

    pub(crate) fn execution_mode(&self) -> &str {
        self.started.as_ref().map_or(ExecutionMode::HostCompat.as_str(), |started| &started.execution_mode)
    }
}

pub(crate) fn wrong_state(record: &Record, operation: &'static str, needed: &'static str) -> PyroError {
    WorkspaceError::WrongState {
        id: record.id.clone(),
        state: record.state.as_str(),
        reason: record.stop_reason.clone(),
        operation,
        needed,
    }
    .into()
}

pub(crate) fn expired(record: &Record) -> PyroError {
    let id = record.id.clone();
    if record.is_expired() {
        return WorkspaceError::Expired { id, ttl_seconds: record.origin.ttl_seconds }.into();
    }
    WorkspaceError::Unknown { id, near: vec![] }.into()
}

/// The workspaces that may be meant by `id`: by a similar id, or by their name.
fn near(id: &WorkspaceId, records: &[Record]) -> Vec<String> {
    const SIMILAR: f64 = 0.85;
    const MOST: usize = 3;
    let score = |record: &Record| {
        let by_id = strsim::jaro_winkler(id.as_str(), record.id.as_str());
        let by_name = record.name.as_deref().map_or(0.0, |name| strsim::jaro_winkler(id.as_str(), name));
        by_id.max(by_name)
    };
    let present = records.iter().filter(|record| !record.is_leaving());
    let mut ranked: Vec<(f64, &Record)> = present.map(|record| (score(record), record)).collect();
    ranked.sort_by(|left, right| right.0.total_cmp(&left.0));
    let shown = ranked.into_iter().filter(|(score, _)| *score > SIMILAR).take(MOST);
    shown
        .map(|(_, record)| match &record.name {
            Some(name) => format!("{} ({name})", record.id),
            None => record.id.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
