//! The environment's image, from the second stage's archive.

use super::guest::Archive;
use super::on;
use crate::ImagesError;
use pyro_runtime::{Bundle, MkfsTar, Tails};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Makes `target` from `archive`; returns the sha256 of the image, in hexadecimal.
pub(super) fn from_tar(
    bundle: &Bundle,
    archive: &Archive,
    target: &Path,
    epoch: i64,
) -> Result<String, ImagesError> {
    // The disk is longer than the archive on it.
    let tar = File::open(&archive.disk).map_err(on("open", &archive.disk))?;
    let mut mkfs = MkfsTar::start(bundle, target, epoch, Tails::Inline)?;
    let copied = io::copy(&mut tar.take(archive.bytes), &mut mkfs);
    // When it has ended early, its own words say more than that it no longer reads.
    mkfs.finish()?;
    copied.map_err(on("read", &archive.disk))?;
    Ok(crate::store::digest_of(target)?.to_string())
}
