//! What every engine offers. Callers see only this; an engine that lacks something declares it.

use crate::{JailLevel, MachineSpec, VmmError};
use futures::future::BoxFuture;
use pyro_runtime::Sha256Digest;
use serde::Serialize;
use std::sync::{Mutex, PoisonError};
use tokio::net::UnixStream;

/// How commands reach the place where they run; part of every result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionMode {
    /// In a guest, over a virtio socket.
    GuestVsock,
    /// In a guest, over a virtio serial port.
    GuestVirtioSerial,
    /// On the host, without isolation.
    HostCompat,
}

impl ExecutionMode {
    /// The name in results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GuestVsock => "guest_vsock",
            Self::GuestVirtioSerial => "guest_virtio_serial",
            Self::HostCompat => "host_compat",
        }
    }
}

/// What an engine can do on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// Name of the engine: `firecracker`, `qemu-kvm`, `qemu-emulation`, `host-compat`.
    pub engine: &'static str,
    /// How commands reach the guest.
    pub execution_mode: ExecutionMode,
    /// The guest is separated from the host by a virtual machine. In software emulation that is for development, not
    /// a security boundary.
    pub isolated: bool,
    /// It runs on the CPU's virtualisation extensions.
    pub hardware_accelerated: bool,
    /// Machines can be stopped in time: [`Machine::pause`], [`Machine::resume`] and [`Machine::snapshot`] work, and
    /// [`crate::Start::Restore`] with what the latter writes.
    pub snapshot: bool,
}

/// Starts machines.
pub trait Engine: Send + Sync {
    /// What this engine can do.
    fn capabilities(&self) -> Capabilities;

    /// Digest of how this engine builds machines: with the bundle and the specification, all that a snapshot of one depends
    /// on.
    fn shape(&self) -> Sha256Digest;

    /// Starts a machine. The VMM's process is alive and the channel exists when this returns; whether a guest comes up
    /// in it is told by [`crate::Guest::connect`].
    fn launch(&self, spec: MachineSpec) -> BoxFuture<'_, Result<Box<dyn Machine>, VmmError>>;
}

/// A channel that is there from the start, to be taken once.
pub(crate) struct Once<T>(Mutex<Option<T>>);

impl<T> Once<T> {
    pub(crate) fn new(channel: T) -> Self {
        Self(Mutex::new(Some(channel)))
    }

    pub(crate) fn take(&self) -> Result<T, VmmError> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.ok_or(VmmError::ChannelClosed { call: "connect" })
    }
}

/// How a VMM's process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitReport {
    /// As "exit status: 0" or "signal: 9 (SIGKILL)".
    pub status: String,
}

/// One running machine. Dropping it kills the VMM.
pub trait Machine: Send + Sync {
    /// The byte channel to the agent, once; [`VmmError::ChannelClosed`] after it was taken. Waits, without a deadline but for what
    /// was restored, until there is one.
    fn channel(&self) -> BoxFuture<'_, Result<UnixStream, VmmError>>;

    /// Process id of the VMM.
    fn pid(&self) -> u32;

    /// How far this host jails the VMM; none where there is no VMM, but a process of the host's.
    fn jail(&self) -> Option<&JailLevel> {
        None
    }

    /// The last lines of the guest's console and the VMM's own messages, bounded.
    fn console_tail(&self) -> String;

    /// Waits until the VMM's process is gone and reaped.
    fn wait(&self) -> BoxFuture<'_, ExitReport>;

    /// Kills the VMM's process, at once and whatever becomes of the future; nothing is flushed. The future tells when
    /// the process is gone and reaped.
    fn kill(&self) -> BoxFuture<'_, ExitReport>;

    /// Stops the guest's CPUs. Legal while running; fails where [`Capabilities::snapshot`] is false.
    fn pause(&self) -> BoxFuture<'_, Result<(), VmmError>>;

    /// Lets the guest's CPUs run again. Legal while paused.
    fn resume(&self) -> BoxFuture<'_, Result<(), VmmError>>;

    /// Writes the snapshot that the machine was launched for ([`crate::Start::BootForSnapshot`]). Legal once, while
    /// running with the host end of the channel closed; afterwards the machine can only be killed.
    fn snapshot(&self) -> BoxFuture<'_, Result<(), VmmError>>;
}
