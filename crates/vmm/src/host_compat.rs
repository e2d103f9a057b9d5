//! The agent as an ordinary process on the host: the same protocol, no isolation whatsoever. Only when asked for.

use crate::engine::{Capabilities, Engine, ExecutionMode, ExitReport, Machine, Once};
use crate::process::KeptProcess;
use crate::{MachineSpec, VmmError};
use futures::future::BoxFuture;
use pyro_runtime::Sha256Digest;
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::time::Duration;
use tokio::net::UnixStream;

/// How long the agent may take to kill what it started.
const END_GRACE: Duration = Duration::from_secs(5);

/// Runs commands on the host itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostCompat;

impl HostCompat {
    async fn start(spec: MachineSpec) -> Result<HostProcess, VmmError> {
        let (channel, agent_end) = std::os::unix::net::UnixStream::pair()
            .map_err(|error| VmmError::host("create a socket pair", error))?;
        channel.set_nonblocking(true).map_err(|error| VmmError::host("prepare the channel", error))?;
        let program = agent_program()?;
        let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
        command.arg("--channel-fd").arg(agent_end.as_raw_fd().to_string());
        pyro_runtime::child::attach(&mut command);
        command.arg("--workdir").arg(&spec.directory);
        command.current_dir(&spec.directory);
        // The program is closed by being executed, so that nothing the agent starts inherits it.
        let process = KeptProcess::start(command, None, vec![agent_end.into()]).await?;
        drop(program);
        let channel =
            UnixStream::from_std(channel).map_err(|error| VmmError::host("prepare the channel", error))?;
        Ok(HostProcess { process, channel: Once::new(channel) })
    }
}

/// The embedded agent as a file that exists in memory only.
fn agent_program() -> Result<OwnedFd, VmmError> {
    let failed = |error: std::io::Error| VmmError::host("unpack the agent into memory", error);
    let descriptor = memfd_create("pyro-agent", MemfdFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
    let mut file = File::from(descriptor);
    file.write_all(pyro_runtime::AGENT).map_err(failed)?;
    Ok(file.into())
}

impl Engine for HostCompat {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            engine: "host-compat",
            execution_mode: ExecutionMode::HostCompat,
            isolated: false,
            hardware_accelerated: false,
            snapshot: false,
        }
    }

    fn shape(&self) -> Sha256Digest {
        Sha256Digest::of(b"host-compat")
    }

    fn launch(&self, spec: MachineSpec) -> BoxFuture<'_, Result<Box<dyn Machine>, VmmError>> {
        Box::pin(async move { Ok(Box::new(Self::start(spec).await?) as Box<dyn Machine>) })
    }
}

struct HostProcess {
    process: KeptProcess,
    channel: Once<UnixStream>,
}

impl Machine for HostProcess {
    fn channel(&self) -> BoxFuture<'_, Result<UnixStream, VmmError>> {
        Box::pin(async { self.channel.take() })
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
        // The agent kills every process group that it started before it ends.
        self.process.end();
        Box::pin(self.process.wait_or_kill(END_GRACE))
    }

    fn pause(&self) -> BoxFuture<'_, Result<(), VmmError>> {
        Box::pin(async { Err(unsupported()) })
    }

    fn resume(&self) -> BoxFuture<'_, Result<(), VmmError>> {
        Box::pin(async { Err(unsupported()) })
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<(), VmmError>> {
        Box::pin(async { Err(unsupported()) })
    }
}

fn unsupported() -> VmmError {
    VmmError::Host {
        action: "pause a process of the host, or take its memory".to_owned(),
        source: std::io::ErrorKind::Unsupported.into(),
    }
}
