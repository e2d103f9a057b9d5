//! The end: of the machine, or of an ordinary process and everything it started.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pyro_protocol::limits::MAX_TIMEOUT;
use rustix::fd::AsRawFd;
use rustix::fs::sync;
use rustix::mount::{MountFlags, mount_remount};
use rustix::process::{Pid, Signal, getpgid, getpgrp, getpid, kill_process, kill_process_group};
use rustix::system::{RebootCommand, reboot};
use tokio::time::{Instant, sleep};

use crate::agent::{Agent, Mode};

/// How often it is looked whether everything has ended.
const POLL: Duration = Duration::from_millis(5);

/// How long what was killed may take to be gone.
const KILLED_DEADLINE: Duration = Duration::from_secs(2);

/// How long a frozen disk may take to be thawed.
const THAW_DEADLINE: Duration = Duration::from_secs(10);

/// TERM to every process, `grace` to end, KILL; then everything is on disk.
pub async fn end_processes(agent: &Agent, grace: Duration) {
    signal_all(agent, Signal::TERM);
    // A stopped process would not see it.
    signal_all(agent, Signal::CONT);
    if !all_ended(agent, grace.min(MAX_TIMEOUT)).await {
        kill_processes(agent).await;
    }
}

/// KILL to every process, again for those that were just being started or whose parent has just ended. Tells whether all are gone.
pub async fn kill_processes(agent: &Agent) -> bool {
    let deadline = Instant::now() + KILLED_DEADLINE;
    while Instant::now() < deadline {
        signal_all(agent, Signal::KILL);
        if all_ended(agent, POLL).await {
            return true;
        }
    }
    false
}

/// Flushes and ends the machine: the VMM does not reboot it.
pub fn restart(agent: &Agent) -> ! {
    wait_until_thawed(agent);
    sync();
    let read_only = MountFlags::RDONLY;
    let _ = mount_remount("/", read_only, "");
    if let Some(scratch) = agent.scratch.borrow().as_ref() {
        let path = format!("/proc/self/fd/{}", scratch.as_raw_fd());
        let _ = mount_remount(path.as_str(), read_only, "");
    }
    sync();
    restart_now()
}

/// Waits for a frozen disk, whose call has ended by now, to be thawed: what is to be flushed could not be written to it.
fn wait_until_thawed(agent: &Agent) {
    let deadline = Instant::now() + THAW_DEADLINE;
    while agent.frozen.load(Ordering::Acquire) && Instant::now() < deadline {
        std::thread::sleep(POLL);
    }
}

/// Ends the machine as it is.
pub fn restart_now() -> ! {
    loop {
        let _ = reboot(RebootCommand::Restart);
        std::thread::park_timeout(KILLED_DEADLINE);
    }
}

async fn all_ended(agent: &Agent, within: Duration) -> bool {
    let deadline = Instant::now() + within;
    loop {
        // Every process descends from a child of this one, so without children nothing is left.
        if !agent.reaper.reap() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        sleep(POLL).await;
    }
}

fn signal_all(agent: &Agent, signal: Signal) {
    match agent.mode {
        // "Group 1" is how kill(2) is told to signal everything but its caller, PID 1.
        Mode::Init => {
            let _ = kill_process_group(Pid::INIT, signal);
        }
        Mode::Process { .. } => {
            agent.reaper.kill_registered(signal);
            for child in children() {
                signal_child(child, signal);
            }
        }
    }
}

/// Signals `child`, and its group unless that is the agent's own. Nothing else waits for children, so its pid holds.
fn signal_child(child: Pid, signal: Signal) {
    let _ = match getpgid(Some(child)) {
        Ok(group) if group != getpgrp() => kill_process_group(group, signal),
        _ => kill_process(child, signal),
    };
}

/// Processes whose parent is this one: those it started, and the orphans that it inherited as their subreaper.
fn children() -> impl Iterator<Item = Pid> {
    let own = getpid().as_raw_nonzero().get();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(move |entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let status = fs::read_to_string(entry.path().join("stat")).ok()?;
        (parent_in(&status)? == own).then(|| Pid::from_raw(pid)).flatten()
    })
}

/// The parent's pid in the text of `/proc/PID/stat`, whose second field, a name in parentheses, may hold anything.
fn parent_in(stat: &str) -> Option<i32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_any_name() {
        let cases = [
            ("12 (sh) S 7 12 12 0", Some(7)),
            ("12 (a) R 9 (b)) S 7 12", Some(7)),
            ("12 (sh", None),
            ("12 (sh) S", None),
        ];
        for (stat, parent) in cases {
            assert_eq!(parent_in(stat), parent, "{stat}");
        }
    }
}
