//! From a request to a guest that is ready for a command.

use crate::engine::blocking;
use crate::vm::VmId;
use crate::vm::directory::VmDirectory;
use crate::{Pyro, PyroError};
use pyro_images::Recipe;
use pyro_protocol::error::{Diagnostic, ErrorKind, chain};
use pyro_protocol::serial;
use pyro_runtime::Bundle;
use pyro_runtime::fs::copy_sparse;
use pyro_vmm::guest::Identity;
use pyro_vmm::host_compat::HostCompat;
use pyro_vmm::{Capabilities, Disk, Engine, Guest, Machine, MachineSpec, MemMib, VcpuCount};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a guest may take from its start to its agent's first answer.
const BOOT_DEADLINE: Duration = Duration::from_mins(1);
/// Virtual CPUs beyond the host's come up one after the other, which in software emulation takes seconds for each.
const BOOT_DEADLINE_PER_VCPU: Duration = Duration::from_secs(6);

/// What a machine is to be, checked.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) environment: &'static Recipe,
    pub(super) vcpus: VcpuCount,
    pub(super) memory: MemMib,
    pub(super) allow_host_compat: bool,
}

impl Shape {
    /// Fails when the environment is unknown or a number is out of its range.
    pub(super) fn new(
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
}

/// Everything a start needs, installed and probed.
#[derive(Clone)]
pub(super) struct Prepared {
    engine: Arc<dyn Engine>,
    bundle: Option<Arc<Bundle>>,
    image: Option<PathBuf>,
    /// Why it is the host that commands run on.
    fallback: Option<String>,
}

/// A machine whose agent has answered and that has its identity and its root.
pub(super) struct Running {
    pub(super) guest: Guest,
    pub(super) machine: Box<dyn Machine>,
    pub(super) capabilities: Capabilities,
    pub(super) fallback: Option<String>,
    pub(super) timings: StartTimings,
}

impl Running {
    /// Ends the machine at once; returns when its VMM is gone.
    pub(super) async fn end(self) {
        drop(self.guest);
        self.machine.kill().await;
    }
}

/// Where the time of a start went.
#[derive(Debug, Clone, Copy)]
pub(super) struct StartTimings {
    pub(super) launch: Duration,
    pub(super) boot: Duration,
    pub(super) configure: Duration,
}

impl Pyro {
    /// Installs and probes what `shape` needs. Fails closed: without a working guest the only other engine is the host
    /// itself, and only where the request allows it. A wrong signature or checksum never leads there.
    pub(super) async fn prepare_start(&self, shape: &Shape) -> Result<Prepared, PyroError> {
        let error = match self.prepare_guest(shape).await {
            Ok(prepared) => return Ok(prepared),
            Err(error) => error,
        };
        if !shape.allow_host_compat || error.kind() == ErrorKind::Integrity {
            return Err(PyroError::FailedClosed(Box::new(error)));
        }
        self.progress().phase("fall-back execution_mode=host_compat");
        Ok(Prepared {
            engine: Arc::new(HostCompat),
            bundle: None,
            image: None,
            fallback: Some(chain(&error)),
        })
    }

    async fn prepare_guest(&self, shape: &Shape) -> Result<Prepared, PyroError> {
        let bundle = self.bundle().await?;
        let engine = self.engine().await?;
        let environment = self.environment(shape.environment).await?;
        Ok(Prepared { engine, bundle: Some(bundle), image: Some(environment.image), fallback: None })
    }

    pub(super) async fn vm_directory(&self, id: &VmId) -> Result<VmDirectory, PyroError> {
        let (vms, id) = (self.dirs().state().join("vms"), id.clone());
        blocking(move || VmDirectory::create(&vms, &id)).await
    }
}

impl Prepared {
    /// Starts a machine in `directory`. It is killed when what is returned, or this call's future, is dropped.
    pub(super) async fn start(
        &self,
        id: &VmId,
        shape: &Shape,
        directory: &Path,
    ) -> Result<Running, PyroError> {
        let spec = self.specification(id, shape, directory).await?;
        let with_root = !spec.disks.is_empty();
        let begun = Instant::now();
        let mut machine = self.engine.launch(spec).await?;
        let launch = begun.elapsed();
        let booting = Instant::now();
        let deadline = BOOT_DEADLINE + BOOT_DEADLINE_PER_VCPU * shape.vcpus.get();
        let guest = Guest::boot(machine.as_mut(), deadline).await?;
        let boot = booting.elapsed();
        let configuring = Instant::now();
        let configured = guest.configure(Identity { hostname: id.to_string(), with_root }).await;
        configured.map_err(|error| error.with_console(machine.as_ref()))?;
        let configure = configuring.elapsed();
        let (capabilities, timings) = (self.engine.capabilities(), StartTimings { launch, boot, configure });
        Ok(Running { guest, machine, capabilities, fallback: self.fallback.clone(), timings })
    }

    async fn specification(
        &self,
        id: &VmId,
        shape: &Shape,
        directory: &Path,
    ) -> Result<MachineSpec, PyroError> {
        let mut spec = MachineSpec {
            name: format!("pyro-{id}"),
            vcpus: shape.vcpus,
            memory: shape.memory,
            kernel: PathBuf::new(),
            initramfs: PathBuf::new(),
            disks: Vec::new(),
            directory: directory.to_owned(),
        };
        if let (Some(bundle), Some(image)) = (&self.bundle, &self.image) {
            let scratch = directory.join("scratch.ext4");
            spec.kernel = bundle.kernel_elf();
            spec.disks = vec![
                shared(image.clone(), serial::IMAGE),
                shared(bundle.modules_image(), serial::MODULES),
                Disk { path: scratch.clone(), serial: serial::SCRATCH, read_only: false, volatile: true },
            ];
            let bundle = Arc::clone(bundle);
            spec.initramfs = blocking(move || {
                copy_sparse(&bundle.scratch_template()?, &scratch)?;
                Ok(bundle.initramfs()?)
            })
            .await?;
        }
        Ok(spec)
    }
}

fn shared(path: PathBuf, serial: &'static str) -> Disk {
    Disk { path, serial, read_only: true, volatile: false }
}
