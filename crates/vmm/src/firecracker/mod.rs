//! Firecracker, on KVM.
//!
//! The VMM gets no network device and no PCI bus. It is configured over its API, a Unix socket; the agent's channel is a virtio
//! socket, which Firecracker ends in a second one. Both lie in the machine's private directory, which is Firecracker's working
//! directory: it knows everything that differs between machines by names relative to that, so that a snapshot of one machine
//! can be restored in the directory of another. The guest's console is Firecracker's standard output.
//!
//! Firecracker gives disks serial numbers of its own, so the guest is told on the kernel's command line in which order they are.

mod api;
mod requests;
mod vsock;

use crate::engine::{Capabilities, Engine, ExecutionMode, ExitReport, Machine};
use crate::jail::{Creates, Jail, JailLevel, Sockets};
use crate::process::KeptProcess;
use crate::{Disk, MachineSpec, Snapshot, Start, VmmError};
use api::Api;
use futures::future::BoxFuture;
use pyro_protocol::parameter;
use pyro_runtime::fs::FsError;
use pyro_runtime::sparse;
use pyro_runtime::{Firecracker as Program, Sha256Digest};
use requests::{Body, Drive, LoadSnapshot, MemoryBackend, RateLimiter, Request, VsockOverride};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::Mutex;

const API_SOCKET: &str = "api.sock";
const VSOCK_SOCKET: &str = "vsock.sock";
/// What a snapshot is written to before it gets its place.
const STATE: &str = "snapshot.state";
const MEMORY: &str = "snapshot.memory";

/// The guest's address on the virtio socket, where nobody else is.
const GUEST_CID: u32 = 3;

/// For what brings a machine up: Firecracker answers once it has read the kernel and the initramfs, or a template's state, which a
/// loaded host may make it wait for.
const START_DEADLINE: Duration = Duration::from_mins(1);
/// For writing a guest's memory: 64 GiB at 250 MB/s.
const SNAPSHOT_DEADLINE: Duration = Duration::from_mins(5);

/// What a disk may move in a second: as much as a fast disk of the host's, so that one guest does not have all of several.
const DISK_RATE: RateLimiter = RateLimiter::per_second(2 << 30, 200_000);
/// Random numbers that a guest may ask for: some for its kernel's pool, none for filling disks.
const ENTROPY_RATE: RateLimiter = RateLimiter::per_second(64 << 10, 1000);

/// Kernel parameters for every start: a quiet console that is there for diagnosis, and a guest that ends the VMM instead of
/// rebooting. The keyboard controller, of which Firecracker has what a restart takes, is not looked at more closely.
const KERNEL_PARAMETERS: &str = "console=ttyS0 quiet reboot=k panic=-1 8250.nr_uarts=1 random.trust_cpu=on \
     lsm=landlock i8042.noaux i8042.nomux i8042.dumbkbd";

/// A Firecracker program.
#[derive(Debug, Clone)]
pub struct Firecracker {
    program: Program,
}

impl Firecracker {
    /// An engine that starts `program`.
    pub fn new(program: Program) -> Self {
        Self { program }
    }

    async fn start(&self, spec: MachineSpec) -> Result<FirecrackerMachine, VmmError> {
        lay_out(&spec)?;
        let lock = spec.lock.as_ref().map(|lock| lock.try_clone()).transpose();
        let lock = lock.map_err(|error| VmmError::host("share a lock with the VMM", error))?;
        let (command, jail) = (self.command(&spec), self.jail(&spec));
        let process = KeptProcess::start(command, Some(jail), lock.into_iter().collect()).await?;
        let started = async {
            let mut api = Api::open(&spec.directory.join(API_SOCKET), &process).await?;
            match &spec.start {
                Start::Restore(snapshot) => api.call(self.load(snapshot)?, START_DEADLINE).await?,
                Start::Boot | Start::BootForSnapshot(_) => {
                    for request in boot(&spec)? {
                        api.call(request, START_DEADLINE).await?;
                    }
                }
            }
            Ok(api)
        };
        let api = match started.await {
            Ok(api) => api,
            Err(error @ VmmError::DiedEarly { .. }) => return Err(error),
            Err(error) => return Err(process.give_up(error).await),
        };
        let snapshot = match &spec.start {
            Start::BootForSnapshot(files) => Some(files.clone()),
            Start::Boot | Start::Restore(_) => None,
        };
        let restored = matches!(spec.start, Start::Restore(_));
        Ok(FirecrackerMachine {
            process,
            api: Mutex::new(api),
            directory: spec.directory,
            snapshot,
            restored,
        })
    }

    fn command(&self, spec: &MachineSpec) -> Command {
        let mut command = Command::new(self.program.path());
        pyro_runtime::child::attach(&mut command);
        command.args(["--id", &id(&spec.name), "--api-sock", API_SOCKET, "--level", "Warn"]);
        command.env_clear().current_dir(&spec.directory);
        command
    }

