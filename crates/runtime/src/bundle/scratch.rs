//! The template of the writable disk: an empty ext4 file system in a sparse file.
//!
//! Every byte of it is determined (UUID, hash seed, time), so that the same tools give the same file. The file is known to
//! be zero where nothing is written, so mke2fs is told to take inode tables and journal as initialised: otherwise the
//! guest's kernel would zero them in the background, and grow every disk by what it writes.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use super::error::BundleError;
use super::tool::{self, Tool};
use crate::digest::Sha256Digest;
use crate::fs::FsError;

/// How large the guest sees its writable disk; the host's file holds only what was written.
pub const SCRATCH_DISK_BYTES: u64 = 16 << 30;

const UUID: &str = "7079726f-7363-7261-7463-680000000000";
const HASH_SEED: &str = "7079726f-6861-7368-7365-656400000000";

/// Left out: room for growing the mounted file system, and a file for orphaned inodes. Nothing grows it, and the two take
/// 6 MB of every disk.
const FEATURES: &str = "^resize_inode,^orphan_file";

/// MiB of journal: what the host's file grows by at most for the journal's sake, and large enough for installing packages.
const JOURNAL_MIB: &str = "size=32";

const LIMIT: Duration = Duration::from_mins(1);

/// Options of the file system beyond the ordinary.
const EXTENDED: &str =
    "assume_storage_prezeroed=1,lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0";

/// What the agent makes on every disk that lacks it. Made here, it costs nothing at a start.
const DIRECTORIES: [&str; 2] = ["upper", "work"];

/// Digest of how writable disks are made: tells one layout from another.
pub fn scratch_disk_layout() -> Sha256Digest {
    let bytes = SCRATCH_DISK_BYTES.to_string();
    let layout = [&bytes, UUID, HASH_SEED, FEATURES, JOURNAL_MIB, EXTENDED].into_iter().chain(DIRECTORIES);
    Sha256Digest::of(layout.collect::<Vec<_>>().join("\n").as_bytes())
}

/// Name of the template's file: what a pyro with another layout has left is not taken for this one's.
pub(super) fn file_name() -> String {
    format!("disk-{}.ext4", scratch_disk_layout().short())
}

/// Writes the template to the new file `image`, with the mke2fs of the bundle in `bundle`.
pub(super) fn write_template(bundle: &Path, image: &Path) -> Result<(), BundleError> {
    File::create_new(image)
        .and_then(|file| file.set_len(SCRATCH_DISK_BYTES))
        .map_err(FsError::on("create", image))?;
    let extended = format!("hash_seed={HASH_SEED},{EXTENDED}");
    let mut command = tool::command(bundle, Tool::Mke2fs);
    command
        .env("SOURCE_DATE_EPOCH", "1")
        .env("E2FSPROGS_FAKE_TIME", "1")
        .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-L", "pyro-scratch"])
        .args(["-U", UUID, "-J", JOURNAL_MIB, "-O", FEATURES, "-E", &extended])
        .arg(image);
    tool::run(Tool::Mke2fs, &mut command, LIMIT)?;
    for directory in DIRECTORIES {
        let mut command = tool::command(bundle, Tool::Debugfs);
        command.env("SOURCE_DATE_EPOCH", "1").env("E2FSPROGS_FAKE_TIME", "1");
        command.args(["-w", "-R", &format!("mkdir {directory}")]).arg(image);
        tool::run(Tool::Debugfs, &mut command, LIMIT)?;
    }
    Ok(())
}
