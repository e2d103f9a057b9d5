//! How an operation finds its workspace.
//!
//! What was read is true when it is used: what a crash left behind is settled first, and who changes a workspace has its turn.

use super::{Redaction, WorkspaceDirectory, WorkspaceError, WorkspaceId};
use crate::engine::blocking;
use crate::store::{Record, StoreError, WorkspaceState};
use crate::{Pyro, PyroError};
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
/// How long whoever ended a guest may take to record it.
const RECORDING_PATIENCE: Duration = Duration::from_secs(5);
/// How long a supervisor may take to see that its guest has gone, and how often that is looked for.
const NOTICING: Duration = Duration::from_secs(2);
const NOTICED_AGAIN: Duration = Duration::from_millis(20);

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
        Ok(Turn::new(record, self.workspace_directory(id), lock))
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

    pub(super) async fn lock(&self, id: &WorkspaceId, patience: Duration) -> Result<FileLock, PyroError> {
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
}

impl Turn {
    pub(super) fn new(record: Record, directory: WorkspaceDirectory, lock: FileLock) -> Self {
        Self { record, directory, lock: Arc::new(lock) }
    }

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
    pub(super) fn is_to_be_removed(&self) -> bool {
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
