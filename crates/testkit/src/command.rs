//! One call of the binary, before it is made.

use crate::output::Appetite;
use crate::{McpClient, Run, Running};
use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// No call takes this long unless something hangs.
const DEADLINE: Duration = Duration::from_mins(3);

/// Where packages come from and which engine guests run on is the matter of whoever runs the tests; everything else pyro reads is
/// the test's.
const KEPT_VARIABLES: [&str; 3] = ["PYRO_DEBIAN_MIRROR", "PYRO_ENGINE", "PYRO_FIRECRACKER_BIN"];

/// One call of the binary.
#[derive(Debug)]
pub struct Pyro {
    command: Command,
    deadline: Duration,
    stdout: Appetite,
}

impl Pyro {
    pub(crate) fn new(program: &str) -> Self {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if (text.starts_with("PYRO_") && !KEPT_VARIABLES.contains(&text.as_ref()))
                || text.starts_with("XDG_")
            {
                command.env_remove(&name);
            }
        }
        Self { command, deadline: DEADLINE, stdout: Appetite::default() }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I: AsRef<str>>(mut self, arguments: impl IntoIterator<Item = I>) -> Self {
        for argument in arguments {
            self.command.arg(argument.as_ref());
        }
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Has it not have an environment variable that the tests themselves may have.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Makes the call in this directory.
    #[must_use]
    pub fn within(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Has another program start the binary: `wrapper` is its command line up to where that of the binary begins.
    #[must_use]
    pub fn wrapped_in<I: AsRef<OsStr>>(mut self, wrapper: impl IntoIterator<Item = I>) -> Self {
        let mut words = wrapper.into_iter();
        let Some(program) = words.next() else { return self };
        let mut command = Command::new(program);
        command.args(words).arg(self.command.get_program()).args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        self.command = command;
        self
    }

    /// Fails the test when the call takes longer.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Keeps only the first so many bytes of standard output; the rest is counted.
    #[must_use]
    pub fn keep_stdout(mut self, bytes: usize) -> Self {
        self.stdout.keep = bytes;
        self
    }

    /// Closes the reading end of standard output after so many bytes, as `head` does.
    #[must_use]
    pub fn close_stdout_after(mut self, bytes: u64) -> Self {
        self.stdout.close_after = bytes;
        self
    }

    /// Makes the call and waits for its end.
    pub fn run(self) -> Run {
        self.spawn().wait()
    }

    /// Makes the call, which is one of a server that speaks MCP on its standard streams.
    pub fn mcp(mut self) -> McpClient {
        self.command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.command.spawn().expect("the binary can be started");
        McpClient::new(child, self.deadline)
    }

    /// Makes the call.
    pub fn spawn(mut self) -> Running {
        self.command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.command.spawn().expect("the binary can be started");
        Running::new(child, self.deadline, self.stdout)
    }
}
