//! Opening the store: the file, its settings, its schema.

use super::error::StoreError;
use crate::PyroError;
use pyro_runtime::fs::{FsError, create_dir_all, set_mode};
use pyro_runtime::lock::FileLock;
use rusqlite::{Connection, TransactionBehavior};
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

const FILE: &str = "workspaces.db";
const LOCK: &str = "workspaces.lock";
/// Opening takes milliseconds; others may be doing it at the same time.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a transaction waits for another process's.
const BUSY_PATIENCE: Duration = Duration::from_secs(20);

/// What brings a store from one version to the next; the first makes it. They are never changed, only added to.
const MIGRATIONS: [&str; 3] =
    [include_str!("schema.sql"), include_str!("services.sql"), include_str!("network.sql")];

pub(super) fn open(directory: &Path) -> Result<Connection, PyroError> {
    if !directory.is_dir() {
        create_dir_all(directory)?;
        set_mode(directory, 0o700)?;
    }
    // Changing the journal's mode heeds no patience of SQLite's, so openers take turns.
    let _turn = FileLock::acquire(&directory.join(LOCK), PATIENCE, &|| {})?;
    let file = directory.join(FILE);
    // Journals hold what commands printed, which is nobody else's business; SQLite gives its other files the same mode.
    File::options().create(true).append(true).mode(0o600).open(&file).map_err(FsError::on("open", &file))?;
    Ok(connect(&file)?)
}

fn connect(file: &Path) -> Result<Connection, StoreError> {
    let mut connection = Connection::open(file)?;
    connection.busy_timeout(BUSY_PATIENCE)?;
    // A store that is up to date is opened without writing: also where there is no room to.
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version == 0 {
        // What journals took is given back when they go.
        connection.pragma_update(None, "auto_vacuum", "full")?;
    }
    // Readers and a writer do not wait for each other, and what was committed is there after a crash of the host.
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    if version != known() {
        migrate(&mut connection)?;
    }
    Ok(connection)
}

/// The version of this pyro's stores.
fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let known = known();
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    let done = usize::try_from(found).unwrap_or_default();
    for migration in &MIGRATIONS[done..] {
        transaction.execute_batch(migration)?;
    }
    if found < known {
        transaction.pragma_update(None, "user_version", known)?;
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyro_protocol::error::{Diagnostic, ErrorKind};

    #[test]
    fn a_store_is_made_once_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let first = open(directory.path()).unwrap();
        first.execute("INSERT INTO workspaces VALUES ('ws-1','running',NULL,0,NULL,'{}','{}',NULL,0,0,0,0,NULL,NULL)", []).unwrap();
        let second = open(directory.path()).unwrap();
        let count: i64 = second.query_row("SELECT count(*) FROM workspaces", [], |row| row.get(0)).unwrap();
        assert_eq!(count, 1);
        let mode: String = second.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
    }

    #[test]
    fn a_store_from_the_future_and_a_damaged_one_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        open(directory.path()).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let error = open(directory.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");

        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE), "no database ".repeat(1000)).unwrap();
        let error = open(directory.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Integrity, "{error}");
    }
}