    fn load(&self, snapshot: &Snapshot) -> Result<Request, VmmError> {
        Ok(Request::put(
            "/snapshot/load",
            Body::LoadSnapshot(LoadSnapshot {
                snapshot_path: text(&snapshot.state)?,
                mem_backend: MemoryBackend { backend_path: text(&snapshot.ram)?, backend_type: "File" },
                resume_vm: true,
                // The path in the snapshot is relative, too; versions without the field rely on that.
                vsock_override: self
                    .program
                    .overrides_vsock()
                    .then_some(VsockOverride { uds_path: VSOCK_SOCKET }),
            }),
        ))
    }

    fn jail(&self, spec: &MachineSpec) -> Jail {
        let mut jail = Jail::of(spec, self.program.path().to_owned());
        jail.writable.push("/dev/kvm".into());
        jail.readable.push("/dev/urandom".into());
        let takes_snapshot = matches!(spec.start, Start::BootForSnapshot(_));
        jail.directory.may_create = if takes_snapshot { Creates::Files } else { Creates::Sockets };
        jail.sockets = Sockets::Unix;
        jail.tkill = true;
        if takes_snapshot {
            jail.max_file_bytes = jail.max_file_bytes.max(jail.resources.memory_bytes);
        }
        jail
    }
}

impl Engine for Firecracker {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            engine: "firecracker",
            execution_mode: ExecutionMode::GuestVsock,
            isolated: true,
            hardware_accelerated: true,
            snapshot: self.program.restores(),
        }
    }

    fn shape(&self) -> Sha256Digest {
        // To be counted up when `boot` changes in a way that does not show in the rest.
        const GENERATION: &str = "1";
        let program = self.program.identity().to_string();
        Sha256Digest::of([GENERATION, KERNEL_PARAMETERS, &program].join("\n").as_bytes())
    }

    fn launch(&self, spec: MachineSpec) -> BoxFuture<'_, Result<Box<dyn Machine>, VmmError>> {
        Box::pin(async move { Ok(Box::new(self.start(spec).await?) as Box<dyn Machine>) })
    }
}

/// Gives the disks their names in the machine's directory, and removes what a machine before left there.
fn lay_out(spec: &MachineSpec) -> Result<(), VmmError> {
    let remove = |name: &str| {
        let path = spec.directory.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FsError::on("remove", path)(error)),
            _ => Ok(path),
        }
    };
    for name in [API_SOCKET, VSOCK_SOCKET, STATE, MEMORY] {
        remove(name)?;
    }
    for disk in &spec.disks {
        let link = remove(disk.serial)?;
        symlink(&disk.path, &link).map_err(FsError::on("create", link))?;
    }
    Ok(())
}

/// What makes and starts a machine with its kernel.
fn boot(spec: &MachineSpec) -> Result<Vec<Request>, VmmError> {
    let machine =
        Body::MachineConfig { vcpu_count: spec.vcpus.get(), mem_size_mib: spec.memory.get(), smt: false };
    let source = Body::BootSource {
        kernel_image_path: text(&spec.kernel)?,
        initrd_path: text(&spec.initramfs)?,
        boot_args: kernel_command_line(&spec.disks),
    };
    let mut requests = vec![Request::put("/machine-config", machine), Request::put("/boot-source", source)];
    for disk in &spec.disks {
        let drive = drive(disk, &spec.start);
        requests.push(Request::put(format!("/drives/{}", drive.drive_id), Body::Drive(drive)));
    }
    requests.push(Request::put("/vsock", Body::Vsock { guest_cid: GUEST_CID, uds_path: VSOCK_SOCKET }));
    requests.push(Request::put("/entropy", Body::Entropy { rate_limiter: ENTROPY_RATE }));
    requests.push(Request::action("InstanceStart"));
    Ok(requests)
}

fn drive(disk: &Disk, start: &Start) -> Drive {
    // Clones of a snapshot honour flushes if it did, and some of them have to.
    let ignore_flushes = disk.volatile && matches!(start, Start::Boot);
    Drive {
        drive_id: disk.serial.replace('-', "_"),
        path_on_host: disk.serial,
        is_root_device: false,
        is_read_only: disk.read_only,
        cache_type: if ignore_flushes { "Unsafe" } else { "Writeback" },
        rate_limiter: (!disk.read_only).then_some(DISK_RATE),
    }
}

fn kernel_command_line(disks: &[Disk]) -> String {
    let serials: Vec<&str> = disks.iter().map(|disk| disk.serial).collect();
    let disks = parameter::DISKS;
    format!("{KERNEL_PARAMETERS} {} {disks}{}", parameter::VSOCK_CHANNEL, serials.join(","))
}

/// A name that Firecracker takes for an id: letters, digits and hyphens, 64 at most.
fn id(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(64).collect()
}

/// Firecracker's API takes paths as text.
fn text(path: &Path) -> Result<String, VmmError> {
    let problem = || {
        VmmError::host(
            format!("name {} to Firecracker", path.display()),
            io::Error::new(io::ErrorKind::InvalidInput, "the path is not UTF-8"),
        )
    };
    path.to_str().map(str::to_owned).ok_or_else(problem)
}

