//! The private directory of one machine, and the sweeping of those whose owner is dead.
//!
//! Each directory holds a lock file that its owner keeps locked; the kernel releases it however the owner ends. Making a
//! directory and sweeping exclude each other, so that nobody sweeps one that is not locked yet.

use crate::PyroError;
use crate::vm::VmId;
use pyro_runtime::fs::{FsError, create_dir_all, remove_all};
use pyro_runtime::lock::FileLock;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LOCK: &str = "lock";
/// Making a directory and sweeping take milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// An existing directory, removed with all its files when dropped.
#[derive(Debug)]
pub(crate) struct VmDirectory {
    path: PathBuf,
    _lock: FileLock,
}

impl VmDirectory {
    /// Makes the directory of `id` below `vms`, after sweeping what dead processes left there.
    pub(crate) fn create(vms: &Path, id: &VmId) -> Result<Self, PyroError> {
        create_dir_all(vms)?;
        let _turn = FileLock::acquire(&vms.join(LOCK), PATIENCE, &|| {})?;
        sweep(vms);
        let path = vms.join(id.as_str());
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(FsError::on("create", &path))?;
        let lock = FileLock::acquire(&path.join(LOCK), Duration::ZERO, &|| {})?;
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for VmDirectory {
    fn drop(&mut self) {
        // What cannot be removed now is swept by the next process.
        let _left = fs::remove_dir_all(&self.path);
    }
}

/// Removes the directories below `vms` that nobody holds. What cannot be removed must not keep new machines from
/// being made; it is tried again each time.
fn sweep(vms: &Path) {
    for entry in fs::read_dir(vms).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && FileLock::acquire(&path.join(LOCK), Duration::ZERO, &|| {}).is_ok() {
            let _left = remove_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_goes_with_its_owner_and_only_then() {
        let vms = tempfile::tempdir().unwrap();
        let dead = vms.path().join("vm-dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("scratch"), b"x").unwrap();
        let first = VmDirectory::create(vms.path(), &VmId::parse("vm-1")).unwrap();
        assert!(!dead.exists(), "what a dead process left is swept");
        let second = VmDirectory::create(vms.path(), &VmId::parse("vm-2")).unwrap();
        assert!(first.path().exists(), "what is in use stays");
        let (one, two) = (first.path().to_owned(), second.path().to_owned());
        drop((first, second));
        assert!(!one.exists() && !two.exists());
    }
}
