//! The network of a workspace: what its guest may reach, what it has reached, and what it was refused.

use super::{WorkspaceId, supervisor};
use crate::boxed;
use crate::network::{
    NamePattern, NetCounters, NetEvent, NetworkInterface, NetworkPolicy, RefusedDestination, refused,
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
    /// Whoever works in the guest has removed its interface; another start brings it back.
    pub has_ended: bool,
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
    #[boxed]
    pub async fn network_workspace(&self, id: &WorkspaceId) -> Result<WorkspaceNetwork, PyroError> {
        let record = self.workspace(id).await?;
        let now = self.network_now(&record).await;
        let has_ended = now.is_some_and(|state| state.has_ended);
        let (interfaces, counters) = match now {
            Some(state) => (state.interface().into_iter().collect(), Some(state.counters)),
            None => (Vec::new(), None),
        };
        let read = id.clone();
        let events = self.read(move |store| network_events(store, &read, false)).await?;
        Ok(WorkspaceNetwork {
            workspace_id: id.clone(),
            network_policy: record.origin.network_policy,
            allow_hosts: record.origin.allow_hosts,
            interfaces,
            has_ended,
            counters,
            refused: refused(&events),
            events,
        })
    }

    /// Whether a workspace's network has ended before its guest, and what that was refused since the last reset.
    pub(super) async fn network_at_a_glance(
        &self,
        record: &Record,
    ) -> Result<(bool, Vec<RefusedDestination>), PyroError> {
        if !record.origin.network_policy.allows_egress() {
            return Ok((false, Vec::new()));
        }
        // What it did a moment ago is in the store then.
        let has_ended = self.network_now(record).await.is_some_and(|state| state.has_ended);
        let read = record.id.clone();
        let events = self.read(move |store| network_events(store, &read, true)).await?;
        Ok((has_ended, refused(&events)))
    }

    async fn network_now(&self, record: &Record) -> Option<crate::network::NetworkState> {
        let is_connected =
            record.state == WorkspaceState::Running && record.origin.network_policy.allows_egress();
        if is_connected { supervisor::network(&self.workspace_directory(&record.id)).await } else { None }
    }
}
