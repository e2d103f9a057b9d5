//! What is made from a bundle rather than being part of it: the initramfs, which has this binary's agent in it, and the
//! formatted disk, whose 16 GiB of holes no manifest's sha256 should have to go through.
//!
//! Both are determined by the bundle and this binary, so whatever happens to them they can be made again, the same.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::error::{BundleError, Problem};
use super::initramfs;
use super::scratch::{self, SCRATCH_DISK_BYTES};
use crate::digest::Sha256Digest;
use crate::fs::{FsError, create_dir_all, digest_of_data, set_mode, write_atomic};

/// How large the guest sees the disk with the tree that its workspace began with. That is the same for every guest, as clones of one
/// template see the devices that it had.
pub const SEED_DISK_BYTES: u64 = 32 << 30;

const NO_SEED: &str = "no-seed.img";

/// A disk of nothing; made when it is not there.
pub(super) fn no_seed(derived: &Path) -> Result<PathBuf, BundleError> {
    let path = derived.join(NO_SEED);
    if fs::metadata(&path).is_ok_and(|found| found.is_file() && found.len() == SEED_DISK_BYTES) {
        return Ok(path);
    }
    create_dir_all(derived)?;
    let empty = tempfile::Builder::new().prefix(".no-seed-").tempfile_in(derived);
    let empty = empty.map_err(FsError::on("create", &path))?;
    empty.as_file().set_len(SEED_DISK_BYTES).map_err(FsError::on("create", &path))?;
    set_mode(empty.path(), 0o644)?;
    empty.persist(&path).map_err(|error| FsError::on("create", &path)(error.error))?;
    Ok(path)
}

fn initramfs_name() -> String {
    format!("initramfs-{}.cpio", Sha256Digest::of(crate::AGENT).short())
}

/// The initramfs for this binary's agent; written when it is not there, or not right.
pub(super) fn initramfs(bundle: &Path, derived: &Path) -> Result<PathBuf, BundleError> {
    let path = derived.join(initramfs_name());
    let image = initramfs::build(bundle, crate::AGENT)?;
    // Comparing costs a millisecond or two, and mends whatever happened to the file.
    if fs::read(&path).is_ok_and(|present| present == image) {
        return Ok(path);
    }
    create_dir_all(derived)?;
    write_atomic(&path, &image)?;
    Ok(path)
}

/// The formatted disk; made when it is not there.
pub(super) fn scratch_template(bundle: &Path, derived: &Path) -> Result<PathBuf, BundleError> {
    let path = derived.join(scratch::file_name());
    if fs::metadata(&path).is_ok_and(|found| found.is_file() && found.len() == SCRATCH_DISK_BYTES) {
        return Ok(path);
    }
    renew(bundle, derived)?;
    Ok(path)
}

/// Makes the formatted disk again and puts it in place in one step: another process may be copying the old one. The
/// initramfs is compared at each use anyway.
pub(super) fn renew(bundle: &Path, derived: &Path) -> Result<(), BundleError> {
    let path = derived.join(scratch::file_name());
    create_dir_all(derived)?;
    let fresh = fresh_scratch(bundle, derived)?;
    set_mode(&fresh, 0o644)?;
    // Its length is all that is looked at later: what is in it has to be on disk before it has its name.
    File::open(&fresh).and_then(|file| file.sync_all()).map_err(FsError::on("write", &path))?;
    fs::rename(&fresh, &path).map_err(FsError::on("create", &path))?;
    Ok(())
}

/// A formatted disk under a name of its own, gone again if it is not renamed.
fn fresh_scratch(bundle: &Path, derived: &Path) -> Result<tempfile::TempPath, BundleError> {
    let dir = tempfile::Builder::new().prefix(".scratch-").tempdir_in(derived);
    let dir = dir.map_err(FsError::on("write", derived))?;
    let image = dir.path().join(scratch::file_name());
    scratch::write_template(bundle, &image)?;
    let fresh = tempfile::Builder::new().prefix(".scratch-").tempfile_in(derived);
    let fresh = fresh.map_err(FsError::on("write", derived))?.into_temp_path();
    fs::rename(&image, &fresh).map_err(FsError::on("create", &fresh))?;
    Ok(fresh)
}

/// Fails naming each derived file that is there and is not what would be made now.
pub(super) fn verify(bundle: &Path, derived: &Path) -> Result<(), BundleError> {
    let mut problems = Vec::new();
    let changed =
        |path: String| Problem::Changed { path, how: "not what is made from the bundle".to_owned() };
    if let Ok(present) = fs::read(derived.join(initramfs_name()))
        && present != initramfs::build(bundle, crate::AGENT)?
    {
        problems.push(changed(initramfs_name()));
    }
    let scratch = derived.join(scratch::file_name());
    if let Ok(present) = File::open(&scratch) {
        let fresh = fresh_scratch(bundle, derived)?;
        let fresh = File::open(&fresh).map_err(FsError::on("read", &fresh))?;
        let digest = |file: &File| digest_of_data(file).map_err(FsError::on("read", &scratch));
        if digest(&present)? != digest(&fresh)? {
            problems.push(changed(scratch::file_name()));
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(BundleError::Damaged { dir: derived.to_owned(), problems, own: false })
    }
}
