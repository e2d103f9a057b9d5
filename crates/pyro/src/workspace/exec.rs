//! One command in a workspace, on record from its beginning to its end.
//!
//! What a command wrote is on the workspace's disk before its result is reported, unless the guest is too busy writing: then
//! the result says so.

use super::access::Session;
use super::{SecretEnv, WorkspaceId};
use crate::boxed;
use crate::engine::blocking;
use crate::store::{CommandKey, CommandOutcome, NewCommand, Store};
use crate::vm::{
    DEFAULT_TIMEOUT_SECONDS, Finished, OutputMode, check_command, execute, limited, milliseconds, seconds,
};
use crate::{Pyro, PyroError};
use pyro_protocol::error::{Diagnostic, ErrorKind, chain};
use pyro_vmm::guest::ExecRequest;
use serde::Serialize;
use std::fs;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Most bytes of each output in the journal.
const MAX_JOURNAL_BYTES: usize = 1 << 20;
/// How long what a command wrote may take to get to the disk.
const FLUSH_PATIENCE: Duration = Duration::from_secs(10);

/// One command.
#[derive(Debug, Clone)]
pub struct WorkspaceExec {
    /// Program and arguments; no shell is involved.
    pub command: Vec<String>,
    /// After so many seconds the command is killed and the result says 124.
    pub timeout_seconds: u64,
    /// Secrets that become variables of it.
    pub secret_env: Vec<SecretEnv>,
}

impl WorkspaceExec {
    /// A command with every default.
    pub fn new(command: Vec<String>) -> Self {
        Self { command, timeout_seconds: DEFAULT_TIMEOUT_SECONDS, secret_env: Vec::new() }
    }
}

/// What a command did.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkspaceExecResult {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// Its number in the journal; 0 when it is not in there.
    pub sequence: u64,
    /// The command, as given, without values of secrets.
    pub command: Vec<String>,
    /// Where it ran.
    pub cwd: &'static str,
    /// Captured standard output, with U+FFFD for what is not UTF-8; empty when streamed.
    pub stdout: String,
    /// Captured standard error, likewise.
    pub stderr: String,
    /// The command's exit code; 128 + signal; 124 when it timed out; 127 not found; 126 not executable.
    pub exit_code: u8,
    /// It ran into its timeout and its process group was killed.
    pub timed_out: bool,
    /// Milliseconds that the command ran.
    pub duration_ms: u64,
    /// How it was run.
    pub execution_mode: String,
    /// Bytes written to standard output, kept or not.
    pub stdout_bytes: u64,
    /// Bytes written to standard error, kept or not.
    pub stderr_bytes: u64,
    /// Some captured output was not kept.
    pub truncated: bool,
    /// Some captured output is not UTF-8, so that the text differs from it.
    pub binary: bool,
    /// Why what it wrote may not be on the workspace's disk yet, and be lost in a crash; absent when it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flush_error: Option<String>,
    /// Why the journal does not say how it ended; absent when it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal_error: Option<String>,
}

impl Pyro {
    /// Runs one command in `/workspace` to its end. Dropping the future kills it.
    ///
    /// Fails when the request is invalid, or the workspace does not run; a command that fails, is not found, or times out is
    /// a result.
    #[boxed]
    pub async fn exec_workspace(
        &self,
        id: &WorkspaceId,
        exec: WorkspaceExec,
        output: OutputMode,
    ) -> Result<WorkspaceExecResult, PyroError> {
        check_command(&exec.command)?;
        let limit = seconds("timeout_seconds", exec.timeout_seconds)?;
        let session = self.session(id, "a command").await?;
        let secrets = session.record.secret_variables(&exec.secret_env)?;
        let command = session.redaction.words(&exec.command);
        let (entry, mut journal_error) = self.begin_entry(id, &command).await?;
        let argv = exec.command.into_iter().map(String::into_bytes).collect();
        let request = ExecRequest { secrets, ..limited(argv, limit) };
        let is_captured = matches!(output, OutputMode::Capture);
        let executed = execute(&session.guest, request, output, MAX_JOURNAL_BYTES).await;
        let finished = match executed {
            Ok(outcome) => outcome.finish(),
            Err(error) => {
                let error = self.explain(&session, error).await;
                if let Some(entry) = entry {
                    entry.interrupted(&chain(&error)).await;
                }
                return Err(error);
            }
        };
        let mut sequence = 0;
        if let Some(entry) = entry {
            (sequence, journal_error) = entry.end(&finished).await;
        }
        // A guest that did not even report that the time was up does not flush either.
        let is_stuck = finished.status.timed_out && finished.status.output_cut;
        let flush_error =
            if is_stuck { Some("the guest does not answer".to_owned()) } else { flush(&session).await };
        let executed = result(&session, sequence, command, finished, is_captured);
        Ok(WorkspaceExecResult { flush_error, journal_error, ..executed })
    }
}

impl Pyro {
    /// Records that a command begins. A host whose disk is full keeps no journal; what the workspace holds can still be worked
    /// with, and saved.
    async fn begin_entry(
        &self,
        id: &WorkspaceId,
        command: &[String],
    ) -> Result<(Option<JournalEntry>, Option<String>), PyroError> {
        match JournalEntry::begin(self.store().await?, id.clone(), command.to_vec()).await {
            Ok(entry) => Ok((Some(entry), None)),
            Err(error) if error.kind() == ErrorKind::Exhausted => Ok((None, Some(chain(&error)))),
            Err(error) => Err(error),
        }
    }
}

