//! Which engine really boots a guest on this host.
//!
//! That `/dev/kvm` opens proves nothing: on some hosts a stock kernel never gets anywhere on it. So the bundle's kernel
//! and initramfs are booted on it, and its agent has to answer in time; else the same in software emulation. The answer
//! is kept with the host's identity; a record means that a guest has booted here.
//!
//! The pinned Firecracker is fetched only once QEMU has shown that KVM works: most hosts without KVM never ask for it.

use crate::cgroup::Resources;
use crate::firecracker::Firecracker;
use crate::jail::{Jail, JailLevel};
use crate::process::KeptProcess;
use crate::qemu::Qemu;
use crate::{Capabilities, Engine, Guest, MachineSpec, MemMib, Start, VcpuCount, VmmError};
use jiff::Timestamp;
use pyro_protocol::error::chain;
use pyro_runtime::fs::{FsError, create_dir_all, remove_all};
use pyro_runtime::host::{HostFacts, identity_with};
use pyro_runtime::probe::{Acceleration, EngineKind, EngineRecord, Wanting};
use pyro_runtime::{
    Bundle, Dirs, Firecracker as Program, FirecrackerError, FirecrackerSource, Progress, Tool,
};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A guest that has not answered by then does not count as booting: on working KVM it takes a second.
const KVM_DEADLINE: Duration = Duration::from_secs(10);
/// The boot that software emulation has to manage for pyro to run here at all.
const EMULATION_DEADLINE: Duration = Duration::from_mins(1);
const PROBE_MEMORY_MIB: u32 = 256;
/// No probe takes as long: whose directory is older is no more.
const ABANDONED: Duration = Duration::from_mins(10);
/// How long a program may take to say its version.
const JAIL_DEADLINE: Duration = Duration::from_secs(5);
/// After which it is tried again to fetch what could not be fetched.
const FETCH_AGAIN: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

/// Finds the engine of a host.
pub struct Probe<'a> {
    /// The runtime that guests are booted with.
    pub bundle: &'a Arc<Bundle>,
    /// Where the record is.
    pub dirs: &'a Dirs,
    /// Which Firecracker is to be used.
    pub firecracker: &'a FirecrackerSource,
    /// Whether it may be fetched where it is missing.
    pub may_fetch: bool,
    /// Whether an earlier record counts for nothing.
    pub anew: bool,
    /// Told about boots and downloads.
    pub progress: &'a Arc<dyn Progress>,
}

