//! Firecracker driven by hand, beside pyro that drives it: what there is to gain by doing without pyro.
//!
//! By hand are a cold boot, from a configuration file to the agent's line on the console, and a bare load of pyro's own template,
//! from the program's start to a connection with the agent in the guest. Nothing is confined, named or cleaned up in either.
//! Needs KVM, and a program that `PYRO_FIRECRACKER_BIN` names.

use super::ENVIRONMENT;
use super::machine;
use super::memory::pss_mib;
use super::run::Runs;
use super::series::{Collected, Series};
use anyhow::{Context, Result, bail};
use pyro::vm::{DEFAULT_MEM_MIB, DEFAULT_VCPU_COUNT};
use pyro::{EnvVars, Pyro, StartKind};
use pyro_protocol::parameter::VSOCK_CHANNEL;
use pyro_protocol::{CHANNEL_VSOCK_PORT, WAITING_LINE, parameter, serial};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const API: &str = "api.sock";
const VSOCK: &str = "vsock.sock";
/// The disks of a machine in their order, as pyro names them in a machine's directory.
const DISKS: [&str; 4] = [serial::IMAGE, serial::MODULES, serial::SEED, serial::SCRATCH];
/// What pyro tells the kernel on Firecracker.
const COMMAND_LINE: &str = "console=ttyS0 quiet reboot=k panic=-1 8250.nr_uarts=1 random.trust_cpu=on lsm=landlock \
     i8042.noaux i8042.nomux i8042.dumbkbd";
const DEADLINE: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(1);

/// Measures `runs` rounds: by hand and by pyro, cold and warm, one of each in every round.
pub async fn measure(binary: &Path, pyro: &Pyro, runs: usize) -> Result<Vec<Series>> {
    let Some(program) = std::env::var_os(EnvVars::PYRO_FIRECRACKER_BIN).map(PathBuf::from) else {
        bail!("{} names no program to drive by hand", EnvVars::PYRO_FIRECRACKER_BIN);
    };
    let parts = Parts::of(pyro, program).await?;
    let mut by_hand = Collected::new("by hand");
    let mut cold = Runs::new("run cold", StartKind::Cold);
    let mut warm = Runs::new("run warm", StartKind::Warm);
    let mut started = Collected::new("pyro");
    for _ in 0..runs {
        let boot = parts.boot()?;
        by_hand.time("boot", boot.time);
        by_hand.size("boot, VMM", pss_mib(boot.process.0.id())?);
        drop(boot);
        cold.measure(binary)?;
        let load = parts.load()?;
        by_hand.time("load", load.time);
        by_hand.size("load, VMM", pss_mib(load.process.0.id())?);
        drop(load);
        let begun = Instant::now();
        let machine = machine::create(pyro).await?;
        started.time("warm start", begun.elapsed());
        started.size("warm start, VMM", pss_mib(machine.vmm_pid())?);
        machine.delete().await;
        started.time("floor", machine::floor(pyro).await?);
        warm.measure(binary)?;
    }
    let by_hand = by_hand.into_series(&Series::times(""));
    let named = |name: &str| by_hand.iter().find(|series| series.name == name).cloned();
    let (boot, load) =
        (named("by hand boot").context("it was measured")?, named("by hand load").context("so was this")?);
    cold.wall.compare("boot by hand", &boot);
    warm.wall.compare("load by hand", &load);
    let mut started = started.into_series(&Series::times(""));
    for series in started.iter_mut().filter(|series| series.is_of_times()) {
        series.compare("load by hand", &load);
    }
    let mut measured = by_hand;
    measured.extend(started);
    measured.extend(cold.into_series());
    measured.extend(warm.into_series());
    Ok(measured)
}

/// What a machine is made of.
struct Parts {
    program: PathBuf,
    kernel: PathBuf,
    initramfs: PathBuf,
    /// What boots: in the order of [`DISKS`].
    disks: [PathBuf; 4],
    template: Template,
}

/// Of a guest with a joined root, as pyro's new machines have it.
struct Template {
    state: PathBuf,
    ram: PathBuf,
    disk: PathBuf,
}

/// A machine, and how long it took to come up.
struct Machine {
    process: Kept,
    time: Duration,
    _directory: TempDir,
}

/// A process that ends with its owner.
struct Kept(Child);

