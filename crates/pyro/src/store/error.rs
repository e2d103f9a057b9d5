//! Why the store could not be used.

use pyro_protocol::error::{Diagnostic, ErrorKind};
use rusqlite::ErrorCode;
use rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY;

/// The store of workspaces could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite failed.
    #[error("the store of workspaces cannot be used")]
    Sqlite(#[source] rusqlite::Error),
    /// What was to be recorded is about a workspace that is not there any more.
    #[error("the workspace is gone")]
    Gone,
    /// A record does not have the form it should.
    #[error("the store of workspaces holds a damaged record")]
    Damaged(#[from] serde_json::Error),
    /// A time that is none.
    #[error("the store of workspaces holds a damaged record: {milliseconds} ms are no time")]
    Time {
        /// What is stored.
        milliseconds: i64,
    },
    /// A newer version of pyro has changed the store.
    #[error("the store of workspaces has version {found}; this pyro knows versions up to {known}")]
    Newer {
        /// Its version.
        found: i64,
        /// The newest one known here.
        known: i64,
    },
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error() {
            // What refers to anything refers to a workspace.
            Some(said) if said.extended_code == SQLITE_CONSTRAINT_FOREIGNKEY => Self::Gone,
            _ => Self::Sqlite(error),
        }
    }
}

impl Diagnostic for StoreError {
    fn kind(&self) -> ErrorKind {
        let error = match self {
            Self::Sqlite(error) => error,
            Self::Gone => return ErrorKind::NotFound,
            Self::Newer { .. } => return ErrorKind::Unsupported,
            Self::Damaged(_) | Self::Time { .. } => return ErrorKind::Integrity,
        };
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => ErrorKind::Exhausted,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ErrorKind::TimedOut,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => ErrorKind::Integrity,
            Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly | ErrorCode::CannotOpen) => {
                ErrorKind::PermissionDenied
            }
            _ => ErrorKind::Host,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self.kind() {
            ErrorKind::NotFound => "see `pyro workspace list`".to_owned(),
            ErrorKind::Unsupported => "use the newer pyro, or another PYRO_HOME".to_owned(),
            ErrorKind::Exhausted => "free some disk space".to_owned(),
            ErrorKind::TimedOut => "another process holds the store; try again".to_owned(),
            ErrorKind::Integrity => {
                "move the file `workspaces.db` in pyro's data directory out of the way; its workspaces are lost".to_owned()
            }
            ErrorKind::PermissionDenied => {
                "make pyro's data directory writable for you, or set PYRO_HOME to one that is".to_owned()
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SnapshotRow;
    use crate::testing::{block_on, sdk};
    use crate::workspace::{SnapshotName, WorkspaceId};
    use pyro_protocol::error::chain;

    #[test]
    fn what_is_recorded_of_a_workspace_that_is_gone_is_refused_as_that() {
        let home = tempfile::tempdir().unwrap();
        let pyro = sdk(home.path());
        let (id, name) = (WorkspaceId::random().unwrap(), SnapshotName::parse("name").unwrap());
        let recording = pyro.transact(move |store| SnapshotRow::insert(store, &id, &name, 1));
        let error = block_on(recording).unwrap_err();
        assert_eq!((error.kind(), &*chain(&error)), (ErrorKind::NotFound, "the workspace is gone"));
    }
}
