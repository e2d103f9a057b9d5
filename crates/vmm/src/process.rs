//! A child process that cannot outlive pyro.
//!
//! Each child has a keeper thread of its own. The thread starts the child with a parent-death signal and, for a VMM, in a
//! [`Jail`], drains its output into a bounded tail, waits for it and ends. The parent-death signal is tied to the thread whose
//! child it is: as the keeper lives exactly as long as its child, the kernel kills the child when pyro dies in any way, and never
//! earlier.

use crate::VmmError;
use crate::cgroup::Cgroup;
use crate::engine::ExitReport;
use crate::jail::{self, ChildReport, Jail, JailLevel};
use crate::tail::Tail;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, kill_process, kill_process_group, pidfd_open, pidfd_send_signal,
    waitpgid, waitpid,
};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// How long a process that does not answer any more may take to end by itself.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A process under a keeper; ended when dropped.
#[derive(Debug)]
pub(crate) struct KeptProcess {
    pid: u32,
    jail: Option<JailLevel>,
    /// KILL, but for a process that has others of its own to end.
    end_signal: Signal,
    handle: OwnedFd,
    output: Tail,
    exit: watch::Receiver<Option<ExitReport>>,
}

impl KeptProcess {
    /// Starts `command`, which [`pyro_runtime::child::attach`] was applied to; it keeps exactly the descriptors in
    /// `inherited` besides its standard ones. Without a jail it is an ordinary process of the host's.
    pub(crate) async fn start(
        command: Command,
        jail: Option<Jail>,
        inherited: Vec<OwnedFd>,
    ) -> Result<Self, VmmError> {
        let end_signal = if jail.is_some() { Signal::KILL } else { Signal::TERM };
        let program = PathBuf::from(command.get_program());
        let failed = |source| VmmError::Spawn { program: program.clone(), source };
        let (started, start) = oneshot::channel();
        let (ended, exit) = watch::channel(None);
        let output = Tail::default();
        let tail = output.clone();
        thread::Builder::new()
            .name("pyro-keeper".to_owned())
            .spawn(move || keep(command, jail.as_ref(), inherited, &tail, started, &ended))
            .map_err(failed)?;
        let Started { pid, handle, jail } =
            start.await.map_err(|_| failed(io::Error::other("the keeper thread ended")))?.map_err(failed)?;
        Ok(Self { pid, jail, end_signal, handle, output, exit })
    }

