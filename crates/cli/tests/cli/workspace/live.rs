//! A workspace of a test's own, used through the binary.

use crate::{DEBIAN, SUITE};
use pyro_testkit::{Home, Pyro, Value};
use std::path::Path;

/// A running workspace in a home of its own; deleted with it.
pub struct Live {
    pub home: Home,
    pub id: String,
}

impl Live {
    /// One with nothing in it.
    pub fn empty() -> Self {
        Self::create(SUITE.with(DEBIAN), &[])
    }

    /// One that begins with `source`.
    pub fn seeded(home: Home, source: &Path) -> Self {
        Self::create(home, &["--seed-path", text(source)])
    }

    pub fn create(home: Home, flags: &[&str]) -> Self {
        let created = home.pyro(["workspace", "create", DEBIAN, "--id-only"]).args(flags).run().expect(0);
        let id = created.text().trim().to_owned();
        Self { home, id }
    }

    /// A call of `pyro workspace COMMAND ID ARGUMENTS`.
    pub fn call(&self, command: &str, arguments: &[&str]) -> Pyro {
        let words = command.split_whitespace();
        self.home.pyro(["workspace"]).args(words).args([&self.id]).args(arguments)
    }

    /// The result of a call that succeeds.
    #[track_caller]
    pub fn json(&self, command: &str, arguments: &[&str]) -> Value {
        self.call(command, arguments).args(["--json"]).run().expect(0).json()
    }

    /// The error of a call that fails, with this code and these words in it.
    #[track_caller]
    pub fn refused(&self, command: &str, arguments: &[&str], code: &str, said: &str) -> Value {
        let run = self.call(command, arguments).args(["--json"]).run();
        let status = if code == "invalid_input" { 2 } else { 1 };
        let error = run.expect(status).json()["error"].clone();
        let message = error["message"].as_str().unwrap();
        assert!(error["code"] == code && message.contains(said), "{command} {arguments:?}: {error:#}");
        error
    }

    /// A call of `pyro workspace exec ID -- sh -c SCRIPT`.
    pub fn exec(&self, script: &str) -> Pyro {
        self.call("exec", &["--", "sh", "-c", script])
    }

    /// What a script says that succeeds.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.exec(script).run().expect(0).text().to_owned()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // What is left is the home's to find.
        let _deleted = self.call("delete", &[]).run();
    }
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
