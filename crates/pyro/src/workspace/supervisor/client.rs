//! Starting a supervisor, and talking to one.

use super::messages::{receive, send};
use super::{Confirm, Confirmed, Control, ControlAnswer, Order, Publication, PublishAnswer, Report};
use crate::engine::blocking;
use crate::network::NetworkState;
use crate::store::Started;
use crate::workspace::{PublishPort, PublishedPort, WorkspaceDirectory, WorkspaceError, WorkspaceId};
use crate::{Pyro, PyroError};
use pyro_protocol::error::ErrorKind;
use pyro_runtime::child::{Priority, spawn_detached};
use pyro_runtime::fs::FsError;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::de::DeserializeOwned;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long a supervisor that was told to end may take.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// How long an orderly end of a guest may take: the supervisor itself gives it less.
const STOP_PATIENCE: Duration = Duration::from_mins(2);
/// How long a stop may go on whose caller has gone.
const SETTLE_PATIENCE: Duration = Duration::from_secs(70);
/// How long a supervisor that does not listen may take to be gone.
const GONE_PATIENCE: Duration = Duration::from_secs(2);
/// How long a guest may take to say that it is there.
const PING_PATIENCE: Duration = Duration::from_secs(2);
/// How long a supervisor may take to bind ports, and to look at the service that they are for.
const PUBLISH_PATIENCE: Duration = Duration::from_secs(30);
/// What a supervisor does besides booting its guest.
const START_MARGIN: Duration = Duration::from_mins(2);

/// A supervisor whose guest is not ready yet. Dropping it ends both.
pub(crate) struct Starting {
    socket: BufReader<UnixStream>,
    patience: Duration,
}

impl Starting {
    /// Starts the supervisor of a workspace. `boot` is how long its guest may take to boot.
    pub(crate) async fn spawn(
        pyro: &Pyro,
        id: &WorkspaceId,
        directory: &WorkspaceDirectory,
        boot: Duration,
    ) -> Result<Self, PyroError> {
        let program = pyro.settings.program.clone().ok_or(WorkspaceError::NoProgram)?;
        let failed = |source| WorkspaceError::Supervisor { action: "started", source };
        let (ours, theirs) = StdStream::pair().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let log = directory.log();
        let log = File::create(&log).map_err(FsError::on("create", &log))?;
        let mut command = Command::new(program);
        command
            .args(["supervise", id.as_str()])
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(log);
        spawn_detached(command, Priority::Normal).map_err(failed)?;
        let socket = BufReader::new(UnixStream::from_std(ours).map_err(failed)?);
        // It may boot twice, when its template fails.
        let mut starting = Self { socket, patience: boot * 2 + START_MARGIN };
        let settings = &pyro.settings;
        let (dirs, firecracker) = (settings.dirs.clone(), settings.firecracker.clone());
        let (templates, engine) = (settings.templates, settings.engine);
        let order = Order { dirs, templates, engine, firecracker, workspace_id: id.clone() };
        send(&mut starting.socket, &order).await.map_err(failed)?;
        Ok(starting)
    }

    /// Waits until the guest is up.
    pub(crate) async fn ready(mut self) -> Result<Started, PyroError> {
        let received = timeout(self.patience, receive(&mut self.socket)).await;
        let report = received.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        match report.map_err(|source| WorkspaceError::Supervisor { action: "heard", source })? {
            Report::Ready(started) => Ok(started),
            Report::Failed { code, message, hint, log } => {
                let kind = ErrorKind::from_code(&code).unwrap_or(ErrorKind::Host);
                Err(WorkspaceError::StartFailed { kind, message, hint, log }.into())
            }
        }
    }
}

/// Whether the guest answers. `None` when the supervisor does not.
pub(crate) async fn is_responsive(directory: &WorkspaceDirectory) -> Option<bool> {
    // The supervisor needs a moment beyond the guest's.
    let asked = control::<ControlAnswer>(directory, Control::Ping, PING_PATIENCE * 2).await;
    asked.ok().map(|answer| answer.orderly)
}

/// Waits until the supervisor has done with a stop that it was asked for before, or has ended. One that is stuck is not waited for
/// longer than a guest may take to stop.
pub(crate) async fn settled(directory: &WorkspaceDirectory) -> Result<(), PyroError> {
    if control::<ControlAnswer>(directory, Control::Ping, SETTLE_PATIENCE).await.is_err() {
        // It does not listen any more once it ends.
        let directory = directory.clone();
        blocking(move || Ok(directory.is_unused_within(GONE_PATIENCE)?)).await?;
    }
    Ok(())
}

/// The guest's network; what it did so far is in the store when this returns. `None` where the guest has none, or the supervisor
/// does not answer.
pub(crate) async fn network(directory: &WorkspaceDirectory) -> Option<NetworkState> {
    control(directory, Control::Network, PING_PATIENCE).await.ok().flatten()
}

