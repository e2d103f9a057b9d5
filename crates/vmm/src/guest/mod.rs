//! The host's end of the channel: calls into the agent of one machine.
//!
//! Every call is one stream and carries its own deadline. The process that owns the machine has the connection to the guest
//! ([`Guest::boot`]) and opens a yamux stream on it for each call. Other processes connect to that one's socket
//! ([`Guest::at`]), once for each call, and it carries the bytes over ([`Guest::relay`]).
//!
//! What comes back is hostile: frames are bounded by the codec, texts are cut, paths are checked, nothing is longer than what
//! was asked for, and a reply that a call does not allow ends it as [`VmmError::Misbehaved`].

mod call;
mod connect;
mod dial;
mod diff;
mod exec;
mod files;
mod freeze;
mod relay;
mod secrets;
mod services;
mod shells;
mod stream;
mod transfer;
mod tunnel;
mod untrusted;

pub use connect::MAX_OPEN_CALLS;
pub use dial::{DialReceiver, DialSender};
pub use diff::{Change, ChangeKind, DiffCall, DiffLimits, Side};
pub use exec::{ExecCall, ExecEvent, ExecInput, ExecRequest, ExitStatus, OutputStream};
pub use files::{FileChange, FileContent, FileEntry, FileStamp};
pub use freeze::Frozen;
pub use secrets::SecretVariable;
pub use services::{
    AwaitedService, Readiness, ServiceOutput, ServiceRequest, ServiceState, ServiceStatus, StartingService,
};
pub use shells::{ShellOutput, ShellRequest, ShellState, ShellWait, TerminalSize};
pub use transfer::{ArchiveOwner, PackCall, Transferred, UnpackCall};
pub use tunnel::{TunnelInput, TunnelOutput, TunnelRequest, TunnelSubnet};
pub use untrusted::FileKind;

use crate::{Machine, VmmError};
use call::Call;
use pyro_protocol::v1::{self, reply::Reply, request};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use stream::StreamOpener;
use tokio::net::UnixStream;

/// Deadline of calls that only ask.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// Deadline of calls that touch disks: putting the root together, flushing it.
const DISK_DEADLINE: Duration = Duration::from_mins(1);

/// How far a guest's clock may be behind the host's after it was set.
const CLOCK_TOLERANCE: Duration = Duration::from_millis(10);
/// On a loaded host an answer may always take longer than that.
const CLOCK_TRIES: usize = 3;

/// What a guest says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestFacts {
    /// Semantic version of the agent.
    pub agent_version: String,
    /// `uname -r`.
    pub kernel_release: String,
    /// Time since the guest's kernel started.
    pub uptime: Duration,
}

/// Who a guest is, given before anything of the user's runs in it.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Host name: letters, digits and hyphens.
    pub hostname: String,
    /// The guest has disks to make its root of; an agent on the host has none.
    pub with_root: bool,
    /// Its workspace begins with the tree on the disk [`pyro_protocol::serial::SEED`].
    pub seeded: bool,
}

/// A connected agent. Cloning shares the connection.
#[derive(Debug, Clone)]
pub struct Guest {
    streams: StreamOpener,
}

impl Guest {
    /// Finds the agent at the other end of `channel`: returns when it answers, or fails with
    /// [`VmmError::CallTimeout`] after `deadline`, or [`VmmError::ChannelClosed`] when the VMM ends before.
    pub async fn connect(channel: UnixStream, deadline: Duration) -> Result<Self, VmmError> {
        let streams = within("connect", deadline, connect::establish(channel)).await?;
        Ok(Self { streams })
    }

    /// The guest whose connection another process owns and offers on `socket`, a path of any length. Nothing is tried yet: calls
    /// fail with [`VmmError::ChannelClosed`] when nobody is there.
    pub fn at(socket: PathBuf) -> Self {
        Self { streams: StreamOpener::socket(socket) }
    }

    /// Carries one call of `client`'s to the guest and back, until the guest has ended it or the client is gone, which cancels
    /// it. Fails when the guest cannot be reached.
    pub async fn relay(&self, client: UnixStream) -> Result<(), VmmError> {
        let stream = within("relay", ANSWER_DEADLINE, self.streams.open("relay")).await?;
        relay::relay(&client, stream).await;
        Ok(())
    }