struct FirecrackerMachine {
    process: KeptProcess,
    api: Mutex<Api>,
    directory: PathBuf,
    snapshot: Option<Snapshot>,
    restored: bool,
}

impl FirecrackerMachine {
    async fn call(&self, request: Request, deadline: Duration) -> Result<(), VmmError> {
        self.api.lock().await.call(request, deadline).await
    }

    async fn take_snapshot(&self) -> Result<(), VmmError> {
        let not_for_it = || VmmError::host("take the memory", io::ErrorKind::Unsupported);
        let Snapshot { ram, state } = self.snapshot.clone().ok_or_else(not_for_it)?;
        self.call(Request::state("Paused"), api::DEADLINE).await?;
        let create =
            Body::CreateSnapshot { snapshot_type: "Full", snapshot_path: STATE, mem_file_path: MEMORY };
        self.call(Request::put("/snapshot/create", create), SNAPSHOT_DEADLINE).await?;
        let (written_state, written_ram) = (self.directory.join(STATE), self.directory.join(MEMORY));
        let moved = tokio::task::spawn_blocking(move || {
            fs::copy(&written_state, &state).map_err(FsError::on("copy", written_state))?;
            let memory = fs::File::open(&written_ram).map_err(FsError::on("open", &written_ram))?;
            sparse::write(&memory, &ram)?;
            fs::remove_file(&written_ram).map_err(FsError::on("remove", written_ram))
        });
        let moved =
            moved.await.map_err(|panicked| VmmError::host("write the memory", io::Error::other(panicked)));
        Ok(moved??)
    }
}

impl Machine for FirecrackerMachine {
    fn channel(&self) -> BoxFuture<'_, Result<UnixStream, VmmError>> {
        Box::pin(async {
            let socket = self.directory.join(VSOCK_SOCKET);
            if self.restored {
                vsock::once_restored(&socket).await
            } else {
                vsock::once_booted(&socket, self.process.tail()).await
            }
        })
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
        Box::pin(self.call(Request::state("Paused"), api::DEADLINE))
    }

    fn resume(&self) -> BoxFuture<'_, Result<(), VmmError>> {
        Box::pin(self.call(Request::state("Resumed"), api::DEADLINE))
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<(), VmmError>> {
        Box::pin(self.take_snapshot())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(serial: &'static str, read_only: bool) -> Disk {
        Disk { path: "/somewhere".into(), serial, read_only, volatile: !read_only }
    }

    #[test]
    fn the_guest_is_told_its_disks_in_their_order() {
        let line = kernel_command_line(&[disk("pyro-image", true), disk("pyro-scratch", false)]);
        assert!(line.ends_with(" pyro.channel=vsock pyro.disks=pyro-image,pyro-scratch"), "{line}");
    }

    #[test]
    fn a_disk_honours_flushes_wherever_a_clone_may_have_to() {
        let files = Snapshot { ram: "/ram".into(), state: "/state".into() };
        let scratch = disk("pyro-scratch", false);
        let kept = Disk { volatile: false, ..scratch.clone() };
        assert_eq!(drive(&scratch, &Start::Boot).cache_type, "Unsafe");
        assert_eq!(drive(&scratch, &Start::BootForSnapshot(files)).cache_type, "Writeback");
        assert_eq!(drive(&kept, &Start::Boot).cache_type, "Writeback");
        let image = drive(&disk("pyro-image", true), &Start::Boot);
        assert!(image.is_read_only && image.rate_limiter.is_none());
        assert_eq!((image.drive_id.as_str(), image.path_on_host), ("pyro_image", "pyro-image"));
    }

    #[test]
    fn requests_are_what_the_api_takes() {
        let json = |body: &Body| serde_json::to_string(body).unwrap();
        assert_eq!(
            json(&Body::MachineConfig { vcpu_count: 2, mem_size_mib: 512, smt: false }),
            r#"{"vcpu_count":2,"mem_size_mib":512,"smt":false}"#
        );
        assert_eq!(
            json(&Body::Drive(drive(&disk("pyro-image", true), &Start::Boot))),
            r#"{"drive_id":"pyro_image","path_on_host":"pyro-image","is_root_device":false,"is_read_only":true,"cache_type":"Writeback"}"#
        );
        let limited = json(&Body::Entropy { rate_limiter: ENTROPY_RATE });
        assert_eq!(
            limited,
            r#"{"rate_limiter":{"bandwidth":{"size":65536,"refill_time":1000},"ops":{"size":1000,"refill_time":1000}}}"#
        );
    }

    #[test]
    fn an_id_is_one_that_firecracker_takes() {
        assert_eq!(id("pyro-vm_1.2"), "pyro-vm-1-2");
        assert_eq!(id(&"a".repeat(100)).len(), 64);
    }
}
