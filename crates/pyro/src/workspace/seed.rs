//! The image of the tree that a workspace begins with: a layer of the guest's root that nothing writes to.
//!
//! It is made on the host, which takes less time by far than unpacking in the guest, and lies beneath what the guest writes. So a
//! diff costs what has changed, and no snapshot holds the tree again.

use super::WorkspaceError;
use crate::PyroError;
use crate::engine::blocking;
use pyro_protocol::WORKSPACE_DIR;
use pyro_runtime::fs::FsError;
use pyro_runtime::{Bundle, MkfsTar, SEED_DISK_BYTES, Tails};
use pyro_tree::{Limits, Problem, Source, Totals};
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most bytes of files. The rest of the disk has room for everything else about the most entries.
const MAX_SEED_BYTES: u64 = SEED_DISK_BYTES / 2;
/// Every file has its own time; this one is the image's, which nobody sees.
const EPOCH: i64 = 1;
/// Zeros in units of this become holes.
const HOLE_BYTES: usize = 64 << 10;

/// Makes the new image `target` of what is in `source`. What is left after a failure is of no use.
pub(super) async fn make(bundle: Arc<Bundle>, source: Source, target: PathBuf) -> Result<Totals, PyroError> {
    blocking(move || {
        let totals = write(&bundle, source, &target)?;
        let finish = || {
            let image = File::options().read(true).write(true).open(&target)?;
            dig_holes(&image)?;
            image.set_len(SEED_DISK_BYTES)?;
            // A record must not claim what the host's disk does not hold.
            image.sync_data()
        };
        finish().map_err(FsError::on("write", &target))?;
        Ok(totals)
    })
    .await
}

fn write(bundle: &Bundle, source: Source, target: &Path) -> Result<Totals, PyroError> {
    let mut mkfs = MkfsTar::start(bundle, target, EPOCH, Tails::Apart)?;
    let limits = Limits { bytes: MAX_SEED_BYTES, ..Limits::default() };
    match source.write_layer(WORKSPACE_DIR.trim_start_matches('/'), &mut mkfs, limits) {
        Ok(totals) => {
            mkfs.finish()?;
            Ok(totals)
        }
        Err(error) => {
            if matches!(error.problem, Problem::Gone) {
                // It has ended, and says why.
                mkfs.finish()?;
            }
            Err(WorkspaceError::from(error).into())
        }
    }
}

/// Frees the blocks of zeros: what makes the image writes out the holes of sparse files.
fn dig_holes(image: &File) -> io::Result<()> {
    static ZEROS: [u8; HOLE_BYTES] = [0; HOLE_BYTES];
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let (mut buffer, mut offset) = (vec![0; HOLE_BYTES], 0);
    let length = image.metadata()?.len();
    while offset + HOLE_BYTES as u64 <= length {
        image.read_exact_at(&mut buffer, offset)?;
        if buffer == ZEROS && fallocate(image, flags, offset, HOLE_BYTES as u64).is_err() {
            // A file system without holes keeps the zeros.
            return Ok(());
        }
        offset += HOLE_BYTES as u64;
    }
    Ok(())
}
