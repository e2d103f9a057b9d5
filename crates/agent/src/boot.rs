//! PID 1 of a virtual machine: from the kernel's hand-over to serving the host, for as long as the machine lives.
//!
//! PID 1 must never end, or the kernel panics: whatever goes wrong is printed on the console and restarts the machine,
//! which ends it, because the VMM does not let it start again.

use std::ffi::CStr;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use pyro_protocol::{CHANNEL_PORT_NAME, parameter};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode as FileMode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use rustix::process::{Resource, Rlimit, setrlimit, umask};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::system::finit_module;

use crate::agent::{Agent, Mode};
use crate::channel::Way;
use crate::power;
use crate::serve::{Ended, serve};

const MODULES_DIR: &str = "/modules";
/// The files in it that list modules, for every guest and for one with a virtio socket.
const ORDER: &str = "order";
const VSOCK_ORDER: &str = "order-vsock";
const PORTS_DIR: &str = "/sys/class/virtio-ports";

/// How long the channel's device may take to appear.
const PORT_DEADLINE: Duration = Duration::from_mins(1);
const PORT_POLL: Duration = Duration::from_millis(1);

/// Descriptors that commands may have open: what programs expect, and what those that ask may raise it to.
const OPEN_FILES: Rlimit = Rlimit { current: Some(1024), maximum: Some(1024 * 1024) };

/// Runs the machine until its end.
pub fn run() -> ! {
    std::panic::set_hook(Box::new(|panic| {
        say(&panic.to_string());
        power::restart_now()
    }));
    if let Err(error) = boot() {
        say(&format!("{error:#}"));
    }
    power::restart_now()
}

/// Prints one line on the console.
fn say(line: &str) {
    // Without a console there is nobody to tell.
    let _ = writeln!(io::stderr(), "pyro-agent: {line}");
}

#[derive(Debug, thiserror::Error)]
enum BootError {
    #[error("cannot mount {what}: {error}")]
    Mount { what: &'static str, error: Errno },
    #[error("cannot open the console: {0}")]
    Console(io::Error),
    #[error("no virtio-serial port is named {CHANNEL_PORT_NAME}")]
    NoPort,
    #[error("cannot use the channel: {0}")]
    Channel(io::Error),
    #[error("cannot start the runtime: {0}")]
    Runtime(io::Error),
}

fn boot() -> Result<(), BootError> {
    umask(FileMode::from_raw_mode(0o022));
    mount_kernel_file_systems()?;
    open_console().map_err(BootError::Console)?;
    load_modules(ORDER);
    // Where the kernel's ceiling is lower, commands keep what they have.
    let _ = setrlimit(Resource::Nofile, OPEN_FILES);
    let way = open_way()?;
    let runtime = crate::runtime().map_err(BootError::Runtime)?;
    let agent = Rc::new(Agent::new(Mode::Init));
    let grace = runtime.block_on(serve_hosts(&agent, way)).map_err(BootError::Channel)?;
    runtime.block_on(power::end_processes(&agent, grace));
    power::restart(&agent)
}

/// Serves one host end after the other, until one asks for power-off; returns the grace it leaves.
async fn serve_hosts(agent: &Rc<Agent>, way: Way) -> io::Result<Duration> {
    crate::start_reaper(agent)?;
    loop {
        // Whoever takes a template's memory waits for this line: the host end before is gone for good.
        say(pyro_protocol::WAITING_LINE);
        let channel = way.accept().await?;
        // A host end that breaks, in whatever way, is gone; the next one may do better.
        if let Ok(Ended::PowerOff { grace }) = serve(agent, channel).await {
            return Ok(grace);
        }
    }
}

fn mount_kernel_file_systems() -> Result<(), BootError> {
    let pseudo = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let device = MountFlags::NOSUID | MountFlags::NOEXEC;
    let mounts: [(&str, &'static str, MountFlags, Option<&CStr>); 3] = [
        ("/dev", "devtmpfs", device, Some(c"mode=0755")),
        ("/proc", "proc", pseudo, None),
        ("/sys", "sysfs", pseudo, None),
    ];
    for (target, what, flags, options) in mounts {
        let _ = fs::create_dir(target);
        match mount(what, target, what, flags, options) {
            // The kernel may have mounted it before us.
            Ok(()) | Err(Errno::BUSY) => {}
            Err(error) => return Err(BootError::Mount { what, error }),
        }
    }
    Ok(())
}

/// The kernel opens the console for PID 1 only when the initramfs holds a node for it.
fn open_console() -> io::Result<()> {
    let console = OpenOptions::new()
        .write(true)
        .custom_flags(OFlags::NOCTTY.bits().cast_signed())
        .open("/dev/console")?;
    let nothing = OpenOptions::new().read(true).open("/dev/null")?;
    dup2_stdin(&nothing)?;
    dup2_stdout(&console)?;
    dup2_stderr(&console)?;
    Ok(())
}

/// Loads the modules that the file `order` lists. One that fails is reported and left out: it may not be needed here.
fn load_modules(order: &str) {
    let directory = Path::new(MODULES_DIR);
    let order = fs::read_to_string(directory.join(order)).unwrap_or_default();
    for name in order.split_ascii_whitespace() {
        let loaded =
            fs::File::open(directory.join(name)).and_then(|module| Ok(finit_module(&module, c"", 0)?));
        match loaded {
            Ok(()) => {}
            Err(error) if Errno::from_io_error(&error) == Some(Errno::EXIST) => {}
            Err(error) => say(&format!("cannot load {name}: {error}")),
        }
    }
}

/// Opens the way for host ends that this machine has.
fn open_way() -> Result<Way, BootError> {
    if !host_says(parameter::VSOCK_CHANNEL) {
        return Ok(Way::port(open_port()?));
    }
    load_modules(VSOCK_ORDER);
    Way::listen().map_err(BootError::Channel)
}

fn host_says(parameter: &str) -> bool {
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    command_line.split_ascii_whitespace().any(|word| word == parameter)
}

fn open_port() -> Result<OwnedFd, BootError> {
    let started = Instant::now();
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    loop {
        if let Some(device) = port_device() {
            match rustix::fs::open(&device, flags, FileMode::empty()) {
                Ok(port) => return Ok(port),
                Err(Errno::NOENT) => {}
                Err(error) => return Err(BootError::Channel(error.into())),
            }
        }
        if started.elapsed() > PORT_DEADLINE {
            return Err(BootError::NoPort);
        }
        sleep(PORT_POLL);
    }
}

fn port_device() -> Option<PathBuf> {
    let ports = fs::read_dir(PORTS_DIR).ok()?.flatten();
    let ours = |port: &fs::DirEntry| {
        fs::read_to_string(port.path().join("name")).is_ok_and(|name| name.trim_end() == CHANNEL_PORT_NAME)
    };
    let port = ports.into_iter().find(ours)?;
    Some(Path::new("/dev").join(port.file_name()))
}
