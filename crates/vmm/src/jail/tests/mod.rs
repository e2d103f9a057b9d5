//! Jailed processes, and what they get away with. Every attempt that an ordinary process of the host's would succeed at is
//! made by one as well, without a jail, so that no test passes because the attempt was wrong.
//!
//! The processes run Python, which can make any system call. Started by root, all tests run once more as another user.

mod files;
mod network;
mod processes;

use super::{Creates, Directory, Jail, JailLevel, LandlockLevel, Sockets};
use crate::cgroup::Resources;
use crate::process::KeptProcess;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(20);

/// What a script begins with. An attempt is a line of the output: its name, and `done` or why not.
const PRELUDE: &str = r"
import ctypes, errno, os, socket, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
def attempt(name, act):
    try:
        act()
        outcome = 'done'
    except OSError as error:
        outcome = errno.errorcode.get(error.errno, str(error))
    except ValueError:
        outcome = 'absent'
    print(name, outcome, flush=True)
def call(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) for a in arguments])
    if result < 0:
        raise OSError(ctypes.get_errno(), 'refused')
    return result
def read(path):
    with open(path, 'rb') as file:
        return file.read(16)
";

/// A host with a machine's files on it, and files that are none of the machine's business.
struct Host {
    scratch: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let host = Self { scratch };
        for (path, content) in [
            ("home/secret", "secret"),
            ("machines/other/disk", "another's"),
            ("cache/image", "image"),
            ("machines/own/disk", "disk"),
        ] {
            let path = host.path(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// A jail with Python and the machine's files.
    fn jail(&self) -> Jail {
        let name = self.scratch.path().file_name().unwrap().to_string_lossy();
        Jail {
            name: format!("jail-test-{name}"),
            programs: ["/usr", "/bin", "/lib", "/lib64"].map(PathBuf::from).to_vec(),
            readable: vec![self.path("cache/image"), self.path("not-there")],
            writable: vec![self.path("machines/own/disk"), "/dev/null".into()],
            directory: Directory { path: self.path("machines/own"), may_create: Creates::Nothing },
            named_descriptors: false,
            sockets: Sockets::None,
            tkill: false,
            max_file_bytes: 1 << 20,
            resources: Resources { memory_bytes: 512 << 20, vcpus: 1 },
        }
    }

    /// A jail whose directory is the host's.
    fn jail_with_directory(&self) -> Jail {
        let directory = Directory { path: self.path("machines/own"), may_create: Creates::Files };
        Jail { directory, sockets: Sockets::Unix, ..self.jail() }
    }
}

fn python(script: &str, directory: &Path) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-I", "-S", "-c", &format!("{PRELUDE}{script}")]).env_clear().current_dir(directory);
    pyro_runtime::child::attach(&mut command);
    command
}

/// Waits until the process has printed `text`.
async fn until_it_says(text: &str, process: &KeptProcess) {
    let begun = Instant::now();
    while !process.output().contains(text) {
        assert!(begun.elapsed() < DEADLINE, "{}", process.output());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What became of the attempts of one process.
struct Outcomes {
    attempts: BTreeMap<String, String>,
    level: Option<JailLevel>,
}

impl Outcomes {
    async fn of(script: &str, host: &Host, jail: Option<Jail>, inherited: Vec<OwnedFd>) -> Self {
        let command = python(script, &host.path("machines/own"));
        let process = KeptProcess::start(command, jail, inherited).await.unwrap();
        let level = process.jail().cloned();
        let exit = process.wait().await;
        assert_eq!(exit.status, "exit status: 0", "{}", process.output());
        let output = process.output();
        let attempts = output.lines().filter_map(|line| line.split_once(' '));
        Self { attempts: attempts.map(|(name, outcome)| (name.into(), outcome.into())).collect(), level }
    }

    fn outcome(&self, name: &str) -> &str {
        self.attempts.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.attempts))
    }

    /// The filter is all there is, which does not know paths.
    fn is_without_walls(&self) -> bool {
        self.level.as_ref().is_some_and(|level| level.landlock == LandlockLevel::None)
            && !self.in_namespaces()
    }

    fn in_namespaces(&self) -> bool {
        self.level.as_ref().is_some_and(|level| level.namespaces.is_ok())
    }
}

/// Every attempt of `script` succeeds on the host and fails in `jail`. Returns what happened in the jail.
async fn refused(script: &str, host: &Host, jail: Jail) -> Outcomes {
    let free = Outcomes::of(script, host, None, vec![]).await;
    let jailed = Outcomes::of(script, host, Some(jail), vec![]).await;
    assert!(!free.attempts.is_empty());
    for (attempt, outcome) in &free.attempts {
        assert_eq!(outcome, "done", "{attempt} without a jail");
        assert_ne!(jailed.outcome(attempt), "done", "{attempt} at {:?}", jailed.level);
    }
    jailed
}

#[test]
fn all_of_this_holds_for_an_ordinary_user() {
    const NOBODY: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    if std::os::unix::fs::chown(scratch.path(), Some(NOBODY), Some(NOBODY)).is_err() {
        return eprintln!("skipped: there is no other user in this user namespace");
    }
    // By the link, as the program may lie where only root gets.
    let mut command = Command::new("/proc/self/exe");
    command.arg("jail::").env("TMPDIR", scratch.path()).current_dir("/").gid(NOBODY).uid(NOBODY);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
