//! From a request to a guest that is ready for a command.

use crate::engine::blocking;
use crate::network::{NetworkRules, RefusedDestination, RunningNetwork};
use crate::private_directory::PrivateDirectory;
use crate::template::{self, Template, TemplateKey, TemplatePolicy, TemplateStore, Unusable};
use crate::vm::{Beginning, MachinePlan, VmId};
use crate::{Pyro, PyroError};
use pyro_images::Recipe;
use pyro_protocol::error::{Diagnostic, ErrorKind, chain};
use pyro_protocol::serial;
use pyro_runtime::fs::{FsError, copy_sparse, remove_all};
use pyro_runtime::{Bundle, Progress};
use pyro_vmm::guest::Identity;
use pyro_vmm::host_compat::HostCompat;
use pyro_vmm::{Capabilities, Disk, Engine, Guest, Machine, MachineSpec, MemMib, Start, VcpuCount, VmmError};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a guest may take from its start to its agent's first answer.
const BOOT_DEADLINE: Duration = Duration::from_mins(1);
/// How long a restored guest's agent may take to answer: less than a tenth of a second alone, seconds beside many others.
const RESTORE_DEADLINE: Duration = Duration::from_secs(20);
/// Virtual CPUs beyond the host's come up one after the other, which in software emulation takes seconds for each.
const BOOT_DEADLINE_PER_VCPU: Duration = Duration::from_secs(6);

/// What a machine is to be, checked.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) environment: &'static Recipe,
    pub(crate) vcpus: VcpuCount,
    pub(crate) memory: MemMib,
    pub(crate) allow_host_compat: bool,
}

impl Shape {
    /// Fails when the environment is unknown or a number is out of its range.
    pub(crate) fn new(
        environment: &str,
        vcpu_count: u32,
        mem_mib: u32,
        allow_host_compat: bool,
    ) -> Result<Self, PyroError> {
        Ok(Self {
            environment: Recipe::find(environment)?,
            vcpus: VcpuCount::new(vcpu_count)?,
            memory: MemMib::new(mem_mib)?,
            allow_host_compat,
        })
    }

    /// How long a guest of this shape may take to boot.
    pub(crate) fn boot_deadline(&self) -> Duration {
        BOOT_DEADLINE + BOOT_DEADLINE_PER_VCPU * self.vcpus.get()
    }
}

/// Everything a start needs, installed and probed.
#[derive(Clone)]
pub(crate) struct Prepared {
    engine: Arc<dyn Engine>,
    /// `None` when commands run on the host.
    guest: Option<GuestParts>,
    /// Why it is the host that commands run on.
    fallback: Option<String>,
}

/// What a guest is made of.
#[derive(Clone)]
struct GuestParts {
    bundle: Arc<Bundle>,
    image: PathBuf,
    digest: String,
    templates: TemplateStore,
    /// `None` when no machine is to start from a template.
    key: Option<TemplateKey>,
}

/// How a machine came up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum StartKind {
    /// From a template.
    Warm,
    /// By booting its kernel.
    Cold,
}

/// A machine whose agent has answered and that has its identity and its root.
pub(crate) struct Running {
    pub(crate) guest: Guest,
    /// Its network, where it has one.
    pub(crate) network: Option<RunningNetwork>,
    pub(crate) machine: Box<dyn Machine>,
    pub(crate) capabilities: Capabilities,
    pub(crate) fallback: Option<String>,
    pub(crate) timings: StartTimings,
    /// How it came up.
    pub(crate) start: StartKind,
    /// Why it did not come up from a template, where it could have.
    pub(crate) no_template: Option<Unusable>,
}

/// What makes a machine that was launched one that runs.
struct CameUp {
    guest: Guest,
    network: Option<RunningNetwork>,
    boot: Duration,
    configure: Duration,
}

impl StartKind {
    /// The name in results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::Cold => "cold",
        }
    }
}

