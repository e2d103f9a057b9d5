//! Which acceleration really boots a guest on this host.
//!
//! That `/dev/kvm` opens proves nothing: on some hosts a stock kernel never gets anywhere on it. So the bundle's kernel
//! and initramfs are booted on it, and its agent has to answer in time; else the same in software emulation. The answer
//! is kept with the host's identity; a record means that a guest has booted here.

use crate::qemu::Qemu;
use crate::{Engine, Guest, MachineSpec, MemMib, Start, VcpuCount, VmmError};
use pyro_protocol::error::chain;
use pyro_runtime::host::{HostFacts, identity};
use pyro_runtime::probe::{Acceleration, AccelerationRecord};
use pyro_runtime::{Bundle, Dirs, Progress};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A guest that has not answered by then does not count as booting: on working KVM it takes a second.
const KVM_DEADLINE: Duration = Duration::from_secs(10);
/// The boot that software emulation has to manage for pyro to run here at all.
const EMULATION_DEADLINE: Duration = Duration::from_mins(1);
const PROBE_MEMORY_MIB: u32 = 256;

/// The record for this host and bundle: an earlier one, or what a probe finds now.
pub async fn acceleration(
    bundle: &Arc<Bundle>,
    dirs: &Dirs,
    progress: &dyn Progress,
) -> Result<AccelerationRecord, VmmError> {
    let host_identity = identity(bundle.id());
    if let Some(record) = AccelerationRecord::load(dirs, host_identity) {
        return Ok(record);
    }
    let begun = Instant::now();
    let kvm = HostFacts::gather().kvm;
    let refused = if kvm.writable {
        progress.phase("probe acceleration=kvm");
        let booted = boot(bundle, Acceleration::Kvm, KVM_DEADLINE).await;
        booted.err().map(|error| format!("/dev/kvm opens, but no guest comes up on it: {}", chain(&error)))
    } else {
        Some(format!("/dev/kvm cannot be used: {}", kvm.problem.unwrap_or_default()))
    };
    let (acceleration, reason) = match refused {
        None => (Acceleration::Kvm, "a guest boots on /dev/kvm".to_owned()),
        Some(reason) => {
            progress.phase("probe acceleration=emulation");
            boot(bundle, Acceleration::Emulation, EMULATION_DEADLINE).await?;
            (Acceleration::Emulation, reason)
        }
    };
    let record = AccelerationRecord {
        acceleration,
        reason,
        probed_at: jiff::Timestamp::now(),
        probe_millis: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        host_identity,
    };
    // A state directory that cannot be written costs a probe each time, and nothing else.
    let _unrecorded = record.store(dirs);
    Ok(record)
}

/// Boots the bundle's kernel and initramfs, without disks, and asks the agent for an answer.
async fn boot(bundle: &Arc<Bundle>, acceleration: Acceleration, deadline: Duration) -> Result<(), VmmError> {
    let initramfs = bundle.initramfs().map_err(std::io::Error::other);
    let spec = MachineSpec {
        lock: None,
        name: "pyro-probe".to_owned(),
        vcpus: VcpuCount::new(1)?,
        memory: MemMib::new(PROBE_MEMORY_MIB)?,
        kernel: bundle.kernel_elf(),
        initramfs: initramfs.map_err(|error| VmmError::host("write the initramfs", error))?,
        disks: Vec::new(),
        start: Start::Boot,
        // It has no disk, and so nothing to write.
        directory: bundle.dir().to_owned(),
    };
    let engine = Qemu::new(Arc::clone(bundle), acceleration);
    let mut machine = engine.launch(spec).await?;
    // Its agent answers a ping as part of being found.
    let booted = Guest::boot(machine.as_mut(), deadline).await;
    machine.kill().await;
    booted.map(drop)
}
