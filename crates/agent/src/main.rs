//! The guest side of pyro.
//!
//! As PID 1 it boots a virtual machine from an initramfs and serves the host over a virtio-serial port ([`boot`]). With
//! `--channel-fd N --workdir DIR` it is an ordinary process that serves the same protocol over an inherited socket
//! ([`process`]); secrets it takes only with `--secrets DIR` besides. Everything runs on one thread, as tasks of a local runtime; only transfers have threads of their own.

mod agent;
mod archive;
mod boot;
mod call;
mod channel;
mod configure;
mod connect;
mod dial;
mod diff;
mod exec;
mod fail;
mod files;
mod freeze;
mod netlink;
mod power;
mod process;
mod reaper;
mod secrets;
mod serve;
mod services;
mod shells;
mod tail;
mod transfer;
mod tunnel;
mod vsock;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::signal::unix::{SignalKind, signal};

use agent::{Agent, MAX_TRANSFERS, Mode};

/// How long the thread of a transfer is kept for the next one.
const IDLE_THREAD: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["--channel-fd", fd, "--workdir", workdir, secrets @ ..]
            if matches!(secrets, [] | ["--secrets", _]) =>
        {
            let secrets = secrets.get(1).map(PathBuf::from);
            match fd.parse() {
                Ok(fd) => process::run(fd, Mode::Process { workdir: PathBuf::from(workdir), secrets }),
                Err(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "the channel is not a number")),
            }
        }
        // The kernel hands on words of its command line that it does not know itself.
        _ if rustix::process::getpid().is_init() => boot::run(),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "usage: pyro-agent --channel-fd N --workdir DIR [--secrets DIR]",
        )),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "pyro-agent: {error}");
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MAX_TRANSFERS)
        .thread_keep_alive(IDLE_THREAD)
        .build_local(LocalOptions::default())
}

/// Starts waiting for child processes, before any is started.
fn start_reaper(agent: &Rc<Agent>) -> io::Result<()> {
    let child_ended = signal(SignalKind::child())?;
    let agent = Rc::clone(agent);
    tokio::task::spawn_local(async move { agent.reaper.run(child_ended).await });
    Ok(())
}
