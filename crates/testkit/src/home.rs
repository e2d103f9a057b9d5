//! One test's own directories, and the check that nothing of it is left.

use crate::files::{children, sockets};
use crate::{Process, Pyro, Suite, Workspace, poll_until, processes, records};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// What pyro started has to be gone so soon after pyro itself, however that ended.
pub const GONE_DEADLINE: Duration = Duration::from_secs(10);
/// What workspaces are made from, where a test does not care.
const ENVIRONMENT: &str = "debian:12";

/// Everything that `pyro` keeps for one test. Dropping it checks that nothing is left, and removes it; when the test has
/// failed already, it only ends the processes.
#[derive(Debug)]
pub struct Home {
    suite: Suite,
    root: TempDir,
    cache: Option<PathBuf>,
}

impl Home {
    pub(crate) fn new(suite: Suite) -> Self {
        let homes = suite.directory().join("homes");
        fs::create_dir_all(&homes).expect("the target directory is writable");
        // The name has to be found nowhere but in what this home started.
        let root = tempfile::Builder::new().prefix("home-").rand_bytes(12).tempdir_in(homes);
        let root = root.expect("the target directory is writable");
        for directory in ["state", "data", "run", "tmp"] {
            fs::create_dir(root.path().join(directory)).expect("the test's directory is writable");
        }
        Self { suite, root, cache: None }
    }

    pub(crate) fn with_cache(mut self, cache: PathBuf) -> Self {
        self.cache = Some(cache);
        self
    }

    /// A call of the binary with this home and `arguments`.
    pub fn pyro<I: AsRef<str>>(&self, arguments: impl IntoIterator<Item = I>) -> Pyro {
        self.call(self.suite.program()).args(arguments)
    }

    /// The binary.
    pub fn program(&self) -> &'static str {
        self.suite.program()
    }

    /// A call of another program with this home.
    pub fn call(&self, program: &str) -> Pyro {
        let root = self.root.path();
        let cache = self.cache.clone().unwrap_or_else(|| self.own_cache());
        Pyro::new(program)
            .env("HOME", root)
            .env("XDG_CACHE_HOME", cache)
            .env("XDG_STATE_HOME", root.join("state"))
            .env("XDG_DATA_HOME", root.join("data"))
            .env("XDG_RUNTIME_DIR", root.join("run"))
            .env("TMPDIR", root.join("tmp"))
            // A process that makes a template behind a test's back would be left behind by it.
            .env("PYRO_TEMPLATES", "manual")
    }

    /// A directory for the test's own files, gone with the home.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// pyro's cache directory: the shared one, which must be left as it is, or this home's own.
    pub fn cache(&self) -> PathBuf {
        self.cache.clone().unwrap_or_else(|| self.own_cache()).join("pyro")
    }

    /// The templates in the cache.
    pub fn templates(&self) -> PathBuf {
        self.cache().join("templates")
    }

    /// What `XDG_CACHE_HOME` is for a home with a cache of its own.
    pub fn own_cache(&self) -> PathBuf {
        self.root.path().join("cache")
    }

    /// pyro's state directory.
    pub fn state(&self) -> PathBuf {
        self.root.path().join("state/pyro")
    }

    /// pyro's data directory.
    pub fn data(&self) -> PathBuf {
        self.root.path().join("data/pyro")
    }

    /// A new workspace.
    pub fn workspace(&self) -> Workspace<'_> {
        self.workspace_with(&[])
    }

    /// A new workspace, created with `flags`.
    pub fn workspace_with(&self, flags: &[&str]) -> Workspace<'_> {
        Workspace::create(self, ENVIRONMENT, flags)
    }

    /// The directory of a workspace.
    pub fn workspace_directory(&self, id: &str) -> PathBuf {
        self.data().join("workspaces").join(id)
    }

    /// What is on the disk of workspaces, in use or left behind: their directories and records.
    pub fn workspaces(&self) -> Vec<String> {
        let named = |kind: &'static str| move |name: String| format!("{kind} {name}");
        let directories = children(&self.data().join("workspaces"))
            .into_iter()
            .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        let directories = directories.map(named("directory"));
        directories.chain(records::ids(&self.store()).into_iter().map(named("record"))).collect()
    }

    fn store(&self) -> PathBuf {
        self.data().join("workspaces.db")
    }

    /// Directories of machines, in use or left behind.
    pub fn machines(&self) -> Vec<PathBuf> {
        children(&self.state().join("vms")).into_iter().filter(|path| path.is_dir()).collect()
    }

    /// The living processes of this home.
    pub fn processes(&self) -> Vec<Process> {
        processes::naming(self.root.path())
    }

    /// Fails the test unless every process of this home has ended within `deadline`.
    pub fn expect_no_process_within(&self, deadline: Duration) {
        let gone = poll_until(deadline, || self.processes().is_empty().then_some(())).is_some();
        assert!(gone, "still alive after {} s: {:#?}", deadline.as_secs(), self.processes());
    }

    /// Ends what lives, and says nothing: the test has failed already, and another panic would abort all tests.
    fn end_processes(&self) {
        let _ended = poll_until(GONE_DEADLINE, || {
            let living = self.processes();
            living.iter().for_each(Process::kill);
            living.is_empty().then_some(())
        });
    }

    /// What is left, in words, after ending the processes among it.
    fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        if poll_until(GONE_DEADLINE, || self.processes().is_empty().then_some(())).is_none() {
            for process in self.processes() {
                left.push(format!("process {}: {}", process.pid, process.command_line));
                process.kill();
            }
        }
        let named = |kind: &'static str| move |path: PathBuf| format!("{kind} {}", path.display());
        left.extend(self.machines().into_iter().map(named("machine")));
        left.extend(self.workspaces().into_iter().map(|left| format!("workspace: {left}")));
        left.extend(sockets(self.root.path()).into_iter().map(named("socket")));
        left.extend(children(&self.root.path().join("tmp")).into_iter().map(named("temporary file")));
        left
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return self.end_processes();
        }
        let left = self.leftovers();
        assert!(left.is_empty(), "the test left behind:\n{}", left.join("\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::process::Command;

    #[test]
    fn a_test_that_fails_leaves_no_process_and_is_told_why_it_failed() {
        let scratch = tempfile::tempdir().unwrap();
        let suite = Suite::new("pyro", scratch.path().to_str().unwrap().to_owned().leak());
        let mut child = None;
        let failed = catch_unwind(AssertUnwindSafe(|| {
            let home = suite.bare();
            // The check for what is left cannot even read this.
            fs::create_dir_all(home.data()).and_then(|()| fs::write(home.store(), "no store")).unwrap();
            child = Command::new("sleep").arg("60").env("HOME", home.path()).spawn().ok();
            let lives = poll_until(GONE_DEADLINE, || (!home.processes().is_empty()).then_some(()));
            assert!(lives.is_none(), "why it failed");
        }));
        assert_eq!(failed.unwrap_err().downcast_ref(), Some(&"why it failed"));
        assert!(!child.unwrap().wait().unwrap().success(), "it was killed");
    }
}
