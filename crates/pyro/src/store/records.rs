//! The record of each workspace.

use super::{StoreError, milliseconds, now, timestamp};
use crate::network::{NamePattern, NetworkPolicy, NetworkRules};
use crate::vm::StartKind;
use crate::workspace::{SecretInfo, Seed, WorkspaceId};
use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, Transaction, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a workspace is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum WorkspaceState {
    /// It is being made; when whoever makes it dies, it never was.
    Creating,
    /// Its guest is up.
    Running,
    /// It has its disk and no guest.
    Stopped,
    /// It is being removed, and does not exist for anyone.
    Deleting,
}

impl WorkspaceState {
    /// The name in results, and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Deleting => "deleting",
        }
    }
}

/// What a workspace was created as.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) environment: String,
    /// Digest of the environment's image; absent where commands run on the host.
    pub(crate) image_digest: Option<String>,
    pub(crate) vcpu_count: u32,
    pub(crate) mem_mib: u32,
    pub(crate) ttl_seconds: u64,
    pub(crate) allow_host_compat: bool,
    pub(crate) network_policy: NetworkPolicy,
    #[serde(default)]
    pub(crate) allow_hosts: Vec<NamePattern>,
    pub(crate) seed: Seed,
    /// Names alone; the values are in the workspace's directory.
    #[serde(default)]
    pub(crate) secrets: Vec<SecretInfo>,
}

impl Origin {
    /// What its guest's network is to be.
    pub(crate) fn network(&self) -> NetworkRules {
        NetworkRules { policy: self.network_policy, allow_hosts: self.allow_hosts.clone() }
    }
}

/// How a machine came up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Started {
    pub(crate) engine: String,
    pub(crate) execution_mode: String,
    /// Absent where it is no machine.
    pub(crate) start: Option<StartKind>,
    pub(crate) cold_start_reason: Option<String>,
    pub(crate) fallback_reason: Option<String>,
}

/// A workspace, as the store has it.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) id: WorkspaceId,
    pub(crate) state: WorkspaceState,
    pub(crate) stop_reason: Option<String>,
    pub(crate) generation: i64,
    pub(crate) name: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) origin: Origin,
    pub(crate) started: Option<Started>,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) last_activity_at: Timestamp,
    pub(crate) reset_count: u64,
    pub(crate) last_reset_at: Option<Timestamp>,
    pub(crate) pending_reset: Option<String>,
}

/// A workspace to be recorded, in state [`WorkspaceState::Creating`].
#[derive(Debug, Clone)]
pub(crate) struct NewWorkspace {
    pub(crate) id: WorkspaceId,
    pub(crate) name: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) origin: Origin,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
}

const COLUMNS: &str = "id, state, stop_reason, generation, name, labels, origin, started, created_at, expires_at, \
                       last_activity_at, reset_count, last_reset_at, pending_reset";

impl NewWorkspace {
    pub(crate) fn insert(&self, store: &Transaction<'_>) -> Result<(), StoreError> {
        store.execute(
            &format!("INSERT INTO workspaces ({COLUMNS}) VALUES (?1, 'creating', NULL, 0, ?2, ?3, ?4, NULL, ?5, ?6, ?5, 0, NULL, NULL)"),
            params![
                self.id.as_str(),
                self.name,
                serde_json::to_string(&self.labels)?,
                serde_json::to_string(&self.origin)?,
                milliseconds(self.created_at),
                milliseconds(self.expires_at),
            ],
        )?;
        Ok(())
    }
}

impl Record {
    pub(crate) fn find(store: &Transaction<'_>, id: &WorkspaceId) -> Result<Option<Self>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM workspaces WHERE id = ?1");
        let row = store.prepare(&sql)?.query_row([id.as_str()], Raw::of).optional()?;
        row.map(Raw::into_record).transpose()
    }

    /// All of them, the most recently active one first.
    pub(crate) fn all(store: &Transaction<'_>) -> Result<Vec<Self>, StoreError> {
        let sql =
            format!("SELECT {COLUMNS} FROM workspaces ORDER BY last_activity_at DESC, created_at DESC, id");
        let mut query = store.prepare(&sql)?;
        let rows = query.query_map([], Raw::of)?;
        rows.map(|row| row?.into_record()).collect()
    }

    pub(crate) fn set_name(
        store: &Transaction<'_>,
        id: &WorkspaceId,
        name: Option<&str>,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), StoreError> {
        let labels = serde_json::to_string(labels)?;
        store.execute(
            "UPDATE workspaces SET name = ?2, labels = ?3 WHERE id = ?1",
            params![id.as_str(), name, labels],
        )?;
        Ok(())
    }

    pub(crate) fn set_origin(
        store: &Transaction<'_>,
        id: &WorkspaceId,
        origin: &Origin,
    ) -> Result<(), StoreError> {
        store.execute(
            "UPDATE workspaces SET origin = ?2 WHERE id = ?1",
            params![id.as_str(), serde_json::to_string(origin)?],
        )?;
        Ok(())
    }

    /// Something was done to the workspace.
    pub(crate) fn touch(store: &Transaction<'_>, id: &WorkspaceId) -> Result<(), StoreError> {
        store.execute(
            "UPDATE workspaces SET last_activity_at = max(last_activity_at, ?2) WHERE id = ?1",
            params![id.as_str(), milliseconds(now())],
        )?;
        Ok(())
    }