impl Running {
    /// What its guest was refused so far, where that is kept with it.
    pub(crate) fn refused(&self) -> Vec<RefusedDestination> {
        self.network.as_ref().map(RunningNetwork::refused).unwrap_or_default()
    }

    /// Ends the machine at once; returns when its VMM is gone.
    pub(crate) async fn end(self) {
        drop(self.network);
        drop(self.guest);
        self.machine.kill().await;
    }
}

/// Where the time of a start went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StartTimings {
    pub(crate) launch: Duration,
    pub(crate) boot: Duration,
    pub(crate) configure: Duration,
}

impl Pyro {
    /// Installs and probes what `shape` needs. Fails closed: without a working guest the only other engine is the host
    /// itself, and only where the request allows it. A wrong signature or checksum never leads there.
    pub(crate) async fn prepare_start(&self, shape: &Shape) -> Result<Prepared, PyroError> {
        let error = match self.prepare_guest(shape, true).await {
            Ok(prepared) => return Ok(prepared),
            Err(error) => error,
        };
        if !shape.allow_host_compat || error.kind() == ErrorKind::Integrity {
            return Err(PyroError::FailedClosed(Box::new(error)));
        }
        self.progress().phase("fall-back execution_mode=host_compat");
        Ok(Prepared { engine: Arc::new(HostCompat), guest: None, fallback: Some(chain(&error)) })
    }

    /// Fails where a Firecracker is needed that would have to be fetched, unless it `may_fetch`.
    pub(crate) async fn prepare_guest(&self, shape: &Shape, may_fetch: bool) -> Result<Prepared, PyroError> {
        let bundle = self.bundle().await?;
        let engine = self.engine(may_fetch).await?;
        let environment = self.environment(shape.environment).await?;
        let templates = engine.capabilities().snapshot && self.settings.templates != TemplatePolicy::Off;
        let key = templates
            .then(|| template::key(&environment, &bundle, engine.as_ref(), shape.vcpus, shape.memory));
        let (digest, templates) = (environment.manifest.digest.clone(), self.template_store());
        let guest = GuestParts { bundle, image: environment.image, digest, templates, key };
        Ok(Prepared { engine, guest: Some(guest), fallback: None })
    }

    pub(crate) async fn vm_directory(&self, id: &VmId) -> Result<PrivateDirectory, PyroError> {
        let (vms, id) = (self.dirs().state().join("vms"), id.clone());
        blocking(move || PrivateDirectory::create(&vms, id.as_str())).await
    }
}

impl Prepared {
    /// What guests are booted from; `None` when commands run on the host.
    pub(crate) fn bundle(&self) -> Option<Arc<Bundle>> {
        Some(Arc::clone(&self.guest.as_ref()?.bundle))
    }

