//! Advisory locks on files, so that two processes at once end with one piece of work done.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};

use crate::fs::FsError;

/// How soon a busy lock is tried again: at first, and at most after many tries.
const FIRST_POLL: Duration = Duration::from_millis(1);
const LONGEST_POLL: Duration = Duration::from_millis(100);

/// An exclusive lock, held until dropped (or until the process ends, however it ends).
#[derive(Debug)]
pub struct FileLock {
    file: File,
    /// Somebody else may hold it on.
    is_shared: AtomicBool,
}

impl FileLock {
    /// The locked file once more: the lock lasts until this, too, is closed, by whoever inherited it.
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.is_shared.store(true, Ordering::Relaxed);
        Ok(self.file.try_clone()?.into())
    }

    /// Takes the lock on the file at `path`, which is created and stays. `busy` is called once when another process
    /// holds it; fails with `TimedOut` when it still does after `patience`.
    pub fn acquire(path: &Path, patience: Duration, busy: &dyn Fn()) -> Result<Self, FsError> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(FsError::on("open", path))?;
        Self::of(file, path, patience, busy)
    }

    /// The same, by a descriptor that whoever it is shared with cannot write to the file by.
    pub fn acquire_read_only(path: &Path, patience: Duration) -> Result<Self, FsError> {
        let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::CLOEXEC;
        let file = open(path, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| FsError::on("open", path)(error.into()))?;
        Self::of(file.into(), path, patience, &|| {})
    }

    fn of(file: File, path: &Path, patience: Duration, busy: &dyn Fn()) -> Result<Self, FsError> {
        lock_file(&file, patience, busy).map_err(FsError::on("lock", path))?;
        Ok(Self { file, is_shared: AtomicBool::new(false) })
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing it is not enough: a child that was just forked has the file, too, until it executes its program.
        if !*self.is_shared.get_mut() {
            // That it fails for an open file that is locked is not heard of; it is closed in any case.
            let _unlocked = flock(&self.file, FlockOperation::Unlock);
        }
    }
}

/// Whether a living process holds the lock on the file at `path`; where that cannot be found out, it may. Asking does not get in
/// the way of others who ask.
pub fn is_held(path: &Path) -> bool {
    match File::open(path) {
        Ok(file) => flock(&file, FlockOperation::NonBlockingLockShared).is_err(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Locks an open file, waiting at most `patience`.
pub(crate) fn lock_file(file: &File, patience: Duration, busy: &dyn Fn()) -> io::Result<()> {
    let start = Instant::now();
    let (mut told, mut poll) = (false, FIRST_POLL);
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::WOULDBLOCK) if start.elapsed() < patience => {
                if !told {
                    busy();
                    told = true;
                }
                std::thread::sleep(poll);
                poll = (poll * 2).min(LONGEST_POLL);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::io::Write;

    #[test]
    fn a_lock_ends_with_its_holder_but_for_whom_it_was_shared_with() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = FileLock::acquire(&path, Duration::ZERO, &|| {}).unwrap();
        // As a child has it between fork and exec.
        let copy = lock.file.try_clone().unwrap();
        drop(lock);
        assert!(!is_held(&path));
        drop(copy);
        let lock = FileLock::acquire_read_only(&path, Duration::ZERO).unwrap();
        assert!(FileLock::acquire(&path, Duration::ZERO, &|| {}).is_err());
        let shared = lock.share().unwrap();
        drop(lock);
        assert!(File::from(shared.try_clone().unwrap()).write_all(b"x").is_err());
        assert!(is_held(&path));
        drop(shared);
        assert!(!is_held(&path));
    }

    #[test]
    fn a_second_holder_waits_and_gives_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = FileLock::acquire(&path, Duration::ZERO, &|| {}).unwrap();
        let told = Cell::new(0);
        let error =
            FileLock::acquire(&path, Duration::from_millis(150), &|| told.set(told.get() + 1)).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::TimedOut);
        assert_eq!(told.get(), 1);
        assert!(is_held(&path));
        drop(first);
        assert!(!is_held(&path) && !is_held(&dir.path().join("none")));
        FileLock::acquire(&path, Duration::ZERO, &|| {}).unwrap();
    }
}
