//! Configure: identity and root of a freshly booted or restored guest, once.
//!
//! Entropy and the clock come first, so that nothing runs with the template's. An ordinary process has an identity and
//! a root already, its host's: there the request is checked and recorded.

mod identity;
mod root;

use std::time::Instant;

use pyro_protocol::v1::{Configure, Configured, FailureKind};

use crate::agent::{Agent, Mode};
use crate::fail::Fail;

/// Configures the agent. After a failure it may be called again as long as nothing was mounted.
///
/// This blocks the agent's thread: nothing else is legal before it, and threads would cost time at every start.
pub fn configure(agent: &Agent, request: &Configure) -> Result<Configured, Fail> {
    let started = Instant::now();
    if agent.is_configured() {
        return Err(Fail::wrong_state("the agent is configured already"));
    }
    identity::check(request)?;
    let mut disks = Vec::new();
    match &agent.mode {
        Mode::Init => {
            identity::assume(request)?;
            if let Some(layout) = &request.root {
                root::assemble(agent, request, layout)?;
                disks = root::describe_disks();
            }
        }
        Mode::Process { .. } if request.root.is_some() => {
            return Err(Fail::new(
                FailureKind::Unsupported,
                "an agent that is an ordinary process cannot change its root",
            ));
        }
        Mode::Process { .. } => {}
    }
    agent.set_configured();
    let total_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    Ok(Configured { disks, total_us })
}