    /// Name of the engine.
    pub(crate) fn engine(&self) -> &'static str {
        self.engine.capabilities().engine
    }

    /// Digest of the environment's image; `None` when commands run on the host.
    pub(crate) fn image_digest(&self) -> Option<&str> {
        Some(self.guest.as_ref()?.digest.as_str())
    }

    /// Fails where the rules could not be kept: on the host, whose network is what it is.
    pub(crate) fn require_network(&self, rules: &NetworkRules) -> Result<(), PyroError> {
        let can_be_ignored = !rules.policy.allows_publishing() && rules.allow_hosts.is_empty();
        if self.guest.is_some() || can_be_ignored { Ok(()) } else { Err(PyroError::NetworkNeedsGuest) }
    }

    /// The key of the template that machines start from; `None` when they do not start from any.
    pub(crate) fn template_key(&self) -> Option<&TemplateKey> {
        self.guest.as_ref()?.key.as_ref()
    }

    /// The template, verified, or why there is none; `None` when machines do not start from any.
    pub(crate) async fn template(&self) -> Result<Option<Result<Template, Unusable>>, PyroError> {
        let Some(GuestParts { templates, key: Some(key), .. }) = self.guest.clone() else { return Ok(None) };
        blocking(move || Ok(Some(templates.open(&key)))).await
    }

    /// Starts a machine, from its template where there is one. It is killed when what is returned, or this call's future, is
    /// dropped.
    pub(crate) async fn start(
        &self,
        plan: &MachinePlan,
        shape: &Shape,
        progress: &dyn Progress,
    ) -> Result<Running, PyroError> {
        let (unusable, failed) = match self.template().await? {
            Some(Ok(template)) => {
                let beginning = plan.beginning(&template).await?;
                let is_apart = matches!(beginning, Beginning::Apart(_));
                match self.restore(plan, shape, beginning).await {
                    Ok(running) => return Ok(running),
                    // What is on a disk that others have written to is not the template's fault.
                    Err(error) if is_apart && is_of_the_guest(&error) => {
                        (Some(Unusable::failed(&error)), None)
                    }
                    Err(error) => (Some(Unusable::failed(&error)), Some(template)),
                }
            }
            Some(Err(unusable)) => (Some(unusable), None),
            None => (None, None),
        };
        if let Some(unusable) = unusable.as_ref().filter(|unusable| **unusable != Unusable::Missing) {
            progress.phase(&format!("cold-start reason=\"{unusable}\""));
        }
        let (machine, launch) = self.launch(plan, shape, Beginning::Boot).await?;
        let cold = (StartKind::Cold, shape.boot_deadline());
        let running = self.bring_up(machine, plan, cold, launch).await?;
        if let (Some(template), Some(unusable)) = (failed, &unusable) {
            // Where a machine can boot, it was not the host's fault.
            self.reject(&template, unusable).await;
        }
        Ok(Running { no_template: unusable, ..running })
    }

    async fn restore(
        &self,
        plan: &MachinePlan,
        shape: &Shape,
        beginning: Beginning<'_>,
    ) -> Result<Running, PyroError> {
        let (machine, launch) = self.launch(plan, shape, beginning).await?;
        self.bring_up(machine, plan, (StartKind::Warm, RESTORE_DEADLINE), launch).await
    }

    /// Makes a new disk at `path`: a copy of the template's, with which machines start fastest, else an empty one. Its content is on
    /// the host's disk when this returns; that its name is, is up to the caller.
    pub(crate) async fn make_disk(&self, bundle: Arc<Bundle>, path: PathBuf) -> Result<(), PyroError> {
        let template = self.template().await?.and_then(Result::ok);
        blocking(move || {
            match template.map(|template| copy_sparse(&template.files.disk, &path)) {
                Some(Ok(())) => {}
                Some(Err(error)) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                // One that is replaced right now is as good as none.
                Some(Err(_)) | None => copy_sparse(&bundle.scratch_template()?, &path)?,
            }
            let synced = File::open(&path).and_then(|disk| disk.sync_data());
            Ok(synced.map_err(FsError::on("write", path))?)
        })
        .await
    }

    /// Takes a template that failed out of use.
    async fn reject(&self, template: &Template, unusable: &Unusable) {
        let Some(GuestParts { templates, key: Some(key), .. }) = self.guest.clone() else { return };
        let (made, why) = (template.created_at, unusable.to_string());
        // A cache that cannot be written keeps it; the next start tries it again, and boots as this one does.
        let _kept = blocking(move || Ok(templates.reject_made_at(&key, made, why)?)).await;
    }

    /// Waits for the agent of a machine just launched, and makes the machine what the plan says. One that fails is gone, and has
    /// let go of its disk, when this returns.
    async fn bring_up(
        &self,
        machine: Box<dyn Machine>,
        plan: &MachinePlan,
        (start, deadline): (StartKind, Duration),
        launch: Duration,
    ) -> Result<Running, PyroError> {
        match self.come_up(machine.as_ref(), plan, deadline).await {
            Ok(CameUp { guest, network, boot, configure }) => {
                let timings = StartTimings { launch, boot, configure };
                let (capabilities, fallback) = (self.engine.capabilities(), self.fallback.clone());
                Ok(Running {
                    guest,
                    network,
                    machine,
                    capabilities,
                    fallback,
                    timings,
                    start,
                    no_template: None,
                })
            }
            Err(error) => {
                machine.kill().await;
                Err(error)
            }
        }
    }

    async fn come_up(
        &self,
        machine: &dyn Machine,
        plan: &MachinePlan,
        deadline: Duration,
    ) -> Result<CameUp, PyroError> {
        let booting = Instant::now();
        let guest = Guest::boot(machine, deadline).await?;
        let boot = booting.elapsed();
        let configuring = Instant::now();
        let configured = async {
            let (with_root, seeded) = (self.guest.is_some(), plan.seed.is_some());
            guest.configure(Identity { hostname: plan.name.clone(), with_root, seeded }).await?;
            guest.set_clock().await?;
            if plan.secrets.is_empty() { Ok(()) } else { guest.put_secrets(&plan.secrets.pairs()).await }
        };
        configured.await.map_err(|error| error.with_console(machine))?;
        let network = match &plan.network {
            Some(network) if self.guest.is_some() => Some(network.start(&guest).await?),
            // What runs on the host has its network.
            _ => None,
        };
        Ok(CameUp { guest, network, boot, configure: configuring.elapsed() })
    }

    /// Starts the VMM of a machine. Tells how long that took, without the disk.
    pub(crate) async fn launch(
        &self,
        plan: &MachinePlan,
        shape: &Shape,
        beginning: Beginning<'_>,
    ) -> Result<(Box<dyn Machine>, Duration), PyroError> {
        let spec = self.specification(plan, shape, beginning).await?;
        let begun = Instant::now();
        let machine = self.engine.launch(spec).await?;
        Ok((machine, begun.elapsed()))
    }

    async fn specification(
        &self,
        plan: &MachinePlan,
        shape: &Shape,
        beginning: Beginning<'_>,
    ) -> Result<MachineSpec, PyroError> {
        let mut spec = MachineSpec {
            lock: plan.lock.clone(),
            name: format!("pyro-{}", plan.name),
            vcpus: shape.vcpus,
            memory: shape.memory,
            kernel: PathBuf::new(),
            initramfs: PathBuf::new(),
            disks: Vec::new(),
            start: beginning.start(),
            directory: plan.directory.clone(),
        };
        if let Some(GuestParts { bundle, image, .. }) = self.guest.clone() {
            let volatile = plan.disk.is_none();
            let scratch = plan.disk.clone().unwrap_or_else(|| plan.throwaway_disk());
            let seed = match plan.seed.clone() {
                Some(seed) => seed,
                None => bundle.no_seed()?,
            };
            spec.kernel = bundle.kernel_elf();
            spec.disks = vec![
                shared(image, serial::IMAGE),
                shared(bundle.modules_image(), serial::MODULES),
                shared(seed, serial::SEED),
                Disk { path: scratch.clone(), serial: serial::SCRATCH, read_only: false, volatile },
            ];
            let (restored, new_disk) = (matches!(spec.start, Start::Restore(_)), beginning.disk());
            spec.initramfs = blocking(move || {
                if volatile {
                    // What an attempt before this one left.
                    remove_all(&scratch)?;
                    let new_disk = new_disk.map_or_else(|| bundle.scratch_template(), Ok)?;
                    copy_sparse(&new_disk, &scratch)?;
                }
                // A template brings its own.
                if restored { Ok(PathBuf::new()) } else { Ok(bundle.initramfs()?) }
            })
            .await?;
        }
        Ok(spec)
    }
}

/// Whether it is the guest that failed, after its agent had answered.
fn is_of_the_guest(error: &PyroError) -> bool {
    matches!(
        error,
        PyroError::Vmm(
            VmmError::Refused { .. }
                | VmmError::CallTimeout { .. }
                | VmmError::DiedMidway { .. }
                | VmmError::ChannelClosed { .. }
                | VmmError::Misbehaved { .. }
        )
    )
}

fn shared(path: PathBuf, serial: &'static str) -> Disk {
    Disk { path, serial, read_only: true, volatile: false }
}