    /// Waits for the agent of a machine that was just launched. When none answers, the error carries the console.
    pub async fn boot(machine: &dyn Machine, deadline: Duration) -> Result<Self, VmmError> {
        let connecting = async { connect::establish(machine.channel().await?).await };
        tokio::select! {
            connected = within("connect", deadline, connecting) => match connected {
                Ok(streams) => Ok(Self { streams }),
                Err(VmmError::CallTimeout { waited, .. }) => {
                    Err(VmmError::BootTimeout { waited, console: machine.console_tail() })
                }
                Err(VmmError::ChannelClosed { .. }) => {
                    let status = machine.kill().await.status;
                    Err(VmmError::DiedEarly { status, console: machine.console_tail() })
                }
                Err(other) => Err(other),
            },
            exit = machine.wait() => {
                Err(VmmError::DiedEarly { status: exit.status, console: machine.console_tail() })
            }
        }
    }

    /// Asks the agent who it is; fails when it does not answer within 10 s.
    pub async fn ping(&self) -> Result<GuestFacts, VmmError> {
        let token = random_token()?;
        match self.ask("ping", ANSWER_DEADLINE, request::Call::Ping(v1::Ping { token })).await? {
            Reply::Pong(pong) if pong.token == token => Ok(GuestFacts {
                agent_version: bounded(&pong.agent_version),
                kernel_release: bounded(&pong.kernel_release),
                uptime: Duration::from_nanos(pong.uptime_ns),
            }),
            _ => Err(VmmError::Misbehaved { call: "ping", what: "it answered something else" }),
        }
    }

    /// Gives the guest entropy, the time, a machine-id, `identity`, and puts its root together. Legal once.
    pub async fn configure(&self, identity: Identity) -> Result<(), VmmError> {
        let mut entropy = [0; 64];
        getrandom::fill(&mut entropy).map_err(|error| VmmError::host("read random bytes", error))?;
        let configure = v1::Configure {
            entropy: entropy.to_vec().into(),
            unix_time_ns: unix_time_ns(),
            hostname: identity.hostname,
            machine_id: format!("{:016x}{:016x}", random_token()?, random_token()?),
            root: identity.with_root.then(root),
            seed_serial: if identity.seeded { pyro_protocol::serial::SEED } else { "" }.to_owned(),
        };
        match self.ask("configure", DISK_DEADLINE, request::Call::Configure(configure)).await? {
            Reply::Configured(_) => Ok(()),
            _ => Err(VmmError::Misbehaved { call: "configure", what: "it answered something else" }),
        }
    }

    /// Has a guest that is to become a template put its root together, for commands to be rehearsed in it. Legal once,
    /// before anything else but a ping.
    pub async fn stage(&self) -> Result<(), VmmError> {
        self.ask_done("stage", DISK_DEADLINE, request::Call::Stage(v1::Stage { root: Some(root()) })).await
    }

    /// Ends the rehearsal: afterwards the guest's memory may be taken. Where its root is kept, what is restored from that
    /// needs a copy of the writable disk as it is then; else the disk is unmounted, and any will do.
    pub async fn seal(&self, keep_root: bool) -> Result<(), VmmError> {
        self.ask_done("seal", DISK_DEADLINE, request::Call::Seal(v1::Seal { keep_root })).await
    }

    /// Sets the guest's clock to the host's. Legal once configured. How long the request was underway is not known, so it
    /// is repeated until it was answered fast.
    pub async fn set_clock(&self) -> Result<(), VmmError> {
        for _ in 0..CLOCK_TRIES {
            let begun = Instant::now();
            let set = v1::SetClock { unix_time_ns: unix_time_ns() };
            self.ask_done("set_clock", ANSWER_DEADLINE, request::Call::SetClock(set)).await?;
            if begun.elapsed() < CLOCK_TOLERANCE {
                break;
            }
        }
        Ok(())
    }

    /// Starts a command. Its events are read from what is returned; dropping that kills the command.
    pub async fn exec(&self, request: ExecRequest) -> Result<ExecCall, VmmError> {
        ExecCall::start(&self.streams, request).await
    }

    /// Streams a directory or file of the guest's out as a tar.
    pub async fn pack(&self, path: &[u8]) -> Result<PackCall, VmmError> {
        PackCall::start(&self.streams, b"", path).await
    }

    /// The same, of what is at `path` beneath `root`, without following a link on the way.
    pub async fn pack_beneath(&self, root: &[u8], path: &[u8]) -> Result<PackCall, VmmError> {
        PackCall::start(&self.streams, root, path).await
    }

