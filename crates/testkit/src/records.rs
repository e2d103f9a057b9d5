//! The store of workspaces, as it is on the disk: what a call of the binary would set right shows here.

use rusqlite::{Connection, OpenFlags};
use std::path::Path;

/// The ids of all workspaces that are on record in the store at `file`; none when there is no store.
pub(crate) fn ids(file: &Path) -> Vec<String> {
    let Some(store) = open(file) else { return Vec::new() };
    let mut query = store.prepare("SELECT id FROM workspaces").expect("the store has workspaces");
    let ids = query.query_map([], |row| row.get(0)).expect("the store can be read");
    ids.map(|id| id.expect("an id is text")).collect()
}

fn open(file: &Path) -> Option<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    file.exists().then(|| Connection::open_with_flags(file, flags).expect("the store can be opened"))
}
