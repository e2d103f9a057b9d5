//! The steps of a one-shot machine, one by one: create, start, exec, stop, delete.
//!
//! ```text
//! created ──start──▶ started ──exec──▶ (gone)
//!    │                  └────stop────▶ stopped ──delete──▶ (gone)
//!    └──────────────────delete──────────────────────────▶ (gone)
//! ```
//! A machine executes one command and is then gone. Delete is legal in every state. When its time to live has passed, a
//! machine is deleted without anyone calling.

use super::output::OutputMode;
use super::plan::MachinePlan;
use super::run::{RanOn, Spans, check_command, execute, limited};
use super::start::{Running, Shape};
use super::{RunRequest, RunResult, VmId, seconds};
use crate::boxed;
use crate::network::{
    NamePattern, NetCounters, NetworkInterface, NetworkPolicy, NetworkRules, RefusedDestination,
    RunningNetwork,
};
use crate::private_directory::PrivateDirectory;
use crate::{Pyro, PyroError};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

/// What a machine is to be.
#[derive(Debug, Clone)]
pub struct CreateVm {
    /// Name of the environment.
    pub environment: String,
    /// Virtual CPUs.
    pub vcpu_count: u32,
    /// Guest memory, in MiB.
    pub mem_mib: u32,
    /// After so many seconds from now the machine is gone whatever it does.
    pub ttl_seconds: u64,
    /// What its guest may reach.
    pub network: NetworkRules,
    /// Where no guest can run, run on the host instead, without isolation.
    pub allow_host_compat: bool,
}

/// Where a machine is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum VmState {
    /// It has its files and no VMM yet.
    Created,
    /// Its guest is ready for a command.
    Started,
    /// It was stopped; only deleting it is left.
    Stopped,
}

impl VmState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Started => "started",
            Self::Stopped => "stopped",
        }
    }
}

/// A machine, as it stands.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct VmStatus {
    /// Its id.
    pub vm_id: VmId,
    /// Where it is in its life.
    pub state: VmState,
    /// Name of its environment.
    pub environment: &'static str,
    /// Virtual CPUs.
    pub vcpu_count: u32,
    /// Guest memory, in MiB.
    pub mem_mib: u32,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it will be gone.
    pub expires_at: Timestamp,
    /// Name of the engine, once started.
    pub engine: Option<&'static str>,
}

/// One command for a started machine.
#[derive(Debug, Clone)]
pub struct VmExec {
    /// Program and arguments; no shell is involved.
    pub command: Vec<String>,
    /// After so many seconds the command is killed and the result says 124.
    pub timeout_seconds: u64,
}

/// How a machine is connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NetworkInfo {
    /// What its guest may reach.
    pub policy: NetworkPolicy,
    /// The only names that it may reach; empty for every name.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub allow_hosts: Vec<NamePattern>,
    /// Interfaces of the guest, besides its loopback; none while it does not run.
    pub interfaces: Vec<NetworkInterface>,
    /// What went through it; absent while it does not run.
    #[cfg_attr(feature = "schema", schemars(with = "Option<std::collections::BTreeMap<String, u64>>"))]
    pub counters: Option<NetCounters>,
    /// What it was refused, what was refused last first.
    pub refused: Vec<RefusedDestination>,
}

/// What reaping removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Reaped {
    /// How many machines.
    pub count: usize,
    /// Which.
    pub vm_ids: Vec<VmId>,
}

/// The machines of one [`Pyro`]. Each has a lock of its own: a slow one holds up nobody else.
pub(crate) type Registry = BTreeMap<VmId, Arc<Vm>>;

pub(crate) struct Vm {
    created_at: Timestamp,
    expires_at: Timestamp,
    shape: Shape,
    network: NetworkRules,
    life: Mutex<Life>,
    expiry: AbortHandle,
}

struct Life {
    directory: PrivateDirectory,
    state: VmState,
    engine: Option<&'static str>,
    running: Option<Running>,
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.expiry.abort();
    }
}

