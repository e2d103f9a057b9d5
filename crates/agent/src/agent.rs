//! What all calls share: how the agent runs, whether it is configured, and what it keeps track of.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use pyro_protocol::v1::FailureKind;
use rustix::fd::OwnedFd;
use tokio::sync::{Semaphore, watch};

use crate::configure::{Rehearsal, Staged};
use crate::fail::Fail;
use crate::reaper::Reaper;
use crate::{secrets, services, shells};

/// Transfers (archives, files) that work at the same time, each on a thread of its own; further ones wait.
pub const MAX_TRANSFERS: usize = 16;

/// How the agent runs.
#[derive(Debug)]
pub enum Mode {
    /// PID 1 of a virtual machine.
    Init,
    /// An ordinary process.
    Process {
        /// The directory that commands start in.
        workdir: PathBuf,
        /// The directory of the files of secrets; without it there are no secrets.
        secrets: Option<PathBuf>,
    },
}

/// What was done to the agent; what is legal follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Nothing yet: stage and configure are legal.
    Fresh,
    /// A template to be, in its rehearsal: exec is legal, and seal.
    Staged,
    /// A template, or a clone of one: configure is legal.
    Sealed,
    /// It has its identity and its root: everything else is legal.
    Configured,
}

/// The agent, shared by the tasks of its one thread.
#[derive(Debug)]
pub struct Agent {
    pub mode: Mode,
    pub reaper: Reaper,
    pub shells: shells::Registry,
    pub services: services::Registry,
    pub secrets: secrets::Vault,
    /// Permits for the threads of transfers.
    pub transfers: Semaphore,
    /// The writable disk's file system, once mounted: the only handle to it after the root has changed.
    pub scratch: RefCell<Option<OwnedFd>>,
    /// The root of the image that the workspace began with, if it had one.
    pub seed: RefCell<Option<OwnedFd>>,
    /// The writable disk is frozen, or about to be, or just being thawed: what writes to it waits.
    pub frozen: Arc<AtomicBool>,
    /// What is ready for Configure, from Stage on.
    pub staged: RefCell<Option<Staged>>,
    /// The stay in a root before there is a real one, from Stage to Seal, or to Configure where that makes it the real one.
    pub rehearsal: RefCell<Option<Rehearsal>>,
    life: Cell<Life>,
    power_off: watch::Sender<Option<Duration>>,
}

impl Agent {
    /// An agent that is not configured.
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            reaper: Reaper::default(),
            shells: shells::Registry::default(),
            services: services::Registry::default(),
            secrets: secrets::Vault::default(),
            transfers: Semaphore::new(MAX_TRANSFERS),
            scratch: RefCell::new(None),
            seed: RefCell::new(None),
            frozen: Arc::default(),
            staged: RefCell::new(None),
            rehearsal: RefCell::new(None),
            life: Cell::new(Life::Fresh),
            power_off: watch::Sender::new(None),
        }
    }

    /// What was done to the agent so far.
    pub fn life(&self) -> Life {
        self.life.get()
    }

    /// Records that a step has succeeded.
    pub fn set_life(&self, life: Life) {
        self.life.set(life);
    }

    /// Fails while there is no root that commands could run in.
    pub fn require_root(&self) -> Result<(), Fail> {
        match self.life() {
            Life::Staged | Life::Configured => Ok(()),
            Life::Fresh | Life::Sealed => Err(not_configured()),
        }
    }

    /// Fails while there is no workspace that is there to stay.
    pub fn require_configured(&self) -> Result<(), Fail> {
        if self.life() == Life::Configured { Ok(()) } else { Err(not_configured()) }
    }

    /// Another descriptor of the writable disk's file system. Fails where there is none: the agent is an ordinary process, or
    /// nothing is mounted yet.
    pub fn scratch(&self) -> Result<OwnedFd, Fail> {
        if let Mode::Process { .. } = self.mode {
            let message = "an agent that is an ordinary process has no disk of its own";
            return Err(Fail::new(FailureKind::Unsupported, message));
        }
        let scratch = self.scratch.borrow();
        let scratch = scratch.as_ref().ok_or_else(|| Fail::wrong_state("the disk is not mounted yet"))?;
        scratch.try_clone().map_err(|error| Fail::os("reach the disk", error))
    }

    /// Where commands start when the request does not say.
    pub fn default_cwd(&self) -> &Path {
        match &self.mode {
            Mode::Init => Path::new(pyro_protocol::WORKSPACE_DIR),
            Mode::Process { workdir, .. } => workdir,
        }
    }

    /// Asks the agent to end, leaving `grace` between TERM and KILL.
    pub fn request_power_off(&self, grace: Duration) {
        self.power_off.send_replace(Some(grace));
    }

    /// Waits for [`Self::request_power_off`] and returns its grace.
    pub async fn power_off_requested(&self) -> Duration {
        let mut requests = self.power_off.subscribe();
        match requests.wait_for(Option::is_some).await {
            Ok(request) => request.unwrap_or_default(),
            // The sender is this agent's own and outlives the wait.
            Err(_) => std::future::pending().await,
        }
    }
}

fn not_configured() -> Fail {
    Fail::wrong_state("the agent is not configured yet")
}
