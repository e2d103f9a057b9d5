//! What happened in a workspace since its last reset, to be pasted into a chat or a pull request.

use super::diff::DiffSummary;
use super::logs::{CommandState, LogEntry, log_entry};
use super::{WorkspaceId, WorkspaceStatus};
use crate::boxed;
use crate::network::{NetworkPolicy, RefusedDestination};
use crate::store::{CommandEntry, Event, WorkspaceState};
use crate::{Pyro, PyroError};
use jiff::Timestamp;
use pyro_protocol::error::chain;
use serde::Serialize;

/// Most commands that are shown one by one.
const SHOWN_COMMANDS: usize = 20;
/// Most changed files that are shown one by one.
const SHOWN_CHANGES: usize = 50;

/// What happened in a workspace since its last reset.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkspaceSummary {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// Its name, where it has one.
    pub name: Option<String>,
    /// Name of its environment.
    pub environment: String,
    /// Where it is in its life.
    pub state: WorkspaceState,
    /// From when on: the last reset, or the creation.
    pub since: Timestamp,
    /// How often it was reset.
    pub reset_count: u64,
    /// What was run.
    pub commands: SummaryCommands,
    /// Writes, imports and patches.
    pub edits: SummaryEdits,
    /// What has changed against the baseline.
    pub changes: SummaryChanges,
    /// Services.
    pub services: SummaryServices,
    /// What its guest may reach.
    pub network_policy: NetworkPolicy,
    /// What its guest was refused, what was refused last first.
    pub refused_destinations: Vec<RefusedDestination>,
    /// What left the workspace.
    pub artifacts: SummaryArtifacts,
    /// Snapshots.
    pub snapshots: SummarySnapshots,
    /// All of it in one line.
    pub outcome: String,
}

/// What was run.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SummaryCommands {
    /// Commands in all.
    pub total: usize,
    /// Commands that ended with 0.
    pub succeeded: usize,
    /// Commands that ended with something else, or ran out of time.
    pub failed: usize,
    /// Commands of which nobody knows how they ended.
    pub interrupted: usize,
    /// The last ones, in their order.
    pub recent: Vec<SummaryCommand>,
}

/// One command.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SummaryCommand {
    /// Its number in the journal.
    pub sequence: u64,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Where it is in its life.
    pub state: CommandState,
    /// Its exit code, once it has ended.
    pub exit_code: Option<u8>,
    /// It ran into its timeout.
    pub timed_out: bool,
    /// Milliseconds that it ran.
    pub duration_ms: u64,
}

/// Writes, imports and patches.
#[derive(Debug, Clone, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SummaryEdits {
    /// Files written one by one.
    pub file_writes: usize,
    /// Patches applied.
    pub patches: usize,
    /// Imports.
    pub syncs: usize,
    /// Paths of the files written, each once.
    pub paths: Vec<String>,
}

/// What has changed against the baseline.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SummaryChanges {
    /// It could be found out.
    pub available: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Anything has changed.
    pub changed: bool,
    /// Counts.
    #[serde(flatten)]
    pub summary: DiffSummary,
    /// The first ones, by path.
    pub entries: Vec<SummaryChange>,
}

/// One changed entry.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SummaryChange {
    /// Its absolute path.
    pub path: String,
    /// `added`, `modified`, `deleted`, `type_changed`.
    pub status: &'static str,
}

/// Services.
#[derive(Debug, Clone, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SummaryServices {
    /// How many are defined.
    pub total: usize,
    /// How many of them run.
    pub running: usize,
}

/// What left the workspace.
#[derive(Debug, Clone, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SummaryArtifacts {
    /// Exports, in their order.
    pub exports: Vec<SummaryExport>,
}

/// One export.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SummaryExport {
    /// When.
    pub at: Timestamp,
    /// What, in the workspace.
    pub path: String,
    /// Where to, on the host.
    pub output_path: String,
    /// `file` or `directory`.
    pub artifact_type: String,
    /// Files, directories and links.
    pub entry_count: u64,
    /// Bytes of the files.
    pub bytes_written: u64,
}

/// Snapshots.
#[derive(Debug, Clone, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SummarySnapshots {
    /// Named ones that there are.
    pub named_count: usize,
    /// Their names.
    pub names: Vec<String>,
    /// Taken since the last reset.
    pub created: usize,
    /// Deleted since the last reset.
    pub deleted: usize,
}

impl Pyro {
    /// What happened in a workspace since its last reset.
    #[boxed]
    pub async fn summarize_workspace(&self, id: &WorkspaceId) -> Result<WorkspaceSummary, PyroError> {
        let status = self.status_workspace(id).await?;
        let read = id.clone();
        let (commands, events) =
            self.read(move |store| Ok((CommandEntry::all(store, &read)?, Event::all(store, &read)?))).await?;
        let commands: Vec<LogEntry> = commands.into_iter().map(log_entry).collect();
        let changes = self.summarize_changes(&status).await;
        Ok(summarize(status, &commands, events, changes))
    }

