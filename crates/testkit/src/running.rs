//! A call of the binary while it runs, and what came of it.

use crate::output::{Appetite, Output};
use crate::{Value, poll_until};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// A call that was made. Dropping it kills its process group.
#[derive(Debug)]
pub struct Running {
    child: Child,
    begun: Instant,
    deadline: Duration,
    stdout: Output,
    stderr: Output,
    peak_memory_kib: u64,
    reaped: bool,
}

/// What came of a call.
#[derive(Debug)]
pub struct Run {
    /// Its exit status; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// What was kept of standard output.
    pub stdout: Vec<u8>,
    /// Bytes on standard output, kept or not.
    pub stdout_bytes: u64,
    /// Standard error.
    pub stderr: String,
    /// From its start to its end.
    pub elapsed: Duration,
    /// The largest resident size of the process itself that was seen (`VmHWM`), in KiB.
    pub peak_memory_kib: u64,
}

impl Running {
    pub(crate) fn new(mut child: Child, deadline: Duration, appetite: Appetite) -> Self {
        let stdout = Output::read(child.stdout.take(), appetite);
        let stderr = Output::read(child.stderr.take(), Appetite::default());
        Self { child, begun: Instant::now(), deadline, stdout, stderr, peak_memory_kib: 0, reaped: false }
    }

    /// Waits until `text` is on standard error; fails the test when it ends, or its time is up, before that.
    pub fn wait_for_stderr(&mut self, text: &str) {
        let seen = poll_until(self.deadline.saturating_sub(self.begun.elapsed()), || {
            if self.stderr.text().contains(text) {
                return Some(true);
            }
            self.stderr.has_ended().then(|| self.stderr.text().contains(text))
        });
        assert_eq!(seen, Some(true), "`{text}` never came on standard error:\n{}", self.stderr.text());
    }

    /// The same for standard output, of which nothing must have been left out.
    pub fn wait_for_stdout(&mut self, text: &str) {
        let seen = poll_until(self.deadline.saturating_sub(self.begun.elapsed()), || {
            let has_ended = self.stdout.has_ended();
            if self.stdout.text().contains(text) { Some(true) } else { has_ended.then_some(false) }
        });
        assert_eq!(seen, Some(true), "`{text}` never came on standard output:\n{}", self.stderr.text());
    }

    /// What is on standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Sends a signal to the process alone.
    pub fn signal(&self, signal: Signal) {
        // That it has just ended shows in what came of it.
        let _ended = kill_process(self.pid(), signal);
    }

    /// Waits for the end; fails the test when the time is up before that.
    pub fn wait(mut self) -> Run {
        let left = self.deadline.saturating_sub(self.begun.elapsed());
        let Some(status) = poll_until(left, || self.look()) else {
            panic!(
                "no end after {} s; standard error so far:\n{}",
                self.deadline.as_secs(),
                self.stderr.text()
            );
        };
        let elapsed = self.begun.elapsed();
        self.reaped = true;
        self.stdout.finish("standard output");
        self.stderr.finish("standard error");
        Run {
            code: status.code(),
            signal: status.signal(),
            stdout_bytes: self.stdout.total(),
            stdout: self.stdout.take(),
            stderr: self.stderr.text(),
            elapsed,
            peak_memory_kib: self.peak_memory_kib,
        }
    }

    fn look(&mut self) -> Option<ExitStatus> {
        self.peak_memory_kib = peak_memory_kib(self.child.id()).unwrap_or(self.peak_memory_kib);
        self.child.try_wait().expect("a child can be waited for")
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.reaped {
            // It leads its group. Both fail only when it has ended already.
            let _ended = kill_process_group(self.pid(), Signal::KILL);
            let _reaped = self.child.wait();
        }
    }
}

impl Run {
    /// Fails the test unless this is the exit status.
    #[must_use]
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        if self.code != Some(code) {
            let stdout = String::from_utf8_lossy(&self.stdout[..self.stdout.len().min(4096)]);
            let Self { code: got, signal, stderr, .. } = &self;
            panic!(
                "exit status {got:?} (signal {signal:?}) instead of {code}\nstdout: {stdout}\nstderr: {stderr}"
            );
        }
        self
    }

    /// Fails the test unless it took less than so many seconds.
    #[must_use]
    #[track_caller]
    pub fn within(self, seconds: u64) -> Self {
        assert!(self.elapsed < Duration::from_secs(seconds), "it took {:?}: {}", self.elapsed, self.stderr);
        self
    }

    /// The error in the document on standard output: it has this exit status and code.
    #[track_caller]
    pub fn error(self, (status, code): (i32, &str)) -> Value {
        let error = self.expect(status).json()["error"].clone();
        assert!(error["code"] == code && error["message"].is_string(), "not `{code}`: {error:#}");
        error
    }

    /// The same for one that tells a way out.
    #[track_caller]
    pub fn refused(self, refusal: (i32, &str)) -> Value {
        let error = self.error(refusal);
        assert!(error["hint"].is_string(), "no way out: {error:#}");
        error
    }

    /// Standard output, which has to be text.
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("standard output is text")
    }

    /// Standard output, which has to be one JSON document and nothing else.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).expect("standard output is one JSON document")
    }

    /// The last line of standard error.
    pub fn last_line(&self) -> &str {
        self.stderr.lines().next_back().unwrap_or_default()
    }
}

/// `None` once the process has ended.
fn peak_memory_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