impl Drop for Kept {
    fn drop(&mut self) {
        // Gone already is as good.
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

impl Parts {
    async fn of(pyro: &Pyro, program: PathBuf) -> Result<Self> {
        let bundle = pyro.bundle().await?;
        let environment = pyro.inspect_environment(ENVIRONMENT).await?;
        let image = environment.path.context("the environment is installed")?;
        let templates = pyro.dirs().cache().join("templates");
        let name = format!("{}-{DEFAULT_VCPU_COUNT}x{DEFAULT_MEM_MIB}", ENVIRONMENT.replace(':', "-"));
        let manifest = fs::read(templates.join(name).with_extension("json")).context("no template")?;
        let manifest: Value = serde_json::from_slice(&manifest)?;
        let file = |kind: &str| -> Result<PathBuf> {
            let name = manifest["files"][kind]["name"].as_str().context("a template of another form")?;
            Ok(templates.join(name))
        };
        Ok(Self {
            program,
            kernel: bundle.kernel_elf(),
            initramfs: bundle.initramfs()?,
            disks: [image, bundle.modules_image(), bundle.no_seed()?, bundle.scratch_template()?],
            template: Template { state: file("state")?, ram: file("ram")?, disk: file("disk")? },
        })
    }

    /// The directory of a machine, with its disks in it: a copy of `scratch` is the writable one.
    fn directory(&self, scratch: &Path) -> Result<TempDir> {
        let directory = tempfile::tempdir()?;
        let [shared @ .., _] = &self.disks;
        let [names @ .., scratch_name] = DISKS;
        for (name, disk) in names.into_iter().zip(shared) {
            symlink(disk, directory.path().join(name))?;
        }
        let mut copy = Command::new("cp");
        copy.arg("--sparse=always").arg(scratch).arg(directory.path().join(scratch_name));
        if !copy.status()?.success() {
            bail!("cannot copy {}", scratch.display());
        }
        Ok(directory)
    }

    /// From a configuration file to the agent's line on the console.
    fn boot(&self) -> Result<Machine> {
        let directory = self.directory(&self.disks[3])?;
        let drives: Vec<Value> = DISKS
            .iter()
            .map(|name| {
                json!({
                    "drive_id": name.replace('-', "_"), "path_on_host": name, "is_root_device": false,
                    "is_read_only": *name != DISKS[3],
                })
            })
            .collect();
        let configuration = json!({
            "boot-source": {
                "kernel_image_path": self.kernel, "initrd_path": self.initramfs,
                "boot_args": format!("{COMMAND_LINE} {VSOCK_CHANNEL} {}{}", parameter::DISKS, DISKS.join(",")),
            },
            "drives": drives,
            "machine-config": { "vcpu_count": DEFAULT_VCPU_COUNT, "mem_size_mib": DEFAULT_MEM_MIB },
            "vsock": { "guest_cid": 3, "uds_path": VSOCK },
        });
        fs::write(directory.path().join("machine.json"), configuration.to_string())?;
        let mut command = self.command(&directory, &["--no-api", "--config-file", "machine.json"]);
        let begun = Instant::now();
        let mut process = Kept(command.stdout(Stdio::piped()).spawn()?);
        let console = process.0.stdout.take().context("its output is piped")?;
        let found =
            BufReader::new(console).lines().map_while(Result::ok).any(|line| line.contains(WAITING_LINE));
        let time = begun.elapsed();
        if !found {
            bail!("Firecracker ended without a word of the agent's");
        }
        Ok(Machine { process, time, _directory: directory })
    }

    /// From the program's start to a connection with the agent of a machine that goes on where pyro's template is.
    fn load(&self) -> Result<Machine> {
        let directory = self.directory(&self.template.disk)?;
        let begun = Instant::now();
        let process = Kept(self.command(&directory, &["--api-sock", API]).spawn()?);
        let mut api = connect(&directory.path().join(API))?;
        let load = json!({
            "snapshot_path": self.template.state,
            "mem_backend": { "backend_path": self.template.ram, "backend_type": "File" },
            "resume_vm": true,
        });
        put(&mut api, "/snapshot/load", &load)?;
        let mut agent = connect(&directory.path().join(VSOCK))?;
        // In one piece: of a part of it Firecracker makes no port, and hangs up.
        agent.write_all(format!("CONNECT {CHANNEL_VSOCK_PORT}\n").as_bytes())?;
        let mut answer = [0; 3];
        agent.read_exact(&mut answer)?;
        let time = begun.elapsed();
        if &answer != b"OK " {
            bail!("nobody in the guest answers");
        }
        Ok(Machine { process, time, _directory: directory })
    }

    fn command(&self, directory: &TempDir, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(directory).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

/// Connects as soon as somebody listens.
fn connect(socket: &Path) -> Result<UnixStream> {
    let begun = Instant::now();
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => {
                stream.set_read_timeout(Some(DEADLINE))?;
                return Ok(stream);
            }
            Err(error) if begun.elapsed() > DEADLINE => return Err(error.into()),
            Err(_) => sleep(POLL),
        }
    }
}

fn put(api: &mut UnixStream, path: &str, body: &Value) -> Result<()> {
    let body = body.to_string();
    let length = body.len();
    let head = format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
    api.write_all((head + &body).as_bytes())?;
    let mut status = String::new();
    BufReader::new(api).read_line(&mut status)?;
    if !status.starts_with("HTTP/1.1 204") {
        bail!("{path}: {status}");
    }
    Ok(())
}
