//! What is kept of services.

use super::StoreError;
use super::{milliseconds, now};
use crate::workspace::{PublishedPort, WorkspaceId};
use rusqlite::{Transaction, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a service was started with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServiceDefinition {
    /// Program and arguments.
    pub(crate) command: Vec<String>,
    /// The directory that it was started in.
    pub(crate) cwd: String,
    /// What made it ready, as text.
    pub(crate) readiness: Option<String>,
    /// Where it could be reached from the host while it lived.
    #[serde(default)]
    pub(crate) published_ports: Vec<PublishedPort>,
}

/// A service, as known last.
#[derive(Debug, Clone)]
pub(crate) struct ServiceRow {
    pub(crate) name: String,
    /// Of the guest that it was started in.
    pub(crate) generation: i64,
    pub(crate) state: String,
    pub(crate) definition: ServiceDefinition,
}

/// How many services a workspace has, how many of them run, and where those can be reached from the host.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServiceCounts {
    pub(crate) total: usize,
    pub(crate) running: usize,
    pub(crate) published_ports: Vec<PublishedPort>,
}

impl ServiceRow {
    /// Records a service that was started, in place of one of that name.
    pub(crate) fn put(&self, store: &Transaction<'_>, id: &WorkspaceId) -> Result<(), StoreError> {
        store.execute(
            "INSERT OR REPLACE INTO services (workspace_id, name, generation, state, started_at, definition) \
             SELECT id, ?2, ?3, ?4, ?5, ?6 FROM workspaces WHERE id = ?1 AND generation = ?3",
            params![
                id.as_str(),
                self.name,
                self.generation,
                self.state,
                milliseconds(now()),
                serde_json::to_string(&self.definition)?
            ],
        )?;
        Ok(())
    }

    /// Records where a service of that guest stands.
    pub(crate) fn set_state(
        store: &Transaction<'_>,
        id: &WorkspaceId,
        (name, generation): (&str, i64),
        state: &str,
    ) -> Result<(), StoreError> {
        store.execute(
            "UPDATE services SET state = ?4 WHERE workspace_id = ?1 AND name = ?2 AND generation = ?3",
            params![id.as_str(), name, generation, state],
        )?;
        Ok(())
    }

    /// Those of one workspace, in the order in which they were started.
    pub(crate) fn all(store: &Transaction<'_>, id: &WorkspaceId) -> Result<Vec<Self>, StoreError> {
        let mut query = store.prepare(
            "SELECT name, generation, state, definition FROM services WHERE workspace_id = ?1 ORDER BY started_at, name",
        )?;
        let rows = query.query_map([id.as_str()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get::<_, String>(3)?))
        })?;
        rows.map(|row| {
            let (name, generation, state, definition) = row?;
            Ok(Self { name, generation, state, definition: serde_json::from_str(&definition)? })
        })
        .collect()
    }

    /// Those of all workspaces, counted as known last.
    pub(crate) fn counts(store: &Transaction<'_>) -> Result<BTreeMap<String, ServiceCounts>, StoreError> {
        let mut query = store.prepare(
            "SELECT services.workspace_id, services.state, services.definition, workspaces.state = 'running' \
             AND services.generation = workspaces.generation \
             FROM services JOIN workspaces ON workspaces.id = services.workspace_id ORDER BY started_at, services.name",
        )?;
        let rows = query.query_map([], |row| {
            let (id, state, definition): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok((id, state, definition, row.get::<_, bool>(3)?))
        })?;
        let mut counts = BTreeMap::<String, ServiceCounts>::new();
        for row in rows {
            let (id, state, definition, is_of_now) = row?;
            let counted = counts.entry(id).or_default();
            counted.total += 1;
            counted.running += usize::from(is_of_now && state == "running");
            if is_of_now && matches!(state.as_str(), "starting" | "running") {
                let definition: ServiceDefinition = serde_json::from_str(&definition)?;
                counted.published_ports.extend(definition.published_ports);
            }
        }
        Ok(counts)
    }
}
