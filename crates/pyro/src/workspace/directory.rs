//! The files of one workspace, and the three locks that say who may change them.
//!
//! - `lock` is held while the workspace goes from one state to another: by one process at a time, whichever it is.
//! - `alive` is held by the workspace's supervisor as long as it lives, and holds its process id: that it is free proves that
//!   there is no supervisor, and so no guest that can be reached.
//! - `in-use` is held by the VMM, which inherits it from the supervisor: that it is free as well proves that nobody writes to
//!   the disk.

use crate::PyroError;
use crate::workspace::{SnapshotName, WorkspaceId};
use pyro_runtime::fs::{FsError, create_dir_all, remove_all_and_lock, set_mode};
use pyro_runtime::lock::{FileLock, is_held};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const LOCK: &str = "lock";
const ALIVE: &str = "alive";
const IN_USE: &str = "in-use";

/// Where the files of one workspace are. The directory need not exist.
#[derive(Debug, Clone)]
pub(crate) struct WorkspaceDirectory {
    path: PathBuf,
}

impl WorkspaceDirectory {
    /// The directory of all workspaces' directories.
    pub(crate) fn parent(data: &Path) -> PathBuf {
        data.join("workspaces")
    }

    pub(crate) fn new(data: &Path, id: &WorkspaceId) -> Self {
        Self { path: Self::parent(data).join(id.as_str()) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The writable disk.
    pub(crate) fn disk(&self) -> PathBuf {
        self.path.join("disk.ext4")
    }

    /// The image of the tree that the workspace began with, if it had one.
    pub(crate) fn seed(&self) -> PathBuf {
        self.path.join("seed.erofs")
    }

    /// A disk on its way to become [`Self::disk`]: whole, once it has this name.
    pub(crate) fn next_disk(&self) -> PathBuf {
        self.path.join("next.ext4")
    }

    /// A disk that is being copied.
    pub(crate) fn unfinished(&self) -> PathBuf {
        self.path.join("unfinished.ext4")
    }

    /// The disk as it was when `name` was taken.
    pub(crate) fn snapshot(&self, name: &SnapshotName) -> PathBuf {
        if name.is_baseline() {
            return self.path.join("baseline.ext4");
        }
        self.named_snapshot(name.as_str())
    }

    /// The same for the name of one that a user took.
    pub(crate) fn named_snapshot(&self, name: &str) -> PathBuf {
        self.snapshots().join(format!("{name}.ext4"))
    }

    pub(crate) fn snapshots(&self) -> PathBuf {
        self.path.join("snapshots")
    }

    /// The values of its secrets, if it has some.
    pub(crate) fn secrets(&self) -> PathBuf {
        self.path.join("secrets.json")
    }

    /// The private directory of the VMM.
    pub(crate) fn machine(&self) -> PathBuf {
        self.path.join("machine")
    }

    /// Where calls into the guest go, each over a connection of its own.
    pub(crate) fn guest_socket(&self) -> PathBuf {
        self.path.join("guest.sock")
    }

    /// Where the supervisor is talked to.
    pub(crate) fn control_socket(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    /// What the supervisor complained about.
    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("supervisor.log")
    }

    pub(crate) fn alive_file(&self) -> PathBuf {
        self.path.join(ALIVE)
    }

    fn in_use_file(&self) -> PathBuf {
        self.path.join(IN_USE)
    }

    /// Makes the directory.
    pub(crate) fn create(&self) -> Result<(), FsError> {
        create_dir_all(&self.path)?;
        set_mode(&self.path, 0o700)?;
        create_dir_all(&self.snapshots())
    }

    /// Makes the directory, and takes the right to what is in it. Whoever sweeps may take it for abandoned in between.
    pub(crate) fn create_locked(&self) -> Result<FileLock, FsError> {
        const PATIENCE: Duration = Duration::from_secs(5);
        let begun = Instant::now();
        loop {
            match self.create().and_then(|()| self.lock(PATIENCE)) {
                Ok(lock) if self.path.join(LOCK).exists() => return Ok(lock),
                Err(error)
                    if error.source.kind() != io::ErrorKind::NotFound || begun.elapsed() > PATIENCE =>
                {
                    return Err(error);
                }
                // It was swept.
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// The right to take the workspace to another state. Fails with `TimedOut` when another process has it for longer than
    /// `patience`, and with `NotFound` when there is no such workspace.
    pub(crate) fn lock(&self, patience: Duration) -> Result<FileLock, FsError> {
        FileLock::acquire(&self.path.join(LOCK), patience, &|| {})
    }

    /// The right to be the supervisor.
    pub(crate) fn become_supervisor(&self, patience: Duration) -> Result<FileLock, FsError> {
        let lock = FileLock::acquire(&self.alive_file(), patience, &|| {})?;
        fs::write(self.alive_file(), std::process::id().to_string())
            .map_err(FsError::on("write", self.alive_file()))?;
        Ok(lock)
    }

    /// The right to start a VMM, which is to inherit this: it lasts until nobody has it any more.
    pub(crate) fn use_disk(&self, patience: Duration) -> Result<OwnedFd, FsError> {
        let lock = FileLock::acquire_read_only(&self.in_use_file(), patience)?;
        lock.share().map_err(FsError::on("share the lock of", self.in_use_file()))
    }

    /// Whether there is a supervisor.
    pub(crate) fn is_supervised(&self) -> bool {
        is_held(&self.alive_file())
    }

    /// Whether there is neither a supervisor nor a VMM, for which this waits at most `patience` for each.
    pub(crate) fn is_unused_within(&self, patience: Duration) -> Result<bool, FsError> {
        for file in [self.alive_file(), self.in_use_file()] {
            match FileLock::acquire(&file, patience, &|| {}) {
                Ok(_free) => {}
                Err(error) if error.source.kind() == io::ErrorKind::TimedOut => return Ok(false),
                // Nobody uses what is not there.
                Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Removes everything, the locks at last.
    pub(crate) fn remove(&self) -> Result<(), PyroError> {
        const PATIENCE: Duration = Duration::from_secs(2);
        const POLL: Duration = Duration::from_millis(10);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match remove_all_and_lock(&self.path, LOCK) {
                // What a killed creation has started ends after it, and may have made something meanwhile.
                Err(error)
                    if error.source.kind() == io::ErrorKind::DirectoryNotEmpty
                        && Instant::now() < deadline =>
                {
                    std::thread::sleep(POLL);
                }
                removed => return Ok(removed?),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_and_its_vmm_are_known_by_their_locks_and_not_by_the_files() {
        let data = tempfile::tempdir().unwrap();
        let directory = WorkspaceDirectory::new(data.path(), &WorkspaceId::parse("ws-1"));
        assert!(!directory.is_supervised());
        assert!(directory.lock(Duration::ZERO).is_err(), "there is no workspace");
        directory.create().unwrap();
        let lock = directory.become_supervisor(Duration::ZERO).unwrap();
        assert!(directory.is_supervised());
        let pid = fs::read_to_string(directory.alive_file()).unwrap();
        assert_eq!(pid, std::process::id().to_string());
        let inherited = directory.use_disk(Duration::ZERO).unwrap();
        drop(lock);
        assert!(!directory.is_supervised());
        assert!(!directory.is_unused_within(Duration::ZERO).unwrap(), "the VMM lives on");
        drop(inherited);
        assert!(directory.is_unused_within(Duration::ZERO).unwrap());
        directory.remove().unwrap();
        assert!(!directory.path().exists());
    }
}