    /// A diff that cannot be had is part of the summary, not the end of it.
    async fn summarize_changes(&self, status: &WorkspaceStatus) -> SummaryChanges {
        let diff = match self.diff_workspace(&status.workspace_id).await {
            Ok(diff) => diff,
            Err(error) => {
                let (reason, summary) = (Some(chain(&error)), DiffSummary::default());
                return SummaryChanges { available: false, reason, changed: false, summary, entries: vec![] };
            }
        };
        let shown = diff.entries.into_iter().take(SHOWN_CHANGES);
        let entries = shown.map(|entry| SummaryChange { path: entry.path, status: entry.status }).collect();
        let (changed, summary) = (diff.changed, diff.summary);
        SummaryChanges { available: true, reason: None, changed, summary, entries }
    }
}

fn summarize(
    status: WorkspaceStatus,
    log: &[LogEntry],
    events: Vec<(Timestamp, Event)>,
    changes: SummaryChanges,
) -> WorkspaceSummary {
    let mut summary = WorkspaceSummary {
        workspace_id: status.workspace_id,
        name: status.name,
        environment: status.environment,
        state: status.state,
        since: status.last_reset_at.unwrap_or(status.created_at),
        reset_count: status.reset_count,
        commands: commands(log),
        edits: SummaryEdits::default(),
        changes,
        services: SummaryServices { total: status.service_count, running: status.running_service_count },
        network_policy: status.network_policy,
        refused_destinations: status.refused_destinations,
        artifacts: SummaryArtifacts::default(),
        snapshots: SummarySnapshots::default(),
        outcome: String::new(),
    };
    summary.snapshots.names =
        status.snapshots.into_iter().filter(|name| name != super::SnapshotName::BASELINE).collect();
    summary.snapshots.named_count = summary.snapshots.names.len();
    for (at, event) in events {
        match event {
            Event::FileWritten { path, .. } => {
                summary.edits.file_writes += 1;
                if !summary.edits.paths.contains(&path) {
                    summary.edits.paths.push(path);
                }
            }
            Event::PatchApplied { .. } => summary.edits.patches += 1,
            Event::Synced { .. } => summary.edits.syncs += 1,
            Event::SnapshotCreated { .. } => summary.snapshots.created += 1,
            Event::SnapshotDeleted { .. } => summary.snapshots.deleted += 1,
            Event::Exported { path, output, artifact_type, entries, bytes } => {
                summary.artifacts.exports.push(SummaryExport {
                    at,
                    path,
                    output_path: output,
                    artifact_type,
                    entry_count: entries,
                    bytes_written: bytes,
                });
            }
        }
    }
    summary.outcome = outcome(&summary);
    summary
}

fn commands(log: &[LogEntry]) -> SummaryCommands {
    let exited = |entry: &&LogEntry| entry.state == CommandState::Exited;
    let succeeded = log.iter().filter(exited).filter(|entry| entry.exit_code == Some(0)).count();
    let recent = log[log.len().saturating_sub(SHOWN_COMMANDS)..].iter().map(|entry| SummaryCommand {
        sequence: entry.sequence,
        command: entry.command.clone(),
        state: entry.state,
        exit_code: entry.exit_code,
        timed_out: entry.timed_out,
        duration_ms: entry.duration_ms,
    });
    SummaryCommands {
        total: log.len(),
        succeeded,
        failed: log.iter().filter(exited).count() - succeeded,
        interrupted: log.iter().filter(|entry| entry.state == CommandState::Interrupted).count(),
        recent: recent.collect(),
    }
}

fn outcome(summary: &WorkspaceSummary) -> String {
    let last = match summary.commands.recent.last() {
        None => "no command was run".to_owned(),
        Some(SummaryCommand { state: CommandState::Running, .. }) => "a command is running".to_owned(),
        Some(SummaryCommand { timed_out: true, .. }) => "the last command ran out of time".to_owned(),
        Some(SummaryCommand { exit_code: Some(0), .. }) => "the last command succeeded".to_owned(),
        Some(SummaryCommand { exit_code: Some(code), .. }) => {
            format!("the last command failed with exit code {code}")
        }
        Some(SummaryCommand { exit_code: None, .. }) => "the last command was interrupted".to_owned(),
    };
    let DiffSummary { total, added, modified, deleted, type_changed, .. } = summary.changes.summary;
    let changes = match (summary.changes.available, total) {
        (false, _) => "what changed is not known".to_owned(),
        (true, 0) => "nothing changed against the baseline".to_owned(),
        (true, _) => {
            let modified = modified + type_changed;
            format!("{added} added, {modified} modified, {deleted} deleted against the baseline")
        }
    };
    let exports = match summary.artifacts.exports.len() {
        0 => String::new(),
        1 => "; 1 export".to_owned(),
        count => format!("; {count} exports"),
    };
    format!("{last}; {changes}{exports}")
}