/// Ends the guest in an orderly way, or, where it does not end, at once. Tells which.
pub(crate) async fn stop(directory: &WorkspaceDirectory) -> Result<bool, PyroError> {
    let stopped = control::<ControlAnswer>(directory, Control::Stop, STOP_PATIENCE).await;
    let answer = stopped.map_err(|source| WorkspaceError::Supervisor { action: "talked to", source })?;
    Ok(answer.orderly)
}

/// Ends the supervisor, if there is one, and its guest; returns when both are gone.
pub(crate) async fn end(directory: &WorkspaceDirectory) -> Result<(), PyroError> {
    let supervisor = supervisor_of(directory);
    if supervisor.is_some() {
        // One that does not listen is killed.
        let _ended = control::<ControlAnswer>(directory, Control::End, END_PATIENCE).await;
    }
    let directory = directory.clone();
    blocking(move || {
        if directory.is_unused_within(END_PATIENCE)? {
            return Ok(());
        }
        if supervisor.is_some() {
            // The next one, of somebody who did not wait for this, is not ours to kill.
            if supervisor_of(&directory) == supervisor {
                kill(&directory).map_err(|source| WorkspaceError::Supervisor { action: "killed", source })?;
            }
            if directory.is_unused_within(END_PATIENCE)? {
                return Ok(());
            }
        }
        Err(WorkspaceError::Lingering { path: directory.path().to_owned() }.into())
    })
    .await
}

/// The process id of the supervisor that there is, as it wrote it.
fn supervisor_of(directory: &WorkspaceDirectory) -> Option<String> {
    directory.is_supervised().then(|| fs::read_to_string(directory.alive_file()).unwrap_or_default())
}

/// Kills the supervisor, and waits for nothing. Its id is its own as long as it holds its lock.
pub(crate) fn kill(directory: &WorkspaceDirectory) -> io::Result<()> {
    let pid = fs::read_to_string(directory.alive_file())?;
    let pid = pid.trim().parse().ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        // Its VMM is ending with it.
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        opened => opened?,
    };
    // Its id may be another process's by now.
    let command = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero()))?;
    let id = directory.path().file_name().unwrap_or_default().as_encoded_bytes();
    if command.split(|byte| *byte == 0).any(|word| word == id) {
        pidfd_send_signal(&process, Signal::KILL)?;
    }
    Ok(())
}

/// Ports that are bound for a service which has not been started. Dropping it gives them up.
pub(crate) struct Publishing {
    socket: BufReader<UnixStream>,
    /// Where they are.
    pub(crate) ports: Vec<PublishedPort>,
}

/// Binds ports for a service that is about to be started, all or none. What is in the way is the inner error.
pub(crate) async fn publish(
    directory: &WorkspaceDirectory,
    service: &str,
    ports: &[PublishPort],
) -> io::Result<Result<Publishing, PublishAnswer>> {
    let order = Control::Publish { service: service.to_owned(), ports: ports.to_owned() };
    let asking = timeout(PUBLISH_PATIENCE, async {
        let mut socket = BufReader::new(connect(&directory.control_socket()).await?);
        send(&mut socket, &order).await?;
        let answer = receive(&mut socket).await?;
        Ok::<_, io::Error>((socket, answer))
    });
    match asking.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))? {
        (socket, PublishAnswer::Bound { ports }) => Ok(Ok(Publishing { socket, ports })),
        (_, refusal) => Ok(Err(refusal)),
    }
}

impl Publishing {
    /// Says that the service was started as the process `pid`. Returns false where it has ended already.
    pub(crate) async fn confirm(mut self, pid: u32) -> io::Result<bool> {
        let confirming = timeout(PUBLISH_PATIENCE, async {
            send(&mut self.socket, &Confirm { pid }).await?;
            receive::<Confirmed>(&mut self.socket).await
        });
        let confirmed = confirming.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        confirmed.map(|confirmed| confirmed.published)
    }
}

/// What is published. `None` when the supervisor does not answer.
pub(crate) async fn published(directory: &WorkspaceDirectory) -> Option<Vec<Publication>> {
    control(directory, Control::Published, PING_PATIENCE).await.ok()
}

/// Waits until nothing of a service that has ended is published any more.
pub(crate) async fn unpublished(directory: &WorkspaceDirectory, service: &str) {
    let asked = Control::Unpublished { service: service.to_owned() };
    // Where there is no supervisor, there is nothing of the kind.
    let _gone = control::<ControlAnswer>(directory, asked, PUBLISH_PATIENCE).await;
}

async fn control<T: DeserializeOwned>(
    directory: &WorkspaceDirectory,
    control: Control,
    patience: Duration,
) -> io::Result<T> {
    let answered = timeout(patience, async {
        let mut socket = BufReader::new(connect(&directory.control_socket()).await?);
        send(&mut socket, &control).await?;
        receive(&mut socket).await
    });
    answered.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Connects to `socket`, however long its path is.
async fn connect(socket: &Path) -> io::Result<UnixStream> {
    let directory = File::open(socket.parent().unwrap_or(Path::new("/")))?;
    let name = socket.file_name().unwrap_or_default();
    UnixStream::connect(PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name)).await
}
