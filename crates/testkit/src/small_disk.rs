//! A file system of limited size, for what happens when a disk is full.

use crate::files::children;
use rustix::process::geteuid;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Mounts, and stays until its input ends: the mount lives as long as a process that sees it.
const HOLD: &str = "mount -t tmpfs -o size=$1 pyro-test \"$2\" && echo mounted && read -r _";

/// A file system in memory, mounted on a directory where only processes that enter it see it. Root mounts it in a mount
/// namespace of its own; others need a user namespace besides.
#[derive(Debug)]
pub struct SmallDisk {
    directory: PathBuf,
    holder: Child,
}

impl SmallDisk {
    /// Fails the test where the host allows no such namespace.
    pub fn on(directory: &Path, mib: u32) -> Self {
        let mut command = Command::new("unshare");
        if !geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--mount", "sh", "-c", HOLD, "sh", &format!("{mib}m")]).arg(directory);
        let holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut disk =
            Self { directory: directory.to_owned(), holder: holder.expect("util-linux has unshare") };
        let mut said = String::new();
        if let Some(stdout) = disk.holder.stdout.take() {
            BufReader::new(stdout).read_line(&mut said).expect("a pipe can be read");
        }
        assert_eq!(said, "mounted\n", "a tmpfs in a mount namespace is what this test needs");
        disk
    }

    /// How a command line that sees it has to begin.
    pub fn enter(&self) -> Vec<String> {
        let mut words =
            vec!["nsenter".to_owned(), format!("--target={}", self.holder.id()), "--mount".to_owned()];
        if !geteuid().is_root() {
            words.extend(["--user".to_owned(), "--preserve-credentials".to_owned()]);
        }
        words
    }

    /// Gives it another size; what is on it stays.
    pub fn resize(&self, mib: u32) {
        // With a source `mount` asks for nothing but the size; without, also for what only the host's root may.
        let resize = ["mount", "-t", "tmpfs", "-o", &format!("remount,size={mib}m"), "pyro-test"];
        let words = self.enter();
        let resized = Command::new(&words[0]).args(&words[1..]).args(resize).arg(&self.directory).status();
        assert!(resized.is_ok_and(|status| status.success()), "it cannot be resized to {mib} MiB");
    }

    /// Where it can be seen by everybody.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/root{}", self.holder.id(), self.directory.display()).into()
    }

    /// The names of the files on it, in order.
    pub fn files(&self) -> Vec<String> {
        let names = children(&self.path()).into_iter();
        let mut names: Vec<_> =
            names.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
        names.sort();
        names
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ended = self.holder.kill();
        let _reaped = self.holder.wait();
    }
}
