//! What is known of workspaces, in SQLite: the records, their snapshots, journal and events.
//!
//! Any number of processes use the store at once. Every change is one transaction, durable when it returns; a record never
//! claims what the disk does not hold, because files are in place before the record says so, and are removed after it has
//! ceased to.

mod error;
mod journal;
mod network;
mod open;
mod records;
mod services;
mod snapshots;

pub use error::StoreError;
pub(crate) use journal::{CommandEntry, CommandKey, CommandOutcome, Event, NewCommand};
pub(crate) use network::{add_network_events, network_events};
pub use records::WorkspaceState;
pub(crate) use records::{NewWorkspace, Origin, Record, Started};
pub(crate) use services::{ServiceCounts, ServiceDefinition, ServiceRow};
pub(crate) use snapshots::SnapshotRow;

use crate::engine::blocking;
use crate::workspace::Session;
use crate::{Pyro, PyroError};
use jiff::Timestamp;
use pyro_protocol::error::chain;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// The open store. Cloning shares the connection.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    connection: Arc<Mutex<Connection>>,
}

impl Store {
    /// Opens the store in `directory`, making it or bringing it up to date where that is due.
    pub(crate) fn open(directory: &Path) -> Result<Self, PyroError> {
        Ok(Self { connection: Arc::new(Mutex::new(open::open(directory)?)) })
    }

    /// Runs `work` as one transaction.
    pub(crate) fn transact<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let result = work(&transaction)?;
        transaction.commit()?;
        Ok(result)
    }

    /// Runs `work`, which only reads, on one state of the store.
    pub(crate) fn read<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        work(&connection.transaction()?)
    }
}

impl Pyro {
    pub(crate) async fn store(&self) -> Result<Store, PyroError> {
        let opened = self.store.get_or_try_init(|| {
            let directory = self.dirs().data().to_owned();
            blocking(move || Store::open(&directory))
        });
        opened.await.cloned()
    }

    /// Runs `work` as one transaction of the store.
    pub(crate) async fn transact<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, PyroError> {
        let store = self.store().await?;
        blocking(move || Ok(store.transact(work)?)).await
    }

    /// Records what was done in a workspace, unless it was reset meanwhile, and what was done is gone. Where it cannot be recorded,
    /// that is all there is to say.
    pub(crate) async fn note(&self, session: &Session, event: Event) {
        let (id, resets) = (session.record.id.clone(), session.record.reset_count);
        let event = session.redaction.event(event);
        let noted = self.transact(move |store| match Record::find(store, &id)? {
            Some(now) if now.reset_count == resets => event.insert(store, &id),
            _ => Ok(()),
        });
        if let Err(error) = noted.await {
            self.progress().phase(&format!("not-recorded reason=\"{}\"", chain(&error)));
        }
    }

    /// Runs `work`, which only reads, on one state of the store.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, PyroError> {
        let store = self.store().await?;
        blocking(move || Ok(store.read(work)?)).await
    }
}

/// A time as it is stored.
fn milliseconds(time: Timestamp) -> i64 {
    time.as_millisecond()
}

/// A stored time.
fn timestamp(milliseconds: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(milliseconds).map_err(|_| StoreError::Time { milliseconds })
}

/// Now, as exactly as times are stored.
pub(crate) fn now() -> Timestamp {
    let now = Timestamp::now();
    timestamp(milliseconds(now)).unwrap_or(now)
}