impl Pyro {
    /// Creates a machine: its id, files and time to live. Nothing runs yet.
    #[boxed]
    pub async fn create_vm(&self, request: CreateVm) -> Result<VmStatus, PyroError> {
        let CreateVm { environment, vcpu_count, mem_mib, ttl_seconds, network, allow_host_compat } = request;
        network.check()?;
        let shape = Shape::new(&environment, vcpu_count, mem_mib, allow_host_compat)?;
        let ttl = seconds("ttl_seconds", ttl_seconds)?;
        let id = VmId::random()?;
        let directory = self.vm_directory(&id).await?;
        let created_at = Timestamp::now();
        let expires_at = created_at + SignedDuration::try_from(ttl).unwrap_or(SignedDuration::MAX);
        let life = Life { directory, state: VmState::Created, engine: None, running: None };
        let expiry = self.expire_after(id.clone(), ttl);
        let vm = Arc::new(Vm { created_at, expires_at, shape, network, life: Mutex::new(life), expiry });
        self.vms.lock().await.insert(id.clone(), vm);
        self.status_vm(&id).await
    }

    /// Boots a created machine.
    #[boxed]
    pub async fn start_vm(&self, id: &VmId) -> Result<VmStatus, PyroError> {
        let vm = self.vm(id).await?;
        let mut life = vm.life.lock().await;
        life.require(id, "start", VmState::Created)?;
        let prepared = self.prepare_start(&vm.shape).await?;
        prepared.require_network(&vm.network)?;
        let plan = MachinePlan::throwaway(id, &life.directory).connected(&vm.network);
        let running = prepared.start(&plan, &vm.shape, self.progress()).await?;
        if let Some(unusable) = &running.no_template {
            self.make_template_later(&vm.shape, unusable);
        }
        life.engine = Some(running.capabilities.engine);
        life.running = Some(running);
        life.state = VmState::Started;
        // Its time to live may have passed meanwhile; then it goes with the last handle to it, which is this one.
        self.vm(id).await?;
        Ok(vm.status(id, &life))
    }

    /// Runs one command in a started machine, which is then gone.
    #[boxed]
    pub async fn exec_vm(&self, id: &VmId, exec: VmExec, output: OutputMode) -> Result<RunResult, PyroError> {
        check_command(&exec.command)?;
        let timeout = seconds("timeout_seconds", exec.timeout_seconds)?;
        let vm = self.vm(id).await?;
        let mut life = vm.life.lock().await;
        life.require(id, "exec", VmState::Started)?;
        let Some(running) = life.running.take() else {
            return Err(PyroError::UnknownVm { id: id.clone() });
        };
        life.state = VmState::Stopped;
        drop(life);
        let left = vm.expires_at.duration_since(Timestamp::now());
        // Zero would mean no limit.
        let limit = timeout.min(Duration::try_from(left).unwrap_or_default()).max(Duration::from_millis(1));
        let argv = exec.command.iter().map(|word| word.clone().into_bytes()).collect();
        let executing = Instant::now();
        let keep = output.kept_bytes();
        let outcome = execute(&running.guest, limited(argv, limit), output, keep).await;
        let execute = executing.elapsed();
        let outcome = outcome.map_err(|error| error.with_console(running.machine.as_ref()));
        let (timings, ran_on) = (running.timings, RanOn::of(&running));
        running.end().await;
        match self.delete_vm(id).await {
            // Its time to live may have passed in the meantime: gone is gone.
            Ok(()) | Err(PyroError::UnknownVm { .. }) => {}
            Err(error) => return Err(error),
        }
        let spans = Spans::of_exec(timings, execute, executing.elapsed().saturating_sub(execute));
        let network = vm.network.clone();
        let request = RunRequest { network, ..RunRequest::new(vm.shape.environment.name, exec.command) };
        if ran_on.is_isolated() {
            self.record_proof().await;
        }
        Ok(outcome?.into_result(request, id.clone(), ran_on, &spans))
    }

