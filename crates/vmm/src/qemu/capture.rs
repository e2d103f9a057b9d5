//! The memory of a machine whose snapshot will be taken.
//!
//! While the guest runs its memory is anonymous, shared between QEMU and pyro: nothing goes to disk, and a full disk cannot
//! kill the VMM. Once the guest has stopped, pages that are not zero are written to the snapshot's file, which is sparse.

use crate::{MemMib, Snapshot, VmmError};
use pyro_runtime::fs::FsError;
use pyro_runtime::sparse;
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Where a machine's memory is, and where it will be written.
pub(super) struct Capture {
    pub(super) files: Snapshot,
    ram: Arc<File>,
}

impl Capture {
    /// Memory of this size. The state's file is created, as the VMM may write to files but not make any.
    pub(super) fn prepare(files: &Snapshot, memory: MemMib) -> Result<Self, VmmError> {
        File::create_new(&files.state).map_err(FsError::on("create", &files.state))?;
        let failed = |error| VmmError::host("make the guest's memory", error);
        let ram = memfd_create("pyro-ram", MemfdFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
        let ram = File::from(ram);
        ram.set_len(u64::from(memory.get()) << 20).map_err(failed)?;
        Ok(Self { files: files.clone(), ram: Arc::new(ram) })
    }

    /// A descriptor of the memory for the VMM.
    pub(super) fn ram(&self) -> Result<OwnedFd, VmmError> {
        let ram = self.ram.try_clone().map_err(|error| VmmError::host("share the guest's memory", error))?;
        Ok(ram.into())
    }

    /// Writes the memory to its file. The guest must have stopped.
    pub(super) async fn write_ram(&self) -> Result<(), VmmError> {
        let (ram, path) = (Arc::clone(&self.ram), self.files.ram.clone());
        let written = tokio::task::spawn_blocking(move || sparse::write(&ram, &path)).await;
        Ok(written
            .map_err(|panicked| VmmError::host("write the guest's memory", io::Error::other(panicked)))??)
    }
}
