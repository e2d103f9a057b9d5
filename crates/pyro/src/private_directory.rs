//! A private directory for as long as something needs it, a machine or a clone, and the sweeping of those whose owner is dead.
//!
//! Each directory holds a lock file that its owner keeps locked; the kernel releases it however the owner ends. Making a
//! directory and looking for abandoned ones exclude each other, so that nobody takes one that is not locked yet. Whoever finds one
//! holds its lock until it is removed, which may take a while.

use crate::PyroError;
use pyro_runtime::fs::{FsError, create_dir_all, remove_all_and_lock};
use pyro_runtime::lock::FileLock;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LOCK: &str = "lock";
/// Making a directory and looking for abandoned ones take milliseconds.
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
        let turn = || FileLock::acquire(&parent.join(LOCK), PATIENCE, &|| {});
        let abandoned = turn().map(|_turn| abandoned(parent))?;
        remove(abandoned);
        let _turn = turn()?;
        let path = parent.join(name);
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(FsError::on("create", &path))?;
        let lock = FileLock::acquire(&path.join(LOCK), Duration::ZERO, &|| {})?;
        Ok(Self { path, _lock: lock })
    }

    /// Sweeps what dead processes left below `parent`, unless somebody else is at it.
    pub(crate) fn sweep(parent: &Path) {
        if parent.exists()
            && let Ok(turn) = FileLock::acquire(&parent.join(LOCK), Duration::ZERO, &|| {})
        {
            let abandoned = abandoned(parent);
            drop(turn);
            remove(abandoned);
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        // What cannot be removed now is swept by the next process.
        let _left = remove_all_and_lock(&self.path, LOCK);
    }
}

/// The directories below `parent` that nobody held, held now. For whoever has the turn.
fn abandoned(parent: &Path) -> Vec<(PathBuf, FileLock)> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let directories = entries.map(|entry| entry.path()).filter(|path| path.is_dir());
    let held = directories.filter_map(|path| {
        let lock = FileLock::acquire(&path.join(LOCK), Duration::ZERO, &|| {}).ok()?;
        Some((path, lock))
    });
    held.collect()
}

/// What cannot be removed must not keep new ones from being made; it is tried again each time.
fn remove(abandoned: Vec<(PathBuf, FileLock)>) {
    for (path, _lock) in abandoned {
        let _left = remove_all_and_lock(&path, LOCK);
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
