//! Configure: identity and root of a freshly booted or restored guest, once. Before that, a guest that is to become a
//! template is staged and sealed.
//!
//! Entropy and the clock come first, so that nothing runs with the template's. An ordinary process has an identity and
//! a root already, its host's: there the request is checked and recorded.

mod identity;
mod rehearsal;
mod root;

use std::time::Instant;

use pyro_protocol::v1::{Configure, Configured, FailureKind, Root, Seal, SetClock, Stage};
use rustix::fs::syncfs;

use crate::agent::{Agent, Life, Mode};
use crate::fail::Fail;
use crate::power;
use crate::transfer::offload;
pub use rehearsal::Rehearsal;

/// What was done, and is the same in every clone of a template.
#[derive(Debug)]
pub struct Staged {
    identity: identity::Staged,
    root: root::Staged,
}

impl Staged {
    fn new(layout: &Root) -> Result<Self, Fail> {
        Ok(Self { identity: identity::stage()?, root: root::stage(layout)? })
    }
}

/// Configures the agent. After a failure the machine is of no use.
///
/// This blocks the agent's thread: nothing else is legal before it, and threads would cost time at every start.
pub fn configure(agent: &Agent, request: &Configure) -> Result<Configured, Fail> {
    let started = Instant::now();
    match agent.life() {
        Life::Fresh | Life::Sealed => {}
        Life::Staged => return Err(Fail::wrong_state("the agent is staged and not sealed")),
        Life::Configured => return Err(Fail::wrong_state("the agent is configured already")),
    }
    identity::check(request)?;
    match &agent.mode {
        Mode::Init => {
            let staged = match (agent.staged.take(), &request.root) {
                (Some(staged), _) => staged,
                (None, Some(layout)) => Staged::new(layout)?,
                (None, None) => return Err(no_root_given()),
            };
            identity::assume(&staged.identity, request)?;
            root::join(agent, &staged.root, agent.rehearsal.take(), request)?;
        }
        Mode::Process { .. } if request.root.is_some() => return Err(no_root_here()),
        Mode::Process { .. } => {}
    }
    agent.set_life(Life::Configured);
    let total_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    Ok(Configured { total_us })
}

/// Stages the root and enters a throwaway one. Like configuring, this blocks the agent's thread.
pub fn stage(agent: &Agent, request: &Stage) -> Result<(), Fail> {
    if agent.life() != Life::Fresh {
        return Err(Fail::wrong_state("only a fresh agent can be staged"));
    }
    if let Mode::Process { .. } = agent.mode {
        return Err(no_root_here());
    }
    let staged = Staged::new(request.root.as_ref().ok_or_else(no_root_given)?)?;
    agent.rehearsal.replace(Some(Rehearsal::begin(&staged.root)?));
    agent.staged.replace(Some(staged));
    agent.set_life(Life::Staged);
    Ok(())
}

/// Ends everything that was started since [`stage`], and leaves the throwaway root, unless clones are to go on in it.
pub async fn seal(agent: &Agent, request: &Seal) -> Result<(), Fail> {
    if agent.life() != Life::Staged {
        return Err(Fail::wrong_state("the agent is not staged"));
    }
    if !power::kill_processes(agent).await {
        return Err(Fail::wrong_state("not all processes have ended"));
    }
    if request.keep_root {
        rehearsal::keep()?;
    } else if let Some(rehearsal) = agent.rehearsal.take() {
        rehearsal.end()?;
    }
    agent.set_life(Life::Sealed);
    Ok(())
}

/// Flushes the writable disk, and fails where the disk did; without one, every file system.
pub async fn flush(agent: &Agent) -> Result<(), Fail> {
    let disk = agent.scratch().ok();
    offload(agent, move || {
        let Some(disk) = disk else {
            rustix::fs::sync();
            return Ok(());
        };
        syncfs(disk).map_err(|error| Fail::os("flush the disk", error))
    })
    .await
}

/// Sets the wall clock.
pub fn set_clock(agent: &Agent, request: SetClock) -> Result<(), Fail> {
    agent.require_root()?;
    match agent.mode {
        Mode::Init => {
            identity::set_clock(request.unix_time_ns).map_err(|error| Fail::os("set the clock", error))
        }
        // It is the host's, and right.
        Mode::Process { .. } => Ok(()),
    }
}

fn no_root_given() -> Fail {
    Fail::invalid("the request says nothing of a root")
}

fn no_root_here() -> Fail {
    Fail::new(FailureKind::Unsupported, "an agent that is an ordinary process cannot change its root")
}
