//! Programs that are published as node packages: the chat hosts that pyro registers with, and an inspector of MCP servers.
//!
//! They are installed once into the target directory, in these versions, by npm, and are shared by all tests. Scripts that
//! packages bring are not left to npm, which may be told not to run any: the two that put a program into its place are run
//! here. What cannot be had fails the test that needs it.

use crate::{Suite, poll_until};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const PACKAGES: [&str; 4] = [
    "@anthropic-ai/claude-code@2.1.197",
    "@openai/codex@0.169.0",
    "opencode-ai@1.18.33",
    "@modelcontextprotocol/inspector@0.15.0",
];
/// Directories of packages, and the script of theirs that puts their program into its place.
const SCRIPTS: [(&str, &str); 2] =
    [("@anthropic-ai/claude-code", "install.cjs"), ("opencode-ai", "postinstall.mjs")];
/// About 600 MB come over the network.
const DEADLINE: Duration = Duration::from_mins(15);
const LOG_LINES: usize = 30;

/// Where they are, or why they are not there, once this process has looked.
static INSTALLED: Mutex<Option<Result<PathBuf, String>>> = Mutex::new(None);

impl Suite {
    /// The directory with `claude`, `codex`, `opencode` and `mcp-inspector`, as `PATH` needs it. Fails the test where they
    /// cannot be had: npm and a registry of its packages are what it takes.
    pub fn node_programs(self) -> PathBuf {
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = installed.get_or_insert_with(|| install(&self.scratch().join("pyro-hosts"))).clone();
        drop(installed);
        outcome.unwrap_or_else(|why| panic!("the programs of chat hosts cannot be installed: {why}"))
    }
}

/// A second process waits for the first, and finds the work done.
fn install(directory: &Path) -> Result<PathBuf, String> {
    let failed = |error: std::io::Error| error.to_string();
    fs::create_dir_all(directory).map_err(failed)?;
    let lock = File::create(directory.join("lock")).map_err(failed)?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
    let (record, versions) = (directory.join("installed"), PACKAGES.join("\n"));
    if fs::read_to_string(&record).unwrap_or_default() != versions {
        // Without a manifest of its own npm installs into the next directory above that has one.
        fs::write(directory.join("package.json"), "{\"private\": true}\n").map_err(failed)?;
        let mut npm = Command::new("npm");
        npm.args([
            "install",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--no-package-lock",
            "--loglevel=error",
        ]);
        run(npm.arg("--prefix").arg(directory).args(PACKAGES), directory)?;
        for (package, script) in SCRIPTS {
            let package = directory.join("node_modules").join(package);
            run(Command::new("node").arg(script).current_dir(package), directory)?;
        }
        fs::write(record, versions).map_err(failed)?;
    }
    Ok(directory.join("node_modules/.bin"))
}

/// Runs a command to its end. What it says is kept in a file, of which the end is told when it fails.
fn run(command: &mut Command, directory: &Path) -> Result<(), String> {
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