    /// Unpacks a tar below an existing directory of the guest's.
    pub async fn unpack(&self, path: &[u8]) -> Result<UnpackCall, VmmError> {
        UnpackCall::start(&self.streams, b"", path, ArchiveOwner::Archived).await
    }

    /// Unpacks a tar below the directory `path` beneath `root`, which is made where it is missing, without following a link on
    /// the way.
    pub async fn unpack_beneath(
        &self,
        root: &[u8],
        path: &[u8],
        owner: ArchiveOwner,
    ) -> Result<UnpackCall, VmmError> {
        UnpackCall::start(&self.streams, root, path, owner).await
    }

    /// Flushes the guest's writable disk and freezes its file system, for `limit` at most (up to 10 minutes). Legal after
    /// [`Self::configure`].
    pub async fn freeze(&self, limit: Duration) -> Result<Frozen, VmmError> {
        Frozen::start(&self.streams, limit).await
    }

    /// What is in the directory `path` beneath `root`, or the entry of anything else, without following a link, a directory
    /// before what is in it. Fails with [`VmmError::Refused`] when there are more than `max_entries`.
    pub async fn list(
        &self,
        root: &[u8],
        path: &[u8],
        recursive: bool,
        max_entries: u64,
    ) -> Result<Vec<FileEntry>, VmmError> {
        files::list(&self.streams, root, path, recursive, max_entries).await
    }

    /// Reads `max_bytes` of a regular file at most. `path` is beneath `root`, without following a link; where `root` is empty it
    /// is absolute.
    pub async fn read_file(&self, root: &[u8], path: &[u8], max_bytes: u64) -> Result<FileContent, VmmError> {
        files::read(&self.streams, root, path, max_bytes).await
    }

    /// Writes a regular file and its parents, durably, never through a link. `mode` counts for a new file only. `path` is as with
    /// [`Self::read_file`].
    pub async fn write_file(
        &self,
        root: &[u8],
        path: &[u8],
        mode: u32,
        content: &[u8],
    ) -> Result<(), VmmError> {
        files::write(&self.streams, root, path, mode, content).await
    }

    /// Changes several files beneath `root`, durably, all of them or none. Fails with [`VmmError::Refused`] of kind `WrongState`
    /// when one is not as expected; at most 10,000 files and 256 MiB.
    pub async fn replace(&self, root: &[u8], changes: Vec<FileChange>) -> Result<(), VmmError> {
        files::replace(&self.streams, root, changes).await
    }

    /// Asks for what changed in the workspace since it began.
    pub async fn diff(&self, limits: DiffLimits) -> Result<DiffCall, VmmError> {
        DiffCall::start(&self.streams, limits).await
    }

    /// Opens a shell, which goes on until it is closed. Fails with [`VmmError::Refused`] when there are 16 already.
    pub async fn open_shell(&self, request: ShellRequest) -> Result<(), VmmError> {
        shells::open(&self.streams, request).await
    }

    /// Reads `max_bytes` at most of what a shell has printed, from the position `cursor` on, of which the last MiB is kept. Fails
    /// with [`VmmError::Refused`] when the cursor is beyond the end.
    pub async fn read_shell(
        &self,
        id: &str,
        cursor: u64,
        max_bytes: u64,
        wait: ShellWait,
    ) -> Result<ShellOutput, VmmError> {
        shells::read(&self.streams, id, cursor, max_bytes, wait).await
    }

    /// Types into a shell. Fails with [`VmmError::Refused`] of kind `WrongState` when it has ended, and of kind `Exhausted` when
    /// nothing in it reads for 10 s.
    pub async fn write_shell(&self, id: &str, data: &[u8]) -> Result<(), VmmError> {
        shells::write(&self.streams, id, data).await
    }

    /// Gives the terminal of a shell another size.
    pub async fn resize_shell(&self, id: &str, size: TerminalSize) -> Result<(), VmmError> {
        let TerminalSize { columns, rows } = size;
        let resize = v1::ResizeShell { id: id.to_owned(), columns, rows };
        self.ask_done("resize_shell", ANSWER_DEADLINE, request::Call::ResizeShell(resize)).await
    }

    /// Sends the signal `number` to what is in the foreground of a shell.
    pub async fn signal_shell(&self, id: &str, number: i32) -> Result<(), VmmError> {
        let signal = v1::SignalShell { id: id.to_owned(), number };
        self.ask_done("signal_shell", ANSWER_DEADLINE, request::Call::SignalShell(signal)).await
    }

