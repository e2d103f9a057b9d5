//! What a reading may cost: a hostile file system can lead its reader in circles, or through the same blocks again and again.

use crate::DiskError;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a reading may take, and how many blocks it may read.
#[derive(Debug)]
pub struct Budget {
    deadline: Option<Instant>,
    cancelled: Arc<AtomicBool>,
    blocks_left: Cell<u64>,
}

impl Budget {
    /// A budget that ends after `limit`, where there is one, and when `cancelled` is set.
    pub fn new(limit: Option<Duration>, cancelled: Arc<AtomicBool>) -> Self {
        Self {
            deadline: limit.and_then(|limit| Instant::now().checked_add(limit)),
            cancelled,
            blocks_left: Cell::new(u64::MAX),
        }
    }

    /// No more blocks than these.
    pub(crate) fn allow_blocks(&self, most: u64) {
        self.blocks_left.set(most);
    }

    /// Fails when the time is over, or nobody waits.
    pub(crate) fn check(&self) -> Result<(), DiskError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(DiskError::Cancelled);
        }
        if self.deadline.is_some_and(|deadline| Instant::now() > deadline) {
            return Err(DiskError::TooSlow);
        }
        Ok(())
    }

    /// Pays for one block.
    pub(crate) fn pay(&self) -> Result<(), DiskError> {
        self.check()?;
        let left = self.blocks_left.get().checked_sub(1).ok_or(DiskError::TooSlow)?;
        self.blocks_left.set(left);
        Ok(())
    }
}