fn result(
    session: &Session,
    sequence: u64,
    command: Vec<String>,
    finished: Finished,
    is_captured: bool,
) -> WorkspaceExecResult {
    let shown = |text: String| if is_captured { text } else { String::new() };
    WorkspaceExecResult {
        workspace_id: session.record.id.clone(),
        sequence,
        command,
        cwd: pyro_protocol::WORKSPACE_DIR,
        truncated: is_captured && (finished.stdout.truncated || finished.stderr.truncated),
        binary: finished.stdout.lossy || finished.stderr.lossy,
        stdout_bytes: finished.stdout.bytes,
        stderr_bytes: finished.stderr.bytes,
        stdout: shown(finished.stdout.text),
        stderr: shown(finished.stderr.text),
        exit_code: finished.status.exit_code,
        timed_out: finished.status.timed_out,
        duration_ms: milliseconds(finished.status.duration),
        execution_mode: session.record.execution_mode().to_owned(),
        flush_error: None,
        journal_error: None,
    }
}

/// Has the guest flush its disk; tells why it has not.
async fn flush(session: &Session) -> Option<String> {
    if !session.record.is_guest() {
        return None;
    }
    let busy = || format!("the guest was still writing after {} s", FLUSH_PATIENCE.as_secs());
    match timeout(FLUSH_PATIENCE, session.guest.sync()).await {
        Ok(flushed) => flushed.err().map(|error| chain(&error)),
        Err(_) => Some(busy()),
    }
}

/// A command on record. Dropping it before its end, as when its future is dropped, records that nobody knows how it ended.
struct JournalEntry {
    store: Store,
    id: WorkspaceId,
    command: CommandKey,
    begun: Instant,
    is_ended: bool,
}

impl JournalEntry {
    async fn begin(store: Store, id: WorkspaceId, command: Vec<String>) -> Result<Self, PyroError> {
        blocking(move || {
            let new = NewCommand { command, waiter: this_process() };
            let command = store.transact(|store| new.insert(store, &id))?;
            Ok(Self { store, id, command, begun: Instant::now(), is_ended: false })
        })
        .await
    }

    /// Records how the command ended; returns its number, and why that could not be recorded.
    async fn end(self, finished: &Finished) -> (u64, Option<String>) {
        let outcome = CommandOutcome {
            exit_code: Some(finished.status.exit_code),
            timed_out: finished.status.timed_out,
            duration_ms: milliseconds(finished.status.duration),
            stdout_bytes: finished.stdout.bytes,
            stderr_bytes: finished.stderr.bytes,
            truncated: finished.stdout.truncated || finished.stderr.truncated,
            interrupted: None,
        };
        let (stdout, stderr) = (finished.stdout.text.clone(), finished.stderr.text.clone());
        let sequence = self.command.sequence;
        let recorded = blocking(move || {
            let mut entry = self;
            entry.record(&outcome, (&stdout, &stderr))
        });
        (sequence, recorded.await.err().map(|error| chain(&error)))
    }

    async fn interrupted(self, why: &str) {
        let why = why.to_owned();
        // A workspace that is gone has no journal either.
        let _unrecorded = blocking(move || {
            let mut entry = self;
            entry.record(&CommandOutcome::interrupted(why, entry.begun.elapsed()), ("", ""))
        })
        .await;
    }

    fn record(&mut self, outcome: &CommandOutcome, outputs: (&str, &str)) -> Result<(), PyroError> {
        self.is_ended = true;
        Ok(self.store.transact(|store| outcome.update(store, &self.id, self.command, outputs))?)
    }
}

impl Drop for JournalEntry {
    fn drop(&mut self) {
        if !self.is_ended {
            let why = "it was cancelled, and killed".to_owned();
            let cancelled = CommandOutcome::interrupted(why, self.begun.elapsed());
            // Where it cannot be recorded, the journal finds that nobody waits for it any more.
            let _unrecorded = self.record(&cancelled, ("", ""));
        }
    }
}

/// This process, as no other one is named: its id, and when it started.
fn this_process() -> String {
    let pid = std::process::id();
    format!("{pid} {}", start_time(pid).unwrap_or_default())
}

/// Whether a process that [`this_process`] named is still there.
pub(super) fn is_alive(process: &str) -> bool {
    let mut parts = process.split(' ');
    let pid = parts.next().and_then(|pid| pid.parse().ok());
    pid.and_then(start_time).is_some_and(|started| parts.next() == Some(started.as_str()))
}

/// When a process started, in ticks since the host did, with the host's boot id.
fn start_time(pid: u32) -> Option<String> {
    const START_TIME_AFTER_NAME: usize = 19;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let ticks = stat.rsplit_once(") ")?.1.split(' ').nth(START_TIME_AFTER_NAME)?.to_owned();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(format!("{ticks}@{}", boot.trim()))
}

impl CommandOutcome {
    fn interrupted(why: String, ran: Duration) -> Self {
        Self {
            exit_code: None,
            timed_out: false,
            duration_ms: milliseconds(ran),
            stdout_bytes: 0,
            stderr_bytes: 0,
            truncated: false,
            interrupted: Some(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_more_than_its_id() {
        let this = this_process();
        assert!(is_alive(&this), "{this}");
        let pid = std::process::id();
        assert!(!is_alive(&format!("{pid} 1@another-boot")));
        assert!(!is_alive(&format!("{} 1", u32::MAX)) && !is_alive(""));
    }
}
