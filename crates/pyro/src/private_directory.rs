//! A private directory for as long as something needs it, a machine or a clone, and the sweeping of those whose owner is dead.
//!
//! Each directory holds a lock file that its owner keeps locked; the kernel releases it however the owner ends. Making a
//! directory and sweeping exclude each other, so that nobody sweeps one that is not locked yet.

use crate::PyroError;
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
pub(crate) struct PrivateDirectory {
    path: PathBuf,
    _lock: FileLock,
}

impl PrivateDirectory {
    /// Makes the directory `name` below `parent`, after sweeping what dead processes left there.
    pub(crate) fn create(parent: &Path, name: &str) -> Result<Self, PyroError> {
        create_dir_all(parent)?;
        let _turn = FileLock::acquire(&parent.join(LOCK), PATIENCE, &|| {})?;
        sweep(parent);
        let path = parent.join(name);
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(FsError::on("create", &path))?;
        let lock = FileLock::acquire(&path.join(LOCK), Duration::ZERO, &|| {})?;
        Ok(Self { path, _lock: lock })
    }

    /// Sweeps what dead processes left below `parent`, unless somebody else is at it.
    pub(crate) fn sweep(parent: &Path) {
        if parent.exists()
            && let Ok(_turn) = FileLock::acquire(&parent.join(LOCK), Duration::ZERO, &|| {})
        {
            sweep(parent);
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        // What cannot be removed now is swept by the next process.
        let _left = fs::remove_dir_all(&self.path);
    }
}

/// Removes the directories below `parent` that nobody holds. What cannot be removed must not keep new ones from
/// being made; it is tried again each time.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
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
        let first = PrivateDirectory::create(vms.path(), "vm-1").unwrap();
        assert!(!dead.exists(), "what a dead process left is swept");
        let second = PrivateDirectory::create(vms.path(), "vm-2").unwrap();
        assert!(first.path().exists(), "what is in use stays");
        let (one, two) = (first.path().to_owned(), second.path().to_owned());
        drop((first, second));
        assert!(!one.exists() && !two.exists());
    }
}
