//! The network of a workspace: what its guest may reach, what it has reached, and what it was refused.

use super::{WorkspaceId, supervisor};
use crate::network::{
    HostName, NamePattern, NetCounters, NetEvent, NetworkInterface, NetworkPolicy, RefusedDestination,
    refused,
};
use crate::store::{Record, WorkspaceState, network_events};
use crate::{Pyro, PyroError};
use serde::Serialize;

/// The network of a workspace.
#[derive(Debug, Clone, Serialize)]
pub struct WorkspaceNetwork {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// What its guest may reach.
    pub network_policy: NetworkPolicy,
    /// The only names that it may reach; empty for every name.
    pub allow_hosts: Vec<NamePattern>,
    /// Interfaces of the guest, besides its loopback; none while it does not run.
    pub interfaces: Vec<NetworkInterface>,
    /// What went through it since the guest was started; absent while it does not run.
    pub counters: Option<NetCounters>,
    /// What was refused by policy or for a limit since the last reset, what was refused last first.
    pub refused: Vec<RefusedDestination>,
    /// The last connections, lookups and refusals since the last reset, in their order: up to 500 of what was refused or failed, and
    /// as many others.
    pub events: Vec<NetEvent>,
}

impl Pyro {
    /// What a workspace's network is and did.
    pub async fn network_workspace(&self, id: &WorkspaceId) -> Result<WorkspaceNetwork, PyroError> {
        let record = self.workspace(id).await?;
        let (interfaces, counters) = match self.network_now(&record).await {
            Some(state) => (vec![state.interface()], Some(state.counters)),
            None => (Vec::new(), None),
        };
        let events = self.network_events(&record, false).await?;
        Ok(WorkspaceNetwork {
            workspace_id: id.clone(),
            network_policy: record.origin.network_policy,
            allow_hosts: record.origin.allow_hosts,
            interfaces,
            counters,
            refused: refused(&events),
            events,
        })
    }

    /// What a workspace's guest was refused since the last reset.
    pub(super) async fn refused_destinations(
        &self,
        record: &Record,
    ) -> Result<Vec<RefusedDestination>, PyroError> {
        if !record.origin.network_policy.allows_egress() {
            return Ok(Vec::new());
        }
        // What it did a moment ago is in the store then.
        self.network_now(record).await;
        Ok(refused(&self.network_events(record, true).await?))
    }

    /// What is kept of them, without the names that hold a secret.
    async fn network_events(&self, record: &Record, only_refused: bool) -> Result<Vec<NetEvent>, PyroError> {
        let read = record.id.clone();
        let mut events = self.read(move |store| network_events(store, &read, only_refused)).await?;
        let redaction = self.redaction(record).await?;
        let shows = |name: &HostName| redaction.text(name.to_string()) != name.as_str();
        for event in &mut events {
            event.name = event.name.take().filter(|name| !shows(name));
        }
        Ok(events)
    }

    async fn network_now(&self, record: &Record) -> Option<crate::network::NetworkState> {
        let is_connected =
            record.state == WorkspaceState::Running && record.origin.network_policy.allows_egress();
        if is_connected { supervisor::network(&self.workspace_directory(&record.id)).await } else { None }
    }
}
