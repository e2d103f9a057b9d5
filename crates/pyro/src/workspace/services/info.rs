//! What is told of services.

use super::PublishedPort;
use crate::store::{Record, ServiceDefinition, ServiceRow, WorkspaceState};
use crate::workspace::WorkspaceId;
use jiff::Timestamp;
use pyro_vmm::guest::{ServiceState, ServiceStatus};
use serde::Serialize;

/// A service, as it stands.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ServiceInfo {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// Its name.
    pub service_name: String,
    /// `starting`, `running`, `exited` (by itself), `failed` (before it was ready), `stopped`, or `lost` with its guest.
    pub state: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// The directory that it was started in.
    pub cwd: String,
    /// What makes it ready.
    pub readiness: Option<String>,
    /// When it was started.
    pub started_at: Option<Timestamp>,
    /// When it was ready.
    pub ready_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Its exit status, or 128 and the signal.
    pub exit_code: Option<u8>,
    /// Why it failed, where that is not its exit status.
    pub reason: Option<String>,
    /// Where it can be reached from the host; nowhere once it has ended.
    pub published_ports: Vec<PublishedPort>,
}

/// The services of a workspace.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ServiceList {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// How many.
    pub count: usize,
    /// How many of them run.
    pub running_count: usize,
    /// Which, in the order in which they were started.
    pub services: Vec<ServiceInfo>,
}

/// What a service has printed.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ServiceLogs {
    /// The service, when it was read.
    #[serde(flatten)]
    pub service: ServiceInfo,
    /// The end of standard output.
    pub stdout: String,
    /// The end of standard error.
    pub stderr: String,
    /// Lines of each that were asked for; absent for everything that is kept.
    pub tail_lines: Option<u64>,
    /// There was more than is shown: before the lines that were asked for, or before what is kept.
    pub truncated: bool,
}

impl ServiceInfo {
    pub(super) fn new(id: &WorkspaceId, row: Option<&ServiceRow>, state: ServiceState) -> Self {
        let time = |ns: u64| Timestamp::from_nanosecond(ns.into()).ok();
        let definition = row.map(|row| row.definition.clone());
        let definition = definition.unwrap_or_default();
        let is_up = matches!(state.status, ServiceStatus::Starting | ServiceStatus::Running);
        Self {
            workspace_id: id.clone(),
            service_name: state.name,
            state: state_name(state.status).to_owned(),
            command: definition.command,
            cwd: definition.cwd,
            readiness: definition.readiness,
            started_at: time(state.started_ns),
            ready_at: state.ready_ns.and_then(time),
            ended_at: state.ended_ns.and_then(time),
            exit_code: state.exited.map(|status| status.exit_code),
            reason: (!state.reason.is_empty()).then_some(state.reason),
            published_ports: if is_up { definition.published_ports } else { Vec::new() },
        }
    }

    /// It has not ended.
    pub(super) fn is_up(&self) -> bool {
        is_up(&self.state)
    }

    /// A service of which nothing is known but what was recorded.
    pub(super) fn recorded(record: &Record, row: &ServiceRow) -> Self {
        let is_up = is_up(&row.state);
        let is_lost =
            is_up && (row.generation != record.generation || record.state != WorkspaceState::Running);
        let ServiceDefinition { command, cwd, readiness, published_ports } = row.definition.clone();
        Self {
            workspace_id: record.id.clone(),
            service_name: row.name.clone(),
            state: if is_lost { "lost".to_owned() } else { row.state.clone() },
            command,
            cwd,
            readiness,
            started_at: None,
            ready_at: None,
            ended_at: None,
            exit_code: None,
            reason: is_lost.then(|| "its guest has ended".to_owned()),
            published_ports: if is_up && !is_lost { published_ports } else { Vec::new() },
        }
    }
}

fn is_up(state: &str) -> bool {
    matches!(state, "starting" | "running")
}

pub(super) fn state_name(status: ServiceStatus) -> &'static str {
    match status {
        ServiceStatus::Starting => "starting",
        ServiceStatus::Running => "running",
        ServiceStatus::Exited => "exited",
        ServiceStatus::Failed => "failed",
        ServiceStatus::Stopped => "stopped",
    }
}
