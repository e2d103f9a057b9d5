//! QEMU's microvm machine, on KVM or in software emulation.
//!
//! The VMM gets no network device, no PCI bus, no BIOS device beyond what boots a kernel. Its two channels, the agent's
//! and the monitor's, are socket pairs made before it starts: nothing appears in the file system, nobody else can
//! connect, and there is nothing to wait for. The guest's console is QEMU's standard output.

mod capture;
mod command;
mod qmp;
mod tsc;

use crate::engine::{Capabilities, Engine, ExecutionMode, ExitReport, Machine, Once};
use crate::jail::{Jail, JailLevel};
use crate::process::KeptProcess;
use crate::{MachineSpec, Start, VmmError};
use capture::Capture;
use futures::future::BoxFuture;
use pyro_runtime::Sha256Digest;
use pyro_runtime::bundle::Bundle;
use pyro_runtime::probe::Acceleration;
use qmp::Monitor;
use std::os::fd::OwnedFd;
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
        let capture = match &spec.start {
            Start::BootForSnapshot(files) => Some(Capture::prepare(files, spec.memory)?),
            Start::Boot | Start::Restore(_) => None,
        };
        let ram = capture.as_ref().map(Capture::ram).transpose()?;
        let channels = command::Channels { agent: &guest_end, monitor: &monitor_end, ram: ram.as_ref() };
        let command = command::build(&self.bundle, self.acceleration, &spec, &channels);
        let jail = self.jail(&spec);
        let lock = spec.lock.as_ref().map(|lock| lock.try_clone()).transpose();
        let lock = lock.map_err(|error| VmmError::host("share a lock with the VMM", error))?;
        let inherited = [Some(guest_end), Some(monitor_end), ram, lock].into_iter().flatten().collect();
        let process = KeptProcess::start(command, Some(jail), inherited).await?;
        let mut monitor = Monitor::Unopened(monitor);
        if let Start::Restore(snapshot) = &spec.start
            && let Err(error) = monitor.restore(&snapshot.state).await
        {
            return Err(process.give_up(error).await);
        }
        Ok(QemuMachine { process, channel: Once::new(channel), monitor: Mutex::new(monitor), capture })
    }

    fn jail(&self, spec: &MachineSpec) -> Jail {
        let mut jail = Jail::of(spec, self.bundle.dir().to_owned());
        if let Start::BootForSnapshot(files) = &spec.start {
            jail.writable.push(files.state.clone());
            // QEMU takes a file for the guest's memory by name alone.
            jail.named_descriptors = true;
        }
        if self.acceleration == Acceleration::Kvm {
            jail.writable.push("/dev/kvm".into());
        }
        jail
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
            snapshot: true,
        }
    }

    fn shape(&self) -> Sha256Digest {
        command::shape(self.acceleration)
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
    channel: Once<UnixStream>,
    monitor: Mutex<Monitor>,
    capture: Option<Capture>,
}

impl Machine for QemuMachine {
    fn channel(&self) -> BoxFuture<'_, Result<UnixStream, VmmError>> {
        Box::pin(async { self.channel.take() })
    }

    fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn jail(&self) -> Option<&JailLevel> {
        self.process.jail()
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

    fn snapshot(&self) -> BoxFuture<'_, Result<(), VmmError>> {
        Box::pin(async move {
            let not_for_it = || VmmError::host("take the memory", std::io::ErrorKind::Unsupported);
            let capture = self.capture.as_ref().ok_or_else(not_for_it)?;
            self.monitor.lock().await.save(&capture.files.state).await?;
            capture.write_ram().await
        })
    }
}
