//! QEMU's microvm machine, on KVM or in software emulation.
//!
//! The VMM gets no network device, no PCI bus, no BIOS device beyond what boots a kernel. Its two channels, the agent's
//! and the monitor's, are socket pairs made before it starts: nothing appears in the file system, nobody else can
//! connect, and there is nothing to wait for. The guest's console is QEMU's standard output.

mod command;
mod qmp;
mod tsc;

use crate::confine::Confinement;
use crate::engine::{Capabilities, Engine, ExecutionMode, ExitReport, Machine};
use crate::process::KeptProcess;
use crate::{MachineSpec, VmmError};
use futures::future::BoxFuture;
use pyro_runtime::bundle::Bundle;
use pyro_runtime::probe::Acceleration;
use qmp::Monitor;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::UnixStream;
use tokio::sync::Mutex;

/// The QEMU of a runtime bundle.
#[derive(Debug, Clone)]
pub struct Qemu {
    bundle: Arc<Bundle>,
    acceleration: Acceleration,
}

impl Qemu {
    /// An engine that starts the bundle's QEMU with `acceleration`, which the caller has probed.
    pub fn new(bundle: Arc<Bundle>, acceleration: Acceleration) -> Self {
        Self { bundle, acceleration }
    }

    async fn start(&self, spec: MachineSpec) -> Result<QemuMachine, VmmError> {
        let (channel, guest_end) = socket_pair()?;
        let (monitor, monitor_end) = socket_pair()?;
        let channels = command::Channels { agent: &guest_end, monitor: &monitor_end };
        let command = command::build(&self.bundle, self.acceleration, &spec, &channels);
        let confinement = self.confinement(&spec);
        let process = KeptProcess::start(command, confinement, vec![guest_end, monitor_end]).await?;
        Ok(QemuMachine { process, channel: Some(channel), monitor: Mutex::new(Monitor::Unopened(monitor)) })
    }

    fn confinement(&self, spec: &MachineSpec) -> Confinement {
        let (read_only, writable): (Vec<_>, Vec<_>) = spec.disks.iter().partition(|disk| disk.read_only);
        let mut readable: Vec<PathBuf> = read_only.into_iter().map(|disk| disk.path.clone()).collect();
        readable.extend([spec.kernel.clone(), spec.initramfs.clone()]);
        // What QEMU and glibc look up about the CPUs and the memory.
        readable.extend(["/sys/devices/system/cpu", "/proc/meminfo"].map(PathBuf::from));
        let mut writable: Vec<PathBuf> = writable.into_iter().map(|disk| disk.path.clone()).collect();
        writable.push("/dev/null".into());
        if self.acceleration == Acceleration::Kvm {
            writable.push("/dev/kvm".into());
        }
        Confinement {
            programs: vec![self.bundle.dir().to_owned()],
            readable,
            writable,
            max_file_bytes: pyro_runtime::bundle::SCRATCH_DISK_BYTES,
            unconfined: false,
        }
    }
}

impl Engine for Qemu {
    fn capabilities(&self) -> Capabilities {
        let hardware_accelerated = self.acceleration == Acceleration::Kvm;
        Capabilities {
            engine: if hardware_accelerated { "qemu-kvm" } else { "qemu-emulation" },
            execution_mode: ExecutionMode::GuestVirtioSerial,
            isolated: true,
            hardware_accelerated,
            pause: true,
        }
    }

    fn launch(&self, spec: MachineSpec) -> BoxFuture<'_, Result<Box<dyn Machine>, VmmError>> {
        Box::pin(async move { Ok(Box::new(self.start(spec).await?) as Box<dyn Machine>) })
    }
}

fn socket_pair() -> Result<(UnixStream, OwnedFd), VmmError> {
    let failed = |error| VmmError::host("create a socket pair", error);
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
    ours.set_nonblocking(true).map_err(failed)?;
    Ok((UnixStream::from_std(ours).map_err(failed)?, theirs.into()))
}

struct QemuMachine {
    process: KeptProcess,
    channel: Option<UnixStream>,
    monitor: Mutex<Monitor>,
}

impl Machine for QemuMachine {
    fn take_channel(&mut self) -> Option<UnixStream> {
        self.channel.take()
    }

    fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn console_tail(&self) -> String {
        self.process.output()
    }

    fn wait(&self) -> BoxFuture<'_, ExitReport> {
        Box::pin(self.process.wait())
    }

    fn kill(&self) -> BoxFuture<'_, ExitReport> {
        self.process.end();
        Box::pin(self.process.wait())
    }

    fn pause(&self) -> BoxFuture<'_, Result<(), VmmError>> {
        Box::pin(async move { self.monitor.lock().await.stop().await })
    }

    fn resume(&self) -> BoxFuture<'_, Result<(), VmmError>> {
        Box::pin(async move { self.monitor.lock().await.cont().await })
    }
}
