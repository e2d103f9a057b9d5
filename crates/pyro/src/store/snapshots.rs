//! The named snapshots of workspaces.

use super::{StoreError, milliseconds, now, timestamp};
use crate::workspace::{SnapshotName, WorkspaceId};
use jiff::Timestamp;
use rusqlite::{Transaction, params};

/// A named snapshot, whose file is in place.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotRow {
    pub(crate) name: String,
    pub(crate) created_at: Timestamp,
    /// Bytes on the host's disk.
    pub(crate) bytes: u64,
}

impl SnapshotRow {
    pub(crate) fn insert(
        store: &Transaction<'_>,
        id: &WorkspaceId,
        name: &SnapshotName,
        bytes: u64,
    ) -> Result<(), StoreError> {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        store.execute(
            "INSERT INTO snapshots (workspace_id, name, created_at, bytes) VALUES (?1, ?2, ?3, ?4)",
            params![id.as_str(), name.as_str(), milliseconds(now()), bytes],
        )?;
        Ok(())
    }

    /// Those of one workspace, the oldest first.
    pub(crate) fn all(store: &Transaction<'_>, id: &WorkspaceId) -> Result<Vec<Self>, StoreError> {
        let mut query = store.prepare(
            "SELECT name, created_at, bytes FROM snapshots WHERE workspace_id = ?1 ORDER BY created_at, name",
        )?;
        let rows = query.query_map([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        rows.map(|row: rusqlite::Result<(String, i64, i64)>| {
            let (name, created_at, bytes) = row?;
            let created_at = timestamp(created_at)?;
            Ok(Self { name, created_at, bytes: bytes.try_into().unwrap_or_default() })
        })
        .collect()
    }

    pub(crate) fn delete(
        store: &Transaction<'_>,
        id: &WorkspaceId,
        name: &SnapshotName,
    ) -> Result<(), StoreError> {
        let sql = "DELETE FROM snapshots WHERE workspace_id = ?1 AND name = ?2";
        store.execute(sql, params![id.as_str(), name.as_str()])?;
        Ok(())
    }
}
