//! The journal: every command since the last reset.

use super::WorkspaceId;
use super::exec::is_alive;
use crate::boxed;
use crate::store::CommandEntry;
use crate::{Pyro, PyroError};
use jiff::Timestamp;
use serde::Serialize;

/// The journal of a workspace.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkspaceLogs {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// How many commands.
    pub count: usize,
    /// Which, in their order.
    pub entries: Vec<LogEntry>,
}

/// Where a command is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CommandState {
    /// It runs.
    Running,
    /// It ended.
    Exited,
    /// Whoever waited for it, or the guest, was gone before it ended.
    Interrupted,
}

/// One command.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LogEntry {
    /// Its number.
    pub sequence: u64,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Where it ran.
    pub cwd: &'static str,
    /// When it began.
    pub started_at: Timestamp,
    /// Where it is in its life.
    pub state: CommandState,
    /// Why nobody knows how it ended, where that is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interrupted: Option<String>,
    /// Its exit code, once it has ended.
    pub exit_code: Option<u8>,
    /// It ran into its timeout.
    pub timed_out: bool,
    /// Milliseconds that it ran.
    pub duration_ms: u64,
    /// The beginning of its standard output, at most 1 MiB.
    pub stdout: String,
    /// The beginning of its standard error, at most 1 MiB.
    pub stderr: String,
    /// Bytes written to standard output, kept or not.
    pub stdout_bytes: u64,
    /// Bytes written to standard error, kept or not.
    pub stderr_bytes: u64,
    /// Some output was not kept.
    pub truncated: bool,
}

impl Pyro {
    /// The commands that were run in a workspace since its last reset, with their outputs.
    #[boxed]
    pub async fn logs_workspace(&self, id: &WorkspaceId) -> Result<WorkspaceLogs, PyroError> {
        self.workspace(id).await?;
        let logged = id.clone();
        let entries = self.read(move |store| CommandEntry::all(store, &logged)).await?;
        let entries: Vec<_> = entries.into_iter().map(log_entry).collect();
        Ok(WorkspaceLogs { workspace_id: id.clone(), count: entries.len(), entries })
    }
}

pub(super) fn log_entry(entry: CommandEntry) -> LogEntry {
    let state = match &entry.outcome {
        Some(outcome) if outcome.interrupted.is_none() => CommandState::Exited,
        None if is_alive(&entry.waiter) => CommandState::Running,
        Some(_) | None => CommandState::Interrupted,
    };
    let nobody = || "whoever waited for it was killed, and it with them".to_owned();
    let interrupted = match &entry.outcome {
        Some(outcome) => outcome.interrupted.clone(),
        None => (state == CommandState::Interrupted).then(nobody),
    };
    let outcome = entry.outcome;
    let number = |pick: fn(&crate::store::CommandOutcome) -> u64| outcome.as_ref().map_or(0, pick);
    LogEntry {
        sequence: entry.sequence,
        command: entry.command,
        cwd: pyro_protocol::WORKSPACE_DIR,
        started_at: entry.started_at,
        state,
        interrupted,
        exit_code: outcome.as_ref().and_then(|outcome| outcome.exit_code),
        timed_out: outcome.as_ref().is_some_and(|outcome| outcome.timed_out),
        duration_ms: number(|outcome| outcome.duration_ms),
        stdout_bytes: number(|outcome| outcome.stdout_bytes),
        stderr_bytes: number(|outcome| outcome.stderr_bytes),
        truncated: outcome.as_ref().is_some_and(|outcome| outcome.truncated),
        stdout: entry.stdout,
        stderr: entry.stderr,
    }
}
