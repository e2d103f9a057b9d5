//! What was done in workspaces since their last reset: every command with its output, and every other change as an event.

use super::{Record, StoreError, milliseconds, now, timestamp};
use crate::workspace::WorkspaceId;
use jiff::Timestamp;
use rusqlite::{Transaction, params};
use serde::{Deserialize, Serialize};

/// Outputs of one workspace that are kept together, in bytes; those of the oldest commands go first.
const MAX_OUTPUT_BYTES: i64 = 64 * 1024 * 1024;

/// A command that begins.
#[derive(Debug, Clone)]
pub(crate) struct NewCommand {
    pub(crate) command: Vec<String>,
    /// Who waits for it.
    pub(crate) waiter: String,
}

/// A command in the journal, as no other one before or after is named.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CommandKey {
    key: i64,
    /// Its number since the last reset.
    pub(crate) sequence: u64,
}

/// How a command ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CommandOutcome {
    /// Absent when whoever waited for it was gone first, or the guest.
    pub(crate) exit_code: Option<u8>,
    pub(crate) timed_out: bool,
    pub(crate) duration_ms: u64,
    pub(crate) stdout_bytes: u64,
    pub(crate) stderr_bytes: u64,
    pub(crate) truncated: bool,
    /// Why there is no exit code.
    pub(crate) interrupted: Option<String>,
}

/// A command in the journal.
#[derive(Debug, Clone)]
pub(crate) struct CommandEntry {
    pub(crate) sequence: u64,
    pub(crate) command: Vec<String>,
    pub(crate) started_at: Timestamp,
    pub(crate) waiter: String,
    pub(crate) outcome: Option<CommandOutcome>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// What else was done to a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Event {
    /// A file was written.
    FileWritten { path: String, bytes: u64 },
    /// A patch was applied.
    PatchApplied { added: u64, modified: u64, deleted: u64 },
    /// Something was imported.
    Synced { source: String, dest: String, entries: u64, bytes: u64 },
    /// Something was exported.
    Exported { path: String, output: String, artifact_type: String, entries: u64, bytes: u64 },
    /// A snapshot was taken.
    SnapshotCreated { name: String },
    /// A snapshot was deleted.
    SnapshotDeleted { name: String },
}

impl NewCommand {
    /// Records that the command begins.
    pub(crate) fn insert(&self, store: &Transaction<'_>, id: &WorkspaceId) -> Result<CommandKey, StoreError> {
        let (key, sequence): (i64, i64) = store.query_row(
            "INSERT INTO commands (workspace_id, sequence, command, started_at, waiter, stdout, stderr) \
             VALUES (?1, (SELECT coalesce(max(sequence), 0) + 1 FROM commands WHERE workspace_id = ?1), ?2, ?3, ?4, '', '') \
             RETURNING id, sequence",
            params![id.as_str(), serde_json::to_string(&self.command)?, milliseconds(now()), self.waiter],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        Record::touch(store, id)?;
        Ok(CommandKey { key, sequence: sequence.try_into().unwrap_or_default() })
    }
}

impl CommandOutcome {
    /// Records how a command ended.
    pub(crate) fn update(
        &self,
        store: &Transaction<'_>,
        id: &WorkspaceId,
        command: CommandKey,
        (stdout, stderr): (&str, &str),
    ) -> Result<(), StoreError> {
        store.execute(
            "UPDATE commands SET outcome = ?2, stdout = ?3, stderr = ?4 WHERE id = ?1",
            params![command.key, serde_json::to_string(self)?, stdout, stderr],
        )?;
        Record::touch(store, id)?;
        forget_oldest(store, id)
    }
}

/// Drops the outputs, not the commands, that are over the limit.
fn forget_oldest(store: &Transaction<'_>, id: &WorkspaceId) -> Result<(), StoreError> {
    store.execute(
        "UPDATE commands SET stdout = '', stderr = '', outcome = json_set(outcome, '$.truncated', json('true')) \
         WHERE workspace_id = ?1 AND outcome IS NOT NULL AND (length(stdout) > 0 OR length(stderr) > 0) AND sequence <= ( \
           SELECT max(sequence) FROM ( \
             SELECT sequence, sum(octet_length(stdout) + octet_length(stderr)) OVER (ORDER BY sequence DESC) AS kept \
             FROM commands WHERE workspace_id = ?1) \
           WHERE kept > ?2)",
        params![id.as_str(), MAX_OUTPUT_BYTES],
    )?;
    Ok(())
}

impl CommandEntry {
    /// How many there are of one workspace.
    pub(crate) fn count(store: &Transaction<'_>, id: &WorkspaceId) -> Result<usize, StoreError> {
        let sql = "SELECT count(*) FROM commands WHERE workspace_id = ?1";
        let count: i64 = store.query_row(sql, [id.as_str()], |row| row.get(0))?;
        Ok(count.try_into().unwrap_or_default())
    }

    /// Those of one workspace, in their order.
    pub(crate) fn all(store: &Transaction<'_>, id: &WorkspaceId) -> Result<Vec<Self>, StoreError> {
        type Raw = (i64, String, i64, String, Option<String>, String, String);
        let mut query = store.prepare(
            "SELECT sequence, command, started_at, waiter, outcome, stdout, stderr FROM commands \
             WHERE workspace_id = ?1 ORDER BY sequence",
        )?;
        let rows = query.query_map([id.as_str()], |row| Raw::try_from(row))?;
        rows.map(|row| {
            let (sequence, command, started_at, waiter, outcome, stdout, stderr): Raw = row?;
            Ok(Self {
                sequence: sequence.try_into().unwrap_or_default(),
                command: serde_json::from_str(&command)?,
                started_at: timestamp(started_at)?,
                waiter,
                outcome: outcome.as_deref().map(serde_json::from_str).transpose()?,
                stdout,
                stderr,
            })
        })
        .collect()
    }
}

impl Event {
    pub(crate) fn insert(&self, store: &Transaction<'_>, id: &WorkspaceId) -> Result<(), StoreError> {
        store.execute(
            "INSERT INTO events (workspace_id, at, detail) SELECT id, ?2, ?3 FROM workspaces WHERE id = ?1",
            params![id.as_str(), milliseconds(now()), serde_json::to_string(self)?],
        )?;
        // An export only reads.
        if matches!(self, Self::Exported { .. }) { Ok(()) } else { Record::touch(store, id) }
    }

    /// Those of one workspace, in their order.
    pub(crate) fn all(
        store: &Transaction<'_>,
        id: &WorkspaceId,
    ) -> Result<Vec<(Timestamp, Self)>, StoreError> {
        let mut query =
            store.prepare("SELECT at, detail FROM events WHERE workspace_id = ?1 ORDER BY sequence")?;
        let rows = query.query_map([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.map(|row: rusqlite::Result<(i64, String)>| {
            let (at, detail) = row?;
            Ok((timestamp(at)?, serde_json::from_str(&detail)?))
        })
        .collect()
    }
}
