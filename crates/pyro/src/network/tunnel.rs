//! Runs a guest's network: its packets come over the channel, and end in a user-space stack of this process.

use super::{EVENT_QUEUE, NetworkRules, NetworkState, RefusedDestination, is_refusal, refused};
use crate::PyroError;
use bytes::Bytes;
use pyro_net::{
    CounterReader, GATEWAY_V4, GATEWAY_V6, GUEST_V4, GUEST_V6, MTU, NetEvent, Network, NetworkConfig,
    PREFIX_V4, PREFIX_V6,
};
use pyro_runtime::env_vars::EnvVars;
use pyro_vmm::guest::{TunnelInput, TunnelOutput, TunnelRequest, TunnelSubnet};
use pyro_vmm::{Guest, VmmError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// Refusals that are kept with a network.
const KEPT_REFUSALS: usize = 256;
/// Packets that wait in either direction.
const QUEUE: usize = 64;
const MTU_U16: u16 = 16_384;
const _: () = assert!(MTU_U16 as usize == MTU);

/// A guest's network to be.
#[derive(Debug, Clone)]
pub(crate) struct NetworkPlan {
    pub(crate) rules: NetworkRules,
    /// Where it is told what happens; without it, what was refused is kept with the network.
    pub(crate) events: Option<mpsc::Sender<NetEvent>>,
}

/// A guest's network, for as long as this is held and the guest is there.
pub(crate) struct RunningNetwork {
    counters: CounterReader,
    has_ipv6: bool,
    /// The first refusals, where they are kept here.
    refused: Arc<Mutex<Vec<NetEvent>>>,
    task: AbortHandle,
}

impl RunningNetwork {
    /// How it stands.
    pub(crate) fn state(&self) -> NetworkState {
        NetworkState {
            has_ended: self.task.is_finished(),
            has_ipv6: self.has_ipv6,
            counters: self.counters.read(),
        }
    }

    /// What was refused, where that is kept here.
    pub(crate) fn refused(&self) -> Vec<RefusedDestination> {
        refused(&self.refused.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for RunningNetwork {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl NetworkPlan {
    /// Connects a configured guest. Fails when the host's proxy settings cannot be followed.
    pub(crate) async fn start(&self, guest: &Guest) -> Result<RunningNetwork, PyroError> {
        allow_descriptors();
        let environment = proxy_environment();
        let config =
            NetworkConfig::of_host(self.rules.net_policy(), &environment).map_err(PyroError::Proxy)?;
        let has_ipv6 = config.ipv6;
        let v6 = TunnelSubnet { guest: GUEST_V6, prefix: PREFIX_V6, gateway: GATEWAY_V6 };
        let request = TunnelRequest {
            mtu: MTU_U16,
            v4: TunnelSubnet { guest: GUEST_V4, prefix: PREFIX_V4, gateway: GATEWAY_V4 },
            v6: has_ipv6.then_some(v6),
        };
        let (output, input) = guest.tunnel(request).await?;
        let (ours, happened) = mpsc::channel(EVENT_QUEUE);
        let network = Network::new(config, self.events.clone().unwrap_or(ours));
        let (counters, refused) = (network.counters(), Arc::default());
        let keeping = keep(happened, Arc::clone(&refused));
        let task =
            tokio::spawn(async move { tokio::join!(carry(network, output, input), keeping) }).abort_handle();
        Ok(RunningNetwork { counters, has_ipv6, refused, task })
    }
}

/// Each flow is a descriptor, and so is each published connection.
fn allow_descriptors() {
    const WANTED: u64 = 4096;
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(WANTED, |most| most.min(WANTED));
    if limit.current.is_some_and(|current| current < wanted) {
        // Where that is refused, the host runs out earlier, and guests are told.
        let _refused = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit });
    }
}

/// Keeps the first refusals.
async fn keep(mut happened: mpsc::Receiver<NetEvent>, refused: Arc<Mutex<Vec<NetEvent>>>) {
    while let Some(event) = happened.recv().await {
        let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
        if is_refusal(event.kind) && refused.len() < KEPT_REFUSALS {
            refused.push(event);
        }
    }
}

/// The variables that name a proxy, in either case.
fn proxy_environment() -> HashMap<String, String> {
    let names = [EnvVars::HTTPS_PROXY, EnvVars::HTTP_PROXY, EnvVars::ALL_PROXY, EnvVars::NO_PROXY];
    let both = names.into_iter().flat_map(|name| [name.to_owned(), name.to_ascii_lowercase()]);
    both.filter_map(|name| Some((name.clone(), std::env::var(&name).ok()?))).collect()
}

/// Carries packets until the guest has ended the tunnel or is gone.
async fn carry(network: Network, output: TunnelOutput, input: TunnelInput) {
    let (to_network, from_guest) = mpsc::channel(QUEUE);
    let (to_guest, from_network) = mpsc::channel(QUEUE);
    tokio::select! {
        () = network.run(from_guest, to_guest) => {}
        // Whoever asks how the network stands is told that it has ended.
        _ended = outbound(output, to_network) => {}
        _ended = inbound(from_network, input) => {}
    }
}

async fn outbound(mut output: TunnelOutput, network: mpsc::Sender<Bytes>) -> Result<(), VmmError> {
    loop {
        for packet in output.next().await? {
            if network.send(packet).await.is_err() {
                return Ok(());
            }
        }
    }
}

async fn inbound(mut network: mpsc::Receiver<Bytes>, mut input: TunnelInput) -> Result<(), VmmError> {
    while let Some(packet) = network.recv().await {
        let mut has_room = input.push(&packet);
        while has_room {
            let Ok(packet) = network.try_recv() else { break };
            has_room = input.push(&packet);
        }
        input.send().await?;
    }
    Ok(())
}