    /// Ends a started machine at once, without running anything.
    #[boxed]
    pub async fn stop_vm(&self, id: &VmId) -> Result<VmStatus, PyroError> {
        let vm = self.vm(id).await?;
        let mut life = vm.life.lock().await;
        life.require(id, "stop", VmState::Started)?;
        if let Some(running) = life.running.take() {
            running.end().await;
        }
        life.state = VmState::Stopped;
        Ok(vm.status(id, &life))
    }

    /// Removes a machine and all its files, whatever state it is in.
    #[boxed]
    pub async fn delete_vm(&self, id: &VmId) -> Result<(), PyroError> {
        let removed = self.vms.lock().await.remove(id);
        let vm = removed.ok_or_else(|| PyroError::UnknownVm { id: id.clone() })?;
        let running = vm.life.lock().await.running.take();
        if let Some(running) = running {
            running.end().await;
        }
        Ok(())
    }

    /// A machine, as it stands.
    #[boxed]
    pub async fn status_vm(&self, id: &VmId) -> Result<VmStatus, PyroError> {
        let vm = self.vm(id).await?;
        let life = vm.life.lock().await;
        Ok(vm.status(id, &life))
    }

    /// How a machine is connected.
    #[boxed]
    pub async fn network_info_vm(&self, id: &VmId) -> Result<NetworkInfo, PyroError> {
        let vm = self.vm(id).await?;
        let life = vm.life.lock().await;
        let network = life.running.as_ref().and_then(|running| running.network.as_ref());
        let state = network.map(RunningNetwork::state);
        Ok(NetworkInfo {
            policy: vm.network.policy,
            allow_hosts: vm.network.allow_hosts.clone(),
            interfaces: state.iter().filter_map(|state| state.interface()).collect(),
            counters: state.map(|state| state.counters),
            refused: network.map(RunningNetwork::refused).unwrap_or_default(),
        })
    }

    /// Removes machines whose time to live has passed and that are still there.
    #[boxed]
    pub async fn reap_expired(&self) -> Result<Reaped, PyroError> {
        let now = Timestamp::now();
        let vms = self.vms.lock().await;
        let expired: Vec<VmId> =
            vms.iter().filter(|(_, vm)| vm.expires_at <= now).map(|(id, _)| id.clone()).collect();
        drop(vms);
        let mut vm_ids = Vec::new();
        for id in expired {
            // One that its own timer removed in the meantime is gone as well.
            if self.delete_vm(&id).await.is_ok() {
                vm_ids.push(id);
            }
        }
        Ok(Reaped { count: vm_ids.len(), vm_ids })
    }

    async fn vm(&self, id: &VmId) -> Result<Arc<Vm>, PyroError> {
        let vms = self.vms.lock().await;
        vms.get(id).cloned().ok_or_else(|| PyroError::UnknownVm { id: id.clone() })
    }

    fn expire_after(&self, id: VmId, ttl: Duration) -> AbortHandle {
        let vms = Arc::downgrade(&self.vms);
        let expiry = async move {
            tokio::time::sleep(ttl).await;
            let Some(vms) = vms.upgrade() else { return };
            // Dropping the last handle kills the VMM and removes the files. A start in progress finds the machine gone; a
            // command in progress has a limit of its own, which is this moment.
            let vm = vms.lock().await.remove(&id);
            if let Some(vm) = vm
                && let Ok(mut life) = vm.life.try_lock()
            {
                life.running = None;
            }
        };
        tokio::spawn(expiry).abort_handle()
    }
}

impl Life {
    fn require(&self, id: &VmId, operation: &'static str, needed: VmState) -> Result<(), PyroError> {
        if self.state == needed {
            return Ok(());
        }
        let (id, state, needed) = (id.clone(), self.state.as_str(), needed.as_str());
        Err(PyroError::WrongVmState { id, state, operation, needed })
    }
}

impl Vm {
    fn status(&self, id: &VmId, life: &Life) -> VmStatus {
        VmStatus {
            vm_id: id.clone(),
            state: life.state,
            environment: self.shape.environment.name,
            vcpu_count: self.shape.vcpus.get(),
            mem_mib: self.shape.memory.get(),
            created_at: self.created_at,
            expires_at: self.expires_at,
            engine: life.engine,
        }
    }
}
