//! A workspace, as it stands.

use super::{PublishedPort, SecretInfo, SnapshotName, WorkspaceError, WorkspaceId, supervisor};
use crate::boxed;
use crate::network::{NamePattern, NetworkPolicy, RefusedDestination};
use crate::store::{CommandEntry, Record, ServiceCounts, SnapshotRow, WorkspaceState};
use crate::vm::StartKind;
use crate::{Pyro, PyroError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most refused destinations that are shown.
const SHOWN_REFUSALS: usize = 20;

/// How `/workspace` began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Seed {
    /// What it was filled from.
    pub mode: SeedMode,
    /// Where that is on the host, where it is a path.
    pub seed_path: Option<String>,
    /// Who chose it: `empty`, `manual_seed_path`, `project_path`, `repo_url`.
    pub origin_kind: String,
    /// What was chosen, in the chooser's words: root of a checkout, `URL#REF` or URL of a repository, without credentials.
    pub origin_ref: Option<String>,
    /// The commit that was taken, where it was one's: of a clone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin_commit: Option<String>,
    /// Files, directories and links.
    pub entry_count: u64,
    /// Bytes of the files.
    pub bytes_written: u64,
}

/// What a workspace is filled from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SeedMode {
    /// Nothing.
    Empty,
    /// A directory.
    Directory,
    /// A tar archive, compressed or not.
    TarArchive,
}

/// A workspace, as it stands.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkspaceStatus {
    /// Its id.
    pub workspace_id: WorkspaceId,
    /// Its name, where it has one.
    pub name: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Name of its environment.
    pub environment: String,
    /// `creating`, `running`, `stopped`.
    pub state: WorkspaceState,
    /// Why it is stopped, where nobody asked for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// Whether its guest answered just now; absent where there is no guest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest_responsive: Option<bool>,
    /// Root of the workspace.
    pub workspace_path: &'static str,
    /// Virtual CPUs.
    pub vcpu_count: u32,
    /// Guest memory, in MiB.
    pub mem_mib: u32,
    /// What its guest may reach.
    pub network_policy: NetworkPolicy,
    /// The only names that it may reach; empty for every name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub allow_hosts: Vec<NamePattern>,
    /// Whoever works in the guest has removed its network's interface; another start brings it back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub network_has_ended: bool,
    /// What it was refused since the last reset, what was refused last first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused_destinations: Vec<RefusedDestination>,
    /// How commands are run.
    pub execution_mode: String,
    /// Name of the engine.
    pub engine: Option<String>,
    /// How its guest came up the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<StartKind>,
    /// Why it did not come up from a template, where it could have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold_start_reason: Option<String>,
    /// Why its commands run on the host, where they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback_reason: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it will be gone.
    pub expires_at: Timestamp,
    /// Its time to live, in seconds from its creation.
    pub ttl_seconds: u64,
    /// When something was last done to it; looking at it does not count.
    pub last_activity_at: Timestamp,
    /// How `/workspace` began.
    pub workspace_seed: Seed,
    /// Its secrets, without their values.
    pub secrets: Vec<SecretInfo>,
    /// Commands since the last reset.
    pub command_count: usize,
    /// Names of its snapshots, `baseline` first.
    pub snapshots: Vec<String>,
    /// How often it was reset.
    pub reset_count: u64,
    /// When it was last reset.
    pub last_reset_at: Option<Timestamp>,
    /// Services defined, and running.
    pub service_count: usize,
    /// Services that run.
    pub running_service_count: usize,
    /// Where services can be reached from the host.
    pub published_ports: Vec<PublishedPort>,
}

impl Seed {
    pub(crate) fn empty() -> Self {
        Self {
            mode: SeedMode::Empty,
            seed_path: None,
            origin_kind: "empty".to_owned(),
            origin_ref: None,
            origin_commit: None,
            entry_count: 0,
            bytes_written: 0,
        }
    }
}

impl Pyro {
    /// A workspace, as it stands. Its guest is asked whether it is there, for two seconds at most.
    #[boxed]
    pub async fn status_workspace(&self, id: &WorkspaceId) -> Result<WorkspaceStatus, PyroError> {
        let record = match self.workspace(id).await {
            // It can be looked at while it is being made.
            Err(PyroError::Workspace(WorkspaceError::WrongState { .. })) => self.find_record(id).await?,
            found => found?,
        };
        let directory = self.workspace_directory(id);
        let guest_responsive = if record.state == WorkspaceState::Running && record.is_guest() {
            Some(supervisor::is_responsive(&directory).await.unwrap_or(false))
        } else {
            None
        };
        // What was asked may have taken a while, or have found the guest gone.
        let record = if guest_responsive == Some(false) { self.workspace(id).await? } else { record };
        let guest_responsive = guest_responsive.filter(|_| record.state == WorkspaceState::Running);
        let counted = id.clone();
        let (commands, snapshots) = self
            .read(move |store| {
                Ok((CommandEntry::count(store, &counted)?, SnapshotRow::all(store, &counted)?))
            })
            .await?;
        let services = self.count_services(&record).await?;
        let (network_has_ended, refused) = self.network_at_a_glance(&record).await?;
        let mut status = status(record, guest_responsive, (commands, services), snapshots);
        status.network_has_ended = network_has_ended;
        status.refused_destinations = refused;
        status.refused_destinations.truncate(SHOWN_REFUSALS);
        Ok(status)
    }
}

fn status(
    record: Record,
    guest_responsive: Option<bool>,
    (command_count, services): (usize, ServiceCounts),
    snapshots: Vec<SnapshotRow>,
) -> WorkspaceStatus {
    let execution_mode = record.execution_mode().to_owned();
    let started = record.started;
    let baseline = record.origin.image_digest.is_some().then(|| SnapshotName::BASELINE.to_owned());
    WorkspaceStatus {
        workspace_id: record.id,
        name: record.name,
        labels: record.labels,
        environment: record.origin.environment,
        state: record.state,
        stop_reason: record.stop_reason,
        guest_responsive,
        workspace_path: pyro_protocol::WORKSPACE_DIR,
        vcpu_count: record.origin.vcpu_count,
        mem_mib: record.origin.mem_mib,
        network_policy: record.origin.network_policy,
        allow_hosts: record.origin.allow_hosts,
        network_has_ended: false,
        refused_destinations: Vec::new(),
        execution_mode,
        engine: started.as_ref().map(|started| started.engine.clone()),
        start: started.as_ref().and_then(|started| started.start),
        cold_start_reason: started.as_ref().and_then(|started| started.cold_start_reason.clone()),
        fallback_reason: started.and_then(|started| started.fallback_reason),
        created_at: record.created_at,
        expires_at: record.expires_at,
        ttl_seconds: record.origin.ttl_seconds,
        last_activity_at: record.last_activity_at,
        workspace_seed: record.origin.seed,
        secrets: record.origin.secrets,
        command_count,
        snapshots: baseline.into_iter().chain(snapshots.into_iter().map(|row| row.name)).collect(),
        reset_count: record.reset_count,
        last_reset_at: record.last_reset_at,
        service_count: services.total,
        running_service_count: services.running,
        published_ports: services.published_ports,
    }
}