    /// A machine came up. Returns its generation; `None` when the workspace is not there any more.
    pub(crate) fn set_started(
        store: &Transaction<'_>,
        id: &WorkspaceId,
        state: WorkspaceState,
        started: &Started,
    ) -> Result<Option<i64>, StoreError> {
        let generation = store
            .query_row(
                "UPDATE workspaces SET state = ?2, stop_reason = NULL, pending_reset = NULL, started = ?3, \
                 generation = generation + 1 \
                 WHERE id = ?1 AND state != 'deleting' RETURNING generation",
                params![id.as_str(), state.as_str(), serde_json::to_string(started)?],
                |row| row.get(0),
            )
            .optional()?;
        Ok(generation)
    }

    pub(crate) fn set_state(
        store: &Transaction<'_>,
        id: &WorkspaceId,
        state: WorkspaceState,
    ) -> Result<(), StoreError> {
        store.execute(
            "UPDATE workspaces SET state = ?2, stop_reason = NULL WHERE id = ?1",
            params![id.as_str(), state.as_str()],
        )?;
        Ok(())
    }

    /// The machine of this generation is gone. Returns false, with nothing done, when the workspace does not run on it.
    pub(crate) fn set_stopped(
        store: &Transaction<'_>,
        id: &WorkspaceId,
        generation: i64,
        reason: Option<&str>,
    ) -> Result<bool, StoreError> {
        let changed = store.execute(
            "UPDATE workspaces SET state = 'stopped', stop_reason = ?3 WHERE id = ?1 AND generation = ?2 AND state = 'running'",
            params![id.as_str(), generation, reason],
        )?;
        Ok(changed > 0)
    }

    /// The disk for a reset to `snapshot` is ready: from here on the reset is completed, whatever happens.
    pub(crate) fn begin_reset(
        store: &Transaction<'_>,
        id: &WorkspaceId,
        snapshot: &str,
    ) -> Result<(), StoreError> {
        store.execute(
            "UPDATE workspaces SET pending_reset = ?2 WHERE id = ?1",
            params![id.as_str(), snapshot],
        )?;
        Ok(())
    }

    /// The disk is in place: what was known of the time before is forgotten. The reset stays pending until the guest is up.
    pub(crate) fn finish_reset(store: &Transaction<'_>, id: &WorkspaceId) -> Result<(), StoreError> {
        for table in ["commands", "events", "services", "network_events"] {
            store.execute(&format!("DELETE FROM {table} WHERE workspace_id = ?1"), [id.as_str()])?;
        }
        let time = milliseconds(now());
        store.execute(
            "UPDATE workspaces SET state = 'stopped', stop_reason = 'it was reset, and no guest was started after that', \
             pending_reset = '', reset_count = reset_count + 1, last_reset_at = ?2, last_activity_at = ?2 WHERE id = ?1",
            params![id.as_str(), time],
        )?;
        Ok(())
    }

    /// The guest of a reset workspace did not come up: it is stopped, as the record says.
    pub(crate) fn give_up_reset(store: &Transaction<'_>, id: &WorkspaceId) -> Result<(), StoreError> {
        store.execute("UPDATE workspaces SET pending_reset = NULL WHERE id = ?1", [id.as_str()])?;
        Ok(())
    }

    pub(crate) fn delete(store: &Transaction<'_>, id: &WorkspaceId) -> Result<(), StoreError> {
        store.execute("DELETE FROM workspaces WHERE id = ?1", [id.as_str()])?;
        Ok(())
    }

    pub(crate) fn is_expired(&self) -> bool {
        Timestamp::now() >= self.expires_at
    }
}

/// A row as it is stored.
struct Raw {
    id: String,
    state: String,
    stop_reason: Option<String>,
    generation: i64,
    name: Option<String>,
    labels: String,
    origin: String,
    started: Option<String>,
    times: [i64; 3],
    reset_count: u64,
    last_reset_at: Option<i64>,
    pending_reset: Option<String>,
}

impl Raw {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            state: row.get(1)?,
            stop_reason: row.get(2)?,
            generation: row.get(3)?,
            name: row.get(4)?,
            labels: row.get(5)?,
            origin: row.get(6)?,
            started: row.get(7)?,
            times: [row.get(8)?, row.get(9)?, row.get(10)?],
            reset_count: row.get::<_, i64>(11)?.try_into().unwrap_or_default(),
            last_reset_at: row.get(12)?,
            pending_reset: row.get(13)?,
        })
    }

    fn into_record(self) -> Result<Record, StoreError> {
        let [created_at, expires_at, last_activity_at] = self.times;
        Ok(Record {
            id: WorkspaceId::parse(&self.id),
            // A state that is not known here is nothing to act upon.
            state: serde_json::from_value(self.state.into())?,
            stop_reason: self.stop_reason,
            generation: self.generation,
            name: self.name,
            labels: serde_json::from_str(&self.labels)?,
            origin: serde_json::from_str(&self.origin)?,
            started: self.started.as_deref().map(serde_json::from_str).transpose()?,
            created_at: timestamp(created_at)?,
            expires_at: timestamp(expires_at)?,
            last_activity_at: timestamp(last_activity_at)?,
            reset_count: self.reset_count,
            last_reset_at: self.last_reset_at.map(timestamp).transpose()?,
            pending_reset: self.pending_reset,
        })
    }
}
