//! All workspaces at a glance. No guest is asked: one that is stuck holds up nobody here.

use super::{PublishedPort, WorkspaceId};
use crate::boxed;
use crate::store::{Record, ServiceCounts, ServiceRow, WorkspaceState};
use crate::{Pyro, PyroError};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// The workspaces of this user, the most recently active one first.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkspaceList {
    /// How many.
    pub count: usize,
    /// Which.
    pub workspaces: Vec<WorkspaceListEntry>,
}

/// One workspace at a glance.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkspaceListEntry {
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
    /// When it was created.
    pub created_at: Timestamp,
    /// When it will be gone.
    pub expires_at: Timestamp,
    /// When something was last done to it.
    pub last_activity_at: Timestamp,
    /// Services defined.
    pub service_count: usize,
    /// Services that run.
    pub running_service_count: usize,
    /// Where those can be reached from the host, as known last.
    pub published_ports: Vec<PublishedPort>,
}

impl Pyro {
    /// All workspaces. What has expired is removed on the way, and what a crash left behind is set right.
    #[boxed]
    pub async fn list_workspaces(&self) -> Result<WorkspaceList, PyroError> {
        let records = self.sweep().await?;
        let present = records.into_iter().filter(|record| !record.is_leaving());
        let mut counts = self.read(ServiceRow::counts).await?;
        let workspaces: Vec<_> = present
            .map(|record| entry(counts.remove(record.id.as_str()).unwrap_or_default(), record))
            .collect();
        Ok(WorkspaceList { count: workspaces.len(), workspaces })
    }
}

fn entry(services: ServiceCounts, record: Record) -> WorkspaceListEntry {
    WorkspaceListEntry {
        workspace_id: record.id,
        name: record.name,
        labels: record.labels,
        environment: record.origin.environment,
        state: record.state,
        stop_reason: record.stop_reason,
        created_at: record.created_at,
        expires_at: record.expires_at,
        last_activity_at: record.last_activity_at,
        service_count: services.total,
        running_service_count: services.running,
        published_ports: services.published_ports,
    }
}
