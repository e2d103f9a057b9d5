//! The memory of a machine whose snapshot will be taken.
//!
//! While the guest runs its memory is anonymous, shared between QEMU and pyro: nothing goes to disk, and a full disk cannot
//! kill the VMM. Once the guest has stopped, pages that are not zero are written to the snapshot's file, which is sparse.

use crate::{MemMib, Snapshot, VmmError};
use pyro_runtime::fs::FsError;
use rustix::fs::{MemfdFlags, SeekFrom, memfd_create, seek};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

const PAGE_BYTES: usize = 4096;
static ZEROES: [u8; PAGE_BYTES] = [0; PAGE_BYTES];
/// Read at a time.
const PIECE_BYTES: usize = 256 * PAGE_BYTES;

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
        let written = tokio::task::spawn_blocking(move || write(&ram, &path)).await;
        Ok(written
            .map_err(|panicked| VmmError::host("write the guest's memory", io::Error::other(panicked)))??)
    }
}

fn write(ram: &File, path: &Path) -> Result<(), FsError> {
    let target = File::create_new(path).map_err(FsError::on("create", path))?;
    copy_pages(ram, &target).map_err(FsError::on("write", path))
}

/// Copies the pages that hold something, and leaves holes elsewhere.
fn copy_pages(ram: &File, target: &File) -> io::Result<()> {
    let len = ram.metadata()?.len();
    target.set_len(len)?;
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = 0;
    while let Ok(start) = seek(ram, SeekFrom::Data(at)) {
        let end = seek(ram, SeekFrom::Hole(start))?;
        at = start;
        while at < end {
            let want = usize::try_from(end - at).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
            ram.read_exact_at(&mut piece[..want], at)?;
            for run in runs(&piece[..want]) {
                target.write_all_at(&piece[run.clone()], at + run.start as u64)?;
            }
            at += want as u64;
        }
    }
    Ok(())
}

/// The ranges of whole pages in `piece` that are not zero.
fn runs(piece: &[u8]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (index, page) in piece.chunks(PAGE_BYTES).enumerate() {
        if page == &ZEROES[..page.len()] {
            continue;
        }
        let (start, end) = (index * PAGE_BYTES, index * PAGE_BYTES + page.len());
        match runs.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => runs.push(start..end),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn only_pages_that_hold_something_are_written() {
        let directory = tempfile::tempdir().unwrap();
        let files = Snapshot { ram: directory.path().join("ram"), state: directory.path().join("state") };
        let capture = Capture::prepare(&files, MemMib::new(MemMib::MIN).unwrap()).unwrap();
        for (byte, at) in
            [(0, 0), (1, PAGE_BYTES), (0, 5 << 20), (2, 100 << 20), (3, (100 << 20) + 3 * PAGE_BYTES)]
        {
            capture.ram.write_all_at(&[byte; PAGE_BYTES], at as u64).unwrap();
        }
        write(&capture.ram, &files.ram).unwrap();
        assert!(
            std::fs::read(&files.ram).unwrap() == {
                let mut all = vec![0; 192 << 20];
                capture.ram.read_exact_at(&mut all, 0).unwrap();
                all
            }
        );
        assert_eq!(std::fs::metadata(&files.ram).unwrap().blocks() * 512, 3 * PAGE_BYTES as u64);
    }
}
