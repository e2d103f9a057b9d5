//! The one place that waits for child processes.
//!
//! As PID 1, or as a subreaper, the agent inherits the orphans of everything it runs. So it waits for any child,
//! hands the status to whoever registered that pid, and drops the others. A child must be registered before the task
//! that spawned it next awaits: the reaper runs on the same thread, so it cannot come first.
//!
//! A registered pid has not been waited for, so neither it nor the process group it leads can have been reused; this is
//! what makes [`Reaper::kill_group`] safe to call at any time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::num::NonZeroI32;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process_group, wait};
use tokio::signal::unix;
use tokio::sync::oneshot;

/// Hands out the exit statuses of child processes.
#[derive(Debug, Default)]
pub struct Reaper {
    waiting: RefCell<BTreeMap<NonZeroI32, oneshot::Sender<WaitStatus>>>,
}

impl Reaper {
    /// The status that `pid`, a child spawned just now, will end with.
    pub fn register(&self, pid: Pid) -> oneshot::Receiver<WaitStatus> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.borrow_mut().insert(pid.as_raw_nonzero(), sender);
        receiver
    }

    /// Signals the process group that `leader` leads, unless `leader` has been waited for.
    pub fn kill_group(&self, leader: Pid, signal: Signal) {
        if self.waiting.borrow().contains_key(&leader.as_raw_nonzero()) {
            // It can only fail when the whole group has just ended.
            let _ = kill_process_group(leader, signal);
        }
    }

    /// Signals the group of every registered process.
    pub fn kill_registered(&self, signal: Signal) {
        let leaders: Vec<_> = self.waiting.borrow().keys().copied().collect();
        for leader in leaders.into_iter().filter_map(|leader| Pid::from_raw(leader.get())) {
            self.kill_group(leader, signal);
        }
    }

    /// Reaps on each SIGCHLD, for ever.
    pub async fn run(&self, mut child_ended: unix::Signal) {
        loop {
            self.reap();
            child_ended.recv().await;
        }
    }

    /// Takes the status of every child that has ended; returns whether there are others.
    pub fn reap(&self) -> bool {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    let registered = self.waiting.borrow_mut().remove(&pid.as_raw_nonzero());
                    if let Some(waiting) = registered {
                        // The call may have been cancelled.
                        let _ = waiting.send(status);
                    }
                }
                Ok(None) => return true,
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }
}