    /// Ends a shell and everything that it has started, and forgets it.
    pub async fn close_shell(&self, id: &str) -> Result<ShellState, VmmError> {
        shells::close(&self.streams, id).await
    }

    /// The shells, in the order in which they were opened.
    pub async fn list_shells(&self) -> Result<Vec<ShellState>, VmmError> {
        shells::list(&self.streams).await
    }

    /// Starts a service, which goes on until it ends or is stopped. Fails with [`VmmError::Refused`] of kind `AlreadyExists` when one
    /// of that name has not ended.
    pub async fn start_service(&self, request: ServiceRequest) -> Result<StartingService, VmmError> {
        services::start(&self.streams, request).await
    }

    /// The services, in the order in which they were started; fails after `deadline`.
    pub async fn list_services(&self, deadline: Duration) -> Result<Vec<ServiceState>, VmmError> {
        services::list(&self.streams, deadline).await
    }

    /// What a service has printed: the last 512 KiB of each output.
    pub async fn read_service_log(&self, name: &str) -> Result<ServiceOutput, VmmError> {
        services::log(&self.streams, name).await
    }

    /// Ends a service: TERM to its process group, KILL for what is left after `grace`.
    pub async fn stop_service(&self, name: &str, grace: Duration) -> Result<ServiceState, VmmError> {
        services::stop(&self.streams, name, grace).await
    }

    /// Gives the guest a network, whose packets are carried for as long as what is returned is held. Legal once configured; one
    /// at a time.
    pub async fn tunnel(&self, request: TunnelRequest) -> Result<(TunnelOutput, TunnelInput), VmmError> {
        tunnel::open(&self.streams, request).await
    }

    /// Asks to be told of the end of the service that has this name now.
    pub async fn await_service(&self, name: &str) -> Result<AwaitedService, VmmError> {
        services::awaited(&self.streams, name).await
    }

    /// Connects to a port of the guest's loopback. Fails with [`VmmError::Refused`] when nobody listens there, and of kind
    /// `Exhausted` when whoever does has not accepted it within 10 s. Dropping both directions before they have ended resets the
    /// connection.
    pub async fn dial(&self, port: u16) -> Result<(DialSender, DialReceiver), VmmError> {
        dial::dial(&self.streams, port).await
    }

    /// Flushes the guest's file systems to its disks.
    pub async fn sync(&self) -> Result<(), VmmError> {
        self.ask_done("sync", DISK_DEADLINE, request::Call::Sync(v1::Sync {})).await
    }

    /// Ends every process of the guest's, flushes, and powers it off; returns when the agent has begun.
    pub async fn shutdown(&self, grace: Duration) -> Result<(), VmmError> {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.ask_done("shutdown", ANSWER_DEADLINE, request::Call::Shutdown(v1::Shutdown { grace_ms })).await
    }

    async fn ask_done(
        &self,
        call: &'static str,
        deadline: Duration,
        request: request::Call,
    ) -> Result<(), VmmError> {
        match self.ask(call, deadline, request).await? {
            Reply::Done(_) => Ok(()),
            _ => Err(VmmError::Misbehaved { call, what: "it answered something else" }),
        }
    }

    async fn ask(
        &self,
        call: &'static str,
        deadline: Duration,
        request: request::Call,
    ) -> Result<Reply, VmmError> {
        within(call, deadline, async {
            let mut opened = Call::open(&self.streams, call, request).await?;
            opened.replies.next().await
        })
        .await
    }
}

/// Runs `work`, or fails with [`VmmError::CallTimeout`] when it takes longer than `deadline`.
async fn within<T>(
    call: &'static str,
    deadline: Duration,
    work: impl Future<Output = Result<T, VmmError>>,
) -> Result<T, VmmError> {
    tokio::time::timeout(deadline, work)
        .await
        .unwrap_or(Err(VmmError::CallTimeout { call, waited: deadline }))
}

fn root() -> v1::Root {
    v1::Root {
        image_serial: pyro_protocol::serial::IMAGE.to_owned(),
        scratch_serial: pyro_protocol::serial::SCRATCH.to_owned(),
        modules_serial: pyro_protocol::serial::MODULES.to_owned(),
    }
}

fn unix_time_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

fn random_token() -> Result<u64, VmmError> {
    getrandom::u64().map_err(|error| VmmError::host("read random bytes", error))
}

/// A short text of the guest's, safe to print.
fn bounded(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(128).collect()
}
