//! The host's end of the channel: calls into the agent of one machine.
//!
//! Every call is one yamux stream and carries its own deadline. What comes back is hostile: frames are bounded by the
//! codec, texts are cut, and a reply that a call does not allow ends it as [`VmmError::Misbehaved`].

mod call;
mod connect;
mod exec;
mod transfer;

pub use exec::{ExecCall, ExecEvent, ExecInput, ExecRequest, ExitStatus, OutputStream};
pub use transfer::{PackCall, Transferred, UnpackCall};

use crate::{Machine, VmmError};
use call::Call;
use connect::StreamOpener;
use pyro_protocol::v1::{self, reply::Reply, request};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
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

    /// Waits for the agent of a machine that was just launched. When none answers, the error carries the console.
    pub async fn boot(machine: &mut dyn Machine, deadline: Duration) -> Result<Self, VmmError> {
        let channel = machine.take_channel().ok_or(VmmError::ChannelClosed { call: "connect" })?;
        tokio::select! {
            connected = Self::connect(channel, deadline) => match connected {
                Ok(guest) => Ok(guest),
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

    /// Ends the rehearsal and unmounts the writable disk: afterwards the guest's memory may be taken.
    pub async fn seal(&self) -> Result<(), VmmError> {
        self.ask_done("seal", DISK_DEADLINE, request::Call::Seal(v1::Seal {})).await
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
        PackCall::start(&self.streams, path).await
    }

    /// Unpacks a tar below an existing directory of the guest's.
    pub async fn unpack(&self, path: &[u8]) -> Result<UnpackCall, VmmError> {
        UnpackCall::start(&self.streams, path).await
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
