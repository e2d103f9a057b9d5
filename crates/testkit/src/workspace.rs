//! A workspace of a test.

use crate::{GONE_DEADLINE, Home, Process, Pyro, Run, Value, poll_until};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;

/// A workspace in a home. Dropping it deletes it through the binary, unless the test has failed already: then the home ends
/// what is left.
#[derive(Debug)]
pub struct Workspace<'home> {
    home: &'home Home,
    id: String,
    is_kept: bool,
}

impl<'home> Workspace<'home> {
    pub(crate) fn create(home: &'home Home, environment: &str, flags: &[&str]) -> Self {
        let create = home.pyro(["workspace", "create", environment, "--id-only"]).args(flags);
        Self::adopt(home, create.run().expect(0).text().trim())
    }

    /// One that was created in another way.
    pub fn adopt(home: &'home Home, id: &str) -> Self {
        Self { home, id: id.to_owned(), is_kept: true }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A call of `pyro workspace COMMAND ID ARGUMENTS`; the command may have several words.
    pub fn call(&self, command: &str, arguments: &[&str]) -> Pyro {
        self.home.pyro(["workspace"]).args(command.split(' ')).args([&self.id]).args(arguments)
    }

    /// The result of a call that has to succeed.
    #[track_caller]
    pub fn json(&self, command: &str, arguments: &[&str]) -> Value {
        self.call(command, &["--json"]).args(arguments).run().expect(0).json()
    }

    /// The error of a call that has to end with `status` and `code`, and gives a way out.
    #[track_caller]
    pub fn refused(&self, command: &str, arguments: &[&str], (status, code): (i32, &str)) -> Value {
        self.call(command, &["--json"]).args(arguments).run().refused((status, code))
    }

    /// The same with `said` in the message, and with or without a way out.
    #[track_caller]
    pub fn refused_saying(
        &self,
        command: &str,
        arguments: &[&str],
        refusal: (i32, &str),
        said: &str,
    ) -> Value {
        let error = self.call(command, &["--json"]).args(arguments).run().error(refusal);
        let message = error["message"].as_str().unwrap_or_default();
        assert!(message.contains(said), "{command} {arguments:?}: no `{said}` in {error:#}");
        error
    }

    /// How it stands.
    #[track_caller]
    pub fn status(&self) -> Value {
        self.json("status", &[])
    }

    /// A call of `pyro workspace exec ID FLAGS -- sh -c SCRIPT`.
    pub fn exec(&self, flags: &[&str], script: &str) -> Pyro {
        self.call("exec", flags).args(["--", "sh", "-c", script])
    }

    /// What a script prints that has to succeed.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.exec(&[], script).run().expect(0).text().to_owned()
    }

    /// Deletes it.
    #[track_caller]
    pub fn delete(mut self) -> Run {
        self.is_kept = false;
        self.call("delete", &["--json"]).run().expect(0)
    }

    /// Leaves its end to somebody else.
    pub fn forget(mut self) {
        self.is_kept = false;
    }

    /// Its supervisor, if it lives.
    pub fn supervisor(&self) -> Option<Process> {
        let begins = |process: &Process| {
            let mut words = process.command_line.split(' ').skip(1);
            words.next() == Some("supervise") && words.next() == Some(&self.id)
        };
        self.home.processes().into_iter().find(begins)
    }

    /// Whether somebody holds the lock that says that its disk is in use.
    pub fn is_in_use(&self) -> bool {
        let lock = File::open(self.home.workspace_directory(&self.id).join("in-use"));
        lock.is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared).is_err())
    }

    /// Takes that lock, once its VMM is gone, and so stands for one that does not end.
    pub fn use_disk(&self) -> File {
        let lock =
            File::open(self.home.workspace_directory(&self.id).join("in-use")).expect("it was started");
        let taken = || flock(&lock, FlockOperation::NonBlockingLockExclusive).ok();
        assert!(poll_until(GONE_DEADLINE, taken).is_some(), "its VMM does not end");
        lock
    }

    /// The VMM of its guest, if it lives: the child of its supervisor.
    pub fn vmm(&self) -> Option<Process> {
        let supervisor = self.supervisor()?.pid;
        self.home.processes().into_iter().find(|process| process.parent() == Some(supervisor))
    }
}

impl Drop for Workspace<'_> {
    fn drop(&mut self) {
        if self.is_kept && !std::thread::panicking() {
            let _deleted = self.call("delete", &[]).run().expect(0);
        }
    }
}
