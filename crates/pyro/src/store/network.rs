//! What is kept of the networks of guests.

use super::StoreError;
use crate::network::{NetEvent, is_refusal};
use crate::workspace::WorkspaceId;
use rusqlite::{Transaction, params};

/// Events of one workspace that are kept, of what was refused and of everything else.
const KEPT: i64 = 500;

/// Records what happened, unless the workspace has another guest by now.
pub(crate) fn add_network_events(
    store: &Transaction<'_>,
    id: &WorkspaceId,
    generation: i64,
    events: &[NetEvent],
) -> Result<(), StoreError> {
    let mut insertion = store.prepare(
        "INSERT INTO network_events (workspace_id, refused, detail) \
         SELECT id, ?3, ?4 FROM workspaces WHERE id = ?1 AND generation = ?2",
    )?;
    for event in events {
        let detail = serde_json::to_string(event)?;
        insertion.execute(params![id.as_str(), generation, is_refusal(event.kind), detail])?;
    }
    for refused in [false, true] {
        store.execute(
            "DELETE FROM network_events WHERE workspace_id = ?1 AND refused = ?2 AND sequence <= ( \
               SELECT sequence FROM network_events WHERE workspace_id = ?1 AND refused = ?2 \
               ORDER BY sequence DESC LIMIT 1 OFFSET ?3)",
            params![id.as_str(), refused, KEPT],
        )?;
    }
    Ok(())
}

/// What is kept of one workspace, in its order: of what was refused, or of everything.
pub(crate) fn network_events(
    store: &Transaction<'_>,
    id: &WorkspaceId,
    only_refused: bool,
) -> Result<Vec<NetEvent>, StoreError> {
    let mut query = store.prepare(
        "SELECT detail FROM network_events WHERE workspace_id = ?1 AND refused >= ?2 ORDER BY sequence",
    )?;
    let rows = query.query_map(params![id.as_str(), only_refused], |row| row.get::<_, String>(0))?;
    rows.map(|detail| Ok(serde_json::from_str(&detail?)?)).collect()
}
