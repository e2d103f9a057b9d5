//! Programs that tests need and that are installed once, into the target directory.

use crate::poll_until;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Hundreds of megabytes may come over the network.
const DEADLINE: Duration = Duration::from_mins(15);
const LOG_LINES: usize = 30;

/// Where something is, or why it is not there, once this process has looked.
pub(crate) struct Installed(Mutex<Option<Result<PathBuf, String>>>);

impl Installed {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// What `install` makes in `directory`, which does so once for these `versions`. Fails the test where it cannot.
    pub(crate) fn get(
        &self,
        what: &str,
        directory: &Path,
        versions: &str,
        install: impl FnOnce(&Path) -> Result<PathBuf, String>,
    ) -> PathBuf {
        let mut installed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = installed.get_or_insert_with(|| once(directory, versions, install)).clone();
        drop(installed);
        outcome.unwrap_or_else(|why| panic!("{what} cannot be installed: {why}"))
    }
}

/// A second process waits for the first, and finds the work done.
fn once(
    directory: &Path,
    versions: &str,
    install: impl FnOnce(&Path) -> Result<PathBuf, String>,
) -> Result<PathBuf, String> {
    let failed = |error: std::io::Error| error.to_string();
    fs::create_dir_all(directory).map_err(failed)?;
    let lock = File::create(directory.join("lock")).map_err(failed)?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
    let (record, place) = (directory.join("installed"), directory.join("place"));
    if fs::read_to_string(&record).unwrap_or_default() == versions {
        return fs::read_to_string(place).map(PathBuf::from).map_err(failed);
    }
    let installed = install(directory)?;
    fs::write(place, installed.to_string_lossy().as_bytes()).map_err(failed)?;
    fs::write(record, versions).map_err(failed)?;
    Ok(installed)
}

/// Runs a command to its end. What it says is kept in a file, of which the end is told when it fails.
pub(crate) fn run(command: &mut Command, directory: &Path) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |error: std::io::Error| format!("`{name}`: {error}");
    let path = directory.join("log");
    let log = File::create(&path).map_err(failed)?;
    command.stdin(Stdio::null()).stderr(log.try_clone().map_err(failed)?).stdout(log).process_group(0);
    let mut child = command.spawn().map_err(failed)?;
    let Some(status) = poll_until(DEADLINE, || child.try_wait().ok().flatten()) else {
        // It leads its group. Both fail only when it has ended already.
        let _ended = kill_process_group(Pid::from_child(&child), Signal::KILL);
        let _reaped = child.wait();
        return Err(format!("`{name}` did not end within {} min", DEADLINE.as_secs() / 60));
    };
    if status.success() {
        return Ok(());
    }
    let said = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = said.lines().collect();
    Err(format!("`{name}`: {status}\n{}", lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")))
}
