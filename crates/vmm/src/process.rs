//! A child process that cannot outlive pyro.
//!
//! Each child has a keeper thread of its own. The thread confines itself (the confinement is per thread and inherited),
//! starts the child with a parent-death signal, drains its output into a bounded tail, waits for it and ends. The
//! parent-death signal is tied to the thread that forked: as the keeper lives exactly as long as its child, the kernel
//! kills the child when pyro dies in any way, and never earlier.

use crate::VmmError;
use crate::confine::Confinement;
use crate::engine::ExitReport;
use crate::tail::Tail;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// A process under a keeper; ended when dropped.
#[derive(Debug)]
pub(crate) struct KeptProcess {
    pid: u32,
    /// KILL, but for a process that has others of its own to end.
    end_signal: Signal,
    handle: OwnedFd,
    output: Tail,
    exit: watch::Receiver<Option<ExitReport>>,
}

impl KeptProcess {
    /// Starts `command`, which [`pyro_runtime::child::attach`] was applied to; it keeps exactly the descriptors in
    /// `inherited` besides its standard ones.
    pub(crate) async fn start(
        command: Command,
        confinement: Confinement,
        inherited: Vec<OwnedFd>,
    ) -> Result<Self, VmmError> {
        let end_signal = if confinement.unconfined { Signal::TERM } else { Signal::KILL };
        let program = PathBuf::from(command.get_program());
        let failed = |source| VmmError::Spawn { program: program.clone(), source };
        let (started, start) = oneshot::channel();
        let (ended, exit) = watch::channel(None);
        let output = Tail::default();
        let tail = output.clone();
        thread::Builder::new()
            .name("pyro-keeper".to_owned())
            .spawn(move || keep(command, &confinement, inherited, &tail, started, &ended))
            .map_err(failed)?;
        let (pid, handle) =
            start.await.map_err(|_| failed(io::Error::other("the keeper thread ended")))?.map_err(failed)?;
        Ok(Self { pid, end_signal, handle, output, exit })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn output(&self) -> String {
        self.output.text()
    }

    /// Asks the process to end, in the way that it cannot or will not refuse.
    pub(crate) fn end(&self) {
        // Fails only when the process is gone already, which is what was asked for.
        let _gone = pidfd_send_signal(&self.handle, self.end_signal);
    }

    pub(crate) async fn wait(&self) -> ExitReport {
        let mut exit = self.exit.clone();
        let report = exit.wait_for(Option::is_some).await;
        report
            .ok()
            .and_then(|report| report.clone())
            .unwrap_or_else(|| ExitReport { status: "unknown".to_owned() })
    }

    /// [`Self::wait`], but a process that was asked to end and has not after `grace` is killed.
    pub(crate) async fn wait_or_kill(&self, grace: Duration) -> ExitReport {
        if let Ok(report) = tokio::time::timeout(grace, self.wait()).await {
            return report;
        }
        let _gone = pidfd_send_signal(&self.handle, Signal::KILL);
        self.wait().await
    }
}

impl Drop for KeptProcess {
    fn drop(&mut self) {
        self.end();
    }
}

fn keep(
    command: Command,
    confinement: &Confinement,
    inherited: Vec<OwnedFd>,
    tail: &Tail,
    started: oneshot::Sender<io::Result<(u32, OwnedFd)>>,
    ended: &watch::Sender<Option<ExitReport>>,
) {
    let (mut child, handle) = match spawn(command, confinement, &inherited) {
        Ok(running) => running,
        Err(error) => {
            // The caller gave up waiting when this fails; there is nobody left to tell.
            let _abandoned = started.send(Err(error));
            return;
        }
    };
    drop(inherited);
    if started.send(Ok((child.id(), handle))).is_err() {
        let _gone = child.kill();
    }
    drain(&mut child, tail);
    let status = match child.wait() {
        Ok(status) => status.to_string(),
        Err(error) => format!("unknown ({error})"),
    };
    ended.send_replace(Some(ExitReport { status }));
}

fn spawn(
    mut command: Command,
    confinement: &Confinement,
    inherited: &[OwnedFd],
) -> io::Result<(Child, OwnedFd)> {
    confinement.enter_thread()?;
    let limits = confinement.limits();
    let descriptors: Vec<i32> = inherited.iter().map(AsRawFd::as_raw_fd).collect();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let in_child = move || {
        for (resource, limit) in &limits {
            rustix::process::setrlimit(*resource, *limit)?;
        }
        for descriptor in &descriptors {
            keep_over_exec(*descriptor)?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure only makes system calls (setrlimit, fcntl); it neither
    // allocates nor takes locks, and the vectors it reads were built before the fork.
    #[expect(unsafe_code, reason = "std offers no other way to act in the child")]
    unsafe {
        command.pre_exec(in_child);
    }
    let child = command.spawn()?;
    let pid = Pid::from_child(&child);
    Ok((child, pidfd_open(pid, PidfdFlags::empty())?))
}

fn keep_over_exec(descriptor: i32) -> io::Result<()> {
    // SAFETY: the keeper owns the descriptor (`inherited`) for the whole life of the closure that calls this.
    #[expect(unsafe_code, reason = "only raw numbers cross the fork")]
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(descriptor) };
    rustix::io::fcntl_setfd(borrowed, rustix::io::FdFlags::empty())?;
    Ok(())
}

/// Reads both outputs into the tail until the child has closed them.
fn drain(child: &mut Child, tail: &Tail) {
    let stdout = child.stdout.take().map(|pipe| File::from(OwnedFd::from(pipe)));
    let stderr = child.stderr.take().map(|pipe| File::from(OwnedFd::from(pipe)));
    let mut pipes: Vec<File> = [stdout, stderr].into_iter().flatten().collect();
    let mut buffer = [0; 4096];
    while !pipes.is_empty() {
        let mut waits: Vec<PollFd<'_>> = pipes.iter().map(|pipe| PollFd::new(pipe, PollFlags::IN)).collect();
        if let Err(error) = poll(&mut waits, None)
            && error != rustix::io::Errno::INTR
        {
            return;
        }
        let ready: Vec<bool> = waits.iter().map(|wait| !wait.revents().is_empty()).collect();
        let mut ready = ready.into_iter();
        pipes.retain_mut(|pipe| {
            if !ready.next().unwrap_or(false) {
                return true;
            }
            match pipe.read(&mut buffer) {
                Ok(0) => false,
                Ok(count) => {
                    tail.push(&buffer[..count]);
                    true
                }
                Err(error) => error.kind() == io::ErrorKind::Interrupted,
            }
        });
    }
}