    /// How far its jail got; none for a process without one.
    pub(crate) fn jail(&self) -> Option<&JailLevel> {
        self.jail.as_ref()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// The end of what it has printed.
    pub(crate) fn tail(&self) -> &Tail {
        &self.output
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

    /// What is to be said of a machine that failed to start with `error`: one that ends instead of answering has said why on its way
    /// out. The process is gone when this returns, and has let go of its disks.
    pub(crate) async fn give_up(&self, error: VmmError) -> VmmError {
        let ended = tokio::time::timeout(LAST_WORDS, self.wait()).await;
        self.end();
        self.wait().await;
        let died = |exit: ExitReport| VmmError::DiedEarly { status: exit.status, console: self.output() };
        ended.map_or(error, died)
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

/// What a keeper tells once its child runs.
struct Started {
    pid: u32,
    handle: OwnedFd,
    jail: Option<JailLevel>,
}

fn keep(
    command: Command,
    jail: Option<&Jail>,
    inherited: Vec<OwnedFd>,
    tail: &Tail,
    started: oneshot::Sender<io::Result<Started>>,
    ended: &watch::Sender<Option<ExitReport>>,
) {
    // Removed when the child is gone.
    let cgroup = jail.and_then(|jail| Cgroup::create(&jail.name, jail.resources));
    let running = match jail {
        Some(jail) => spawn_jailed(command, jail, &inherited, cgroup.as_ref()),
        None => spawn(command, &inherited).map(|child| (child, None)),
    };
    let running = running.and_then(|(mut child, jail)| {
        let handle = pidfd_open(child.pid(), PidfdFlags::empty()).inspect_err(|_| child.end())?;
        Ok((Started { pid: child.pid().as_raw_pid().unsigned_abs(), handle, jail }, child))
    });
    let (start, mut child) = match running {
        Ok(running) => running,
        Err(error) => {
            // The caller gave up waiting when this fails; there is nobody left to tell.
            let _abandoned = started.send(Err(error));
            return;
        }
    };
    drop(inherited);
    if started.send(Ok(start)).is_err() {
        child.kill();
    }
    drain(&mut child.forked, tail);
    let status = match child.wait() {
        Ok(status) => status.to_string(),
        Err(error) => format!("unknown ({error})"),
    };
    drop(cgroup);
    ended.send_replace(Some(ExitReport { status }));
}

/// A child of this process's that runs, and what it prints.
struct Running {
    forked: Child,
    /// What goes on in the place of that one.
    successor: Option<Pid>,
}

impl Running {
    fn pid(&self) -> Pid {
        self.successor.unwrap_or_else(|| Pid::from_child(&self.forked))
    }

    fn kill(&self) {
        // Not waited for, so the id is its own; gone already is as good.
        let _gone = kill_process(self.pid(), Signal::KILL);
    }

    /// Kills it, and waits for it.
    fn end(&mut self) {
        self.kill();
        let _ended = self.wait();
    }

    fn wait(&mut self) -> io::Result<ExitStatus> {
        self.successor.map_or_else(|| self.forked.wait(), wait_for)
    }
}

fn wait_for(pid: Pid) -> io::Result<ExitStatus> {
    let ended = retry_on_intr(|| waitpid(Some(pid), WaitOptions::empty()))?;
    let (_, status) = ended.ok_or(io::ErrorKind::NotFound)?;
    Ok(ExitStatus::from_raw(status.as_raw()))
}

fn spawn(mut command: Command, inherited: &[OwnedFd]) -> io::Result<Running> {
    let descriptors: Vec<i32> = inherited.iter().map(AsRawFd::as_raw_fd).collect();
    prepare(&mut command, move || {
        for descriptor in &descriptors {
            jail::keep_over_exec(*descriptor)?;
        }
        Ok(())
    });
    Ok(Running { forked: command.spawn()?, successor: None })
}

/// A host that refuses namespaces may do so at any step, when the child has a part of them: that one ends, and the next
/// does without.
fn spawn_jailed(
    mut command: Command,
    jail: &Jail,
    inherited: &[OwnedFd],
    cgroup: Option<&Cgroup>,
) -> io::Result<(Running, Option<JailLevel>)> {
    let (mut entry, report) = jail.prepare(inherited, cgroup)?;
    prepare(&mut command, move || entry.enter());
    let mut namespaces = Ok(());
    loop {
        let mut spawned = command.spawn();
        let (successor, entered) = match report.read() {
            Ok(ChildReport { successor, jail }) => (successor, Some(jail)),
            Err(_) => (None, None),
        };
        // Whether they can be waited for is no matter of the VMM's.
        match (&mut spawned, successor) {
            // It has ended for the other one to go on.
            (Ok(forked), Some(_)) => drop(forked.wait()),
            // It was waited for, and the other one ends.
            (Err(_), Some(successor)) => drop(wait_for(successor)),
            (_, None) => {}
        }
        match (spawned.map(|forked| Running { forked, successor }), entered) {
            (Ok(running), Some(Ok(level))) => return Ok((running, Some(JailLevel { namespaces, ..level }))),
            (Err(_), Some(Err(obstacle))) if namespaces.is_ok() && obstacle.concerns_namespaces() => {
                namespaces = Err(obstacle);
                report.renounce_namespaces();
            }
            (Err(error), Some(Err(obstacle))) => return Err(io::Error::new(error.kind(), obstacle)),
            (Err(error), _) => return Err(error),
            (Ok(mut running), _) => {
                // Killed before it could tell, it may have been another one, which is of the same group of processes.
                let group = Pid::from_child(&running.forked);
                let _gone = kill_process_group(group, Signal::KILL);
                drop(running.forked.wait());
                while retry_on_intr(|| waitpgid(group, WaitOptions::empty()))
                    .is_ok_and(|ended| ended.is_some())
                {}
                return Err(io::Error::other("the child did not tell how it was jailed"));
            }
        }
    }
}

/// Gives `command` its standard descriptors, a process group, and what it does before it is executed, which must neither
/// allocate nor take locks.
fn prepare(command: &mut Command, in_child: impl FnMut() -> io::Result<()> + Send + Sync + 'static) {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    // SAFETY: between fork and exec the closures of this module only make system calls (`jail::Entry::enter`, fcntl); what
    // they read and write was allocated before the fork. One of them may return in another process than it was called in: what std
    // does then is to execute the command, or to tell the parent of an error on a socket that both have.
    #[expect(unsafe_code, reason = "std offers no other way to act in the child")]
    unsafe {
        command.pre_exec(in_child);
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Resources;

    #[test]
    fn a_process_that_is_born_in_its_control_group_is_the_one_that_is_waited_for() {
        let Some(cgroup) = Cgroup::for_test("born") else { return eprintln!("skipped: no cgroup v2 for us") };
        let directory = tempfile::tempdir().unwrap();
        let bare = Jail::bare("born", "/usr".into(), directory.path().to_owned(), Resources::least());
        let programs = ["/usr", "/bin", "/lib", "/lib64"].map(PathBuf::from).to_vec();
        let jail = Jail { programs, ..bare };
        let start = |program: &str, script: &str| {
            let mut command = Command::new(program);
            command.args(["-c", script]).env_clear().current_dir(&directory);
            pyro_runtime::child::attach(&mut command);
            spawn_jailed(command, &jail, &[], Some(&cgroup))
        };

        let (mut running, level) = start("/bin/sh", "echo here; exec sleep 600").unwrap();
        assert!(level.unwrap().cgroup);
        if running.successor.is_none() {
            running.kill();
            running.wait().unwrap();
            return eprintln!("skipped: no process can be born in a control group here");
        }
        let mut said = [0; 5];
        running.forked.stdout.take().unwrap().read_exact(&mut said).unwrap();
        assert_eq!((&said, cgroup.processes()), (b"here\n", vec![running.pid()]));
        running.kill();
        assert_eq!(running.wait().unwrap().signal(), Some(9));

        let (mut running, _) = start("/bin/sh", "exit 3").unwrap();
        assert_eq!(running.wait().unwrap().code(), Some(3));

        let refused = start("/usr/bin/no-such-program", "").err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::NotFound, "{refused}");
        assert_eq!(cgroup.processes(), []);
    }
}
