//! How a disk is opened, and closed again.

use super::{DiskPath, WorkspaceDiskError};
use crate::engine::blocking;
use crate::store::WorkspaceState;
use crate::workspace::access::{Turn, wrong_state};
use crate::workspace::{Redaction, WorkspaceError, WorkspaceId};
use crate::{Pyro, PyroError};
use pyro_disk::{Budget, DiskError, Root};
use pyro_images::Recipe;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The directory of the writable disk that is the topmost layer of the guest's root.
const UPPER: &[u8] = b"upper";

/// The disk of a stopped workspace, which nobody starts as long as this is there.
pub(super) struct Disk {
    pub(super) turn: Turn,
    /// What must not show of what is on it.
    pub(super) redaction: Redaction,
    /// From the top.
    images: Vec<PathBuf>,
}

/// Ends the work on a thread when nobody waits for it any more.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Pyro {
    /// The disk of a stopped workspace, for `operation`. Waits for whoever takes the workspace to another state.
    pub(super) async fn stopped_disk(
        &self,
        id: &WorkspaceId,
        operation: &'static str,
    ) -> Result<Disk, PyroError> {
        let turn = self.turn(id).await?;
        turn.require_disk(operation)?;
        if turn.record.state != WorkspaceState::Stopped {
            return Err(wrong_state(&turn.record, operation, "stopped"));
        }
        let environment = self.environment(Recipe::find(&turn.record.origin.environment)?).await?;
        turn.record.require_image(Some(&environment.manifest.digest))?;
        let seed = turn.directory.seed();
        let mut images = vec![environment.image];
        if seed.exists() {
            images.insert(0, seed);
        }
        let redaction = self.redaction(&turn.record).await?;
        Ok(Disk { turn, redaction, images })
    }
}

impl Disk {
    /// Does `work` in the root, where it blocks nobody, for at most `limit` where there is one. What fails is said to be about
    /// `path`.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        path: &DiskPath,
        limit: Option<Duration>,
        work: impl FnOnce(&Root) -> Result<T, DiskError> + Send + 'static,
    ) -> Result<T, PyroError> {
        let waiting = Waiting(Arc::default());
        let budget = Budget::new(limit, Arc::clone(&waiting.0));
        let (disk, images) = (self.turn.directory.disk(), self.images.clone());
        let outcome = blocking(move || {
            let images: Vec<_> = images.iter().map(PathBuf::as_path).collect();
            Ok(Root::open(&disk, UPPER, &images, budget).and_then(|root| work(&root)))
        });
        let (id, path) = (self.turn.record.id.clone(), path.to_string());
        let outcome = outcome.await?.map_err(|source| WorkspaceDiskError::Unreadable { id, path, source });
        Ok(outcome.map_err(WorkspaceError::from)?)
    }
}