impl Probe<'_> {
    /// The record for this host and bundle: an earlier one, or what is found now. Fails when no guest boots here at all.
    pub async fn engine(&self) -> Result<EngineRecord, VmmError> {
        let host_identity = identity_with(self.bundle.id(), &self.firecracker.mark());
        if let Some(record) = EngineRecord::load(self.dirs, host_identity)
            && !self.anew
            && !self.is_due(&record)
        {
            return Ok(record);
        }
        let begun = Instant::now();
        let Found { engine, reason, wanting } = self.find().await?;
        let record = EngineRecord {
            engine,
            reason,
            wanting,
            probed_at: Timestamp::now(),
            probe_millis: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            host_identity,
        };
        // A state directory that cannot be written costs a probe each time, and nothing else.
        let _unrecorded = record.store(self.dirs);
        Ok(record)
    }

    /// Whether a Firecracker that was missing may be there by now, or one that was there is no more.
    fn is_due(&self, record: &EngineRecord) -> bool {
        if record.engine == EngineKind::Firecracker && !self.firecracker.is_there(self.dirs) {
            return true;
        }
        let tried_lately = |tried: Timestamp| Timestamp::now().duration_since(tried) < FETCH_AGAIN;
        match record.wanting {
            Some(Wanting { tried_at }) => self.may_fetch && !tried_at.is_some_and(tried_lately),
            None => false,
        }
    }

    async fn find(&self) -> Result<Found, VmmError> {
        let kvm = HostFacts::gather().kvm;
        if !kvm.writable {
            return self
                .emulation(format!("/dev/kvm cannot be used: {}", kvm.problem.unwrap_or_default()))
                .await;
        }
        let mut qemu_boots = false;
        let mut program = self.program(false).await;
        if matches!(program, Ok(None)) {
            // Nobody fetches it before it is known to be of use.
            if let Err(why) = self.qemu_on_kvm().await {
                return self.emulation(why).await;
            }
            qemu_boots = true;
            program = if self.may_fetch { self.program(true).await } else { program };
        }
        let missing = *self.firecracker == FirecrackerSource::Pinned && !matches!(program, Ok(Some(_)));
        let without = match program {
            Ok(Some(program)) => match self.boot(&Firecracker::new(program)).await {
                Ok(()) => {
                    return Ok(Found::on(EngineKind::Firecracker, "a guest boots on /dev/kvm".to_owned()));
                }
                Err(error) => format!("no guest comes up on Firecracker: {}", chain(&error)),
            },
            Ok(None) => "Firecracker was not fetched yet".to_owned(),
            Err(error) => format!("there is no Firecracker: {}", chain(&error)),
        };
        if !qemu_boots && let Err(why) = self.qemu_on_kvm().await {
            return self.emulation(why).await;
        }
        let tried_at = self.may_fetch.then(Timestamp::now);
        let reason = format!("a guest boots on /dev/kvm; {without}");
        Ok(Found {
            wanting: missing.then_some(Wanting { tried_at }),
            ..Found::on(EngineKind::QemuKvm, reason)
        })
    }

    /// The Firecracker to use, `None` where it would have to be fetched and is not to be.
    async fn program(&self, fetch: bool) -> Result<Option<Program>, FirecrackerError> {
        let (source, dirs, progress) =
            (self.firecracker.clone(), self.dirs.clone(), Arc::clone(self.progress));
        let found = tokio::task::spawn_blocking(move || {
            if fetch { source.get(&dirs, progress.as_ref()).map(Some) } else { source.at_hand(&dirs) }
        });
        found.await.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
    }

    /// Fails with what is wrong with KVM.
    async fn qemu_on_kvm(&self) -> Result<(), String> {
        let booted = self.boot(&Qemu::new(Arc::clone(self.bundle), Acceleration::Kvm)).await;
        booted.map_err(|error| format!("/dev/kvm opens, but no guest comes up on it: {}", chain(&error)))
    }

    async fn emulation(&self, reason: String) -> Result<Found, VmmError> {
        self.boot(&Qemu::new(Arc::clone(self.bundle), Acceleration::Emulation)).await?;
        Ok(Found::on(EngineKind::QemuEmulation, reason))
    }

    /// Boots the bundle's kernel and initramfs on `engine`, without disks, and asks the agent for an answer.
    pub async fn boot(&self, engine: &dyn Engine) -> Result<(), VmmError> {
        let Capabilities { engine: name, hardware_accelerated, .. } = engine.capabilities();
        self.progress.phase(&format!("probe engine={name}"));
        let directory = place(self.dirs)?;
        let initramfs = self.bundle.initramfs().map_err(std::io::Error::other);
        let spec = MachineSpec {
            lock: None,
            name: "pyro-probe".to_owned(),
            vcpus: VcpuCount::new(1)?,
            memory: MemMib::new(PROBE_MEMORY_MIB)?,
            kernel: self.bundle.kernel_elf(),
            initramfs: initramfs.map_err(|error| VmmError::host("write the initramfs", error))?,
            disks: Vec::new(),
            start: Start::Boot,
            directory: directory.path().to_owned(),
        };
        let machine = engine.launch(spec).await?;
        // Its agent answers a ping as part of being found.
        let deadline = if hardware_accelerated { KVM_DEADLINE } else { EMULATION_DEADLINE };
        let booted = Guest::boot(machine.as_ref(), deadline).await;
        machine.kill().await;
        booted.map(drop)
    }
}

/// How much of a VMM's jail this host grants, seen by a program of the bundle's that says its version in one.
pub async fn jail(bundle: &Bundle, dirs: &Dirs) -> Result<JailLevel, VmmError> {
    let directory = place(dirs)?;
    let mut command = bundle.command(Tool::Qemu);
    command.arg("--version");
    let path = directory.path().to_owned();
    let jail = Jail::bare("pyro-probe", bundle.dir().to_owned(), path, Resources::least());
    let process = KeptProcess::start(command, Some(jail), Vec::new()).await?;
    process.wait_or_kill(JAIL_DEADLINE).await;
    process.jail().cloned().ok_or_else(|| VmmError::host("jail a program", std::io::ErrorKind::Unsupported))
}

/// A directory for a machine that is gone soon. What a pyro that was killed left there is removed.
fn place(dirs: &Dirs) -> Result<TempDir, VmmError> {
    let probes = dirs.state().join("probe");
    create_dir_all(&probes)?;
    for left in std::fs::read_dir(&probes).into_iter().flatten().flatten() {
        let age =
            left.metadata().and_then(|found| found.modified()).ok().and_then(|made| made.elapsed().ok());
        if age.is_some_and(|age| age > ABANDONED) {
            // The next probe tries it again.
            let _kept = remove_all(&left.path());
        }
    }
    Ok(tempfile::tempdir_in(&probes).map_err(FsError::on("create", probes))?)
}

/// What a probe found.
struct Found {
    engine: EngineKind,
    reason: String,
    wanting: Option<Wanting>,
}

impl Found {
    fn on(engine: EngineKind, reason: String) -> Self {
        Self { engine, reason, wanting: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File, FileTimes};
    use std::time::SystemTime;

    #[test]
    fn what_a_killed_probe_left_is_removed_and_what_another_uses_is_not() {
        let home = tempfile::tempdir().unwrap();
        let dirs = Dirs::under(home.path());
        let (left, used) = (place(&dirs).unwrap().keep(), place(&dirs).unwrap());
        fs::write(left.join("api.sock"), "").unwrap();
        let long_ago = FileTimes::new().set_modified(SystemTime::now() - 2 * ABANDONED);
        File::open(&left).unwrap().set_times(long_ago).unwrap();
        let own = place(&dirs).unwrap();
        assert!(!left.exists() && used.path().exists() && own.path().exists());
    }
}
