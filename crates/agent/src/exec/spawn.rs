//! Spawns a planned command.
//!
//! The standard library uses `posix_spawn` here, which does not copy the agent's page tables, as long as it is asked
//! for no more than that can do. A statically linked C library lacks its way to change directory, so the agent goes
//! there itself: it has one thread that uses relative paths, this one.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;

use pyro_protocol::v1::FailureKind;
use rustix::fd::OwnedFd;
use rustix::io::{Errno, ioctl_fionbio};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitStatus, chdir, kill_process_group};
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

use super::plan::Plan;
use super::{env, interpreter, lookup};
use crate::agent::{Agent, Mode};
use crate::fail::Fail;

/// A command that was started, with the agent's ends of its pipes.
#[derive(Debug)]
pub struct Running {
    pub group: Group,
    pub exit: oneshot::Receiver<WaitStatus>,
    pub stdin: Option<pipe::Sender>,
    pub stdout: pipe::Receiver,
    pub stderr: pipe::Receiver,
}

/// The process group of a command. Dropping it kills the group, unless the command itself has ended.
#[derive(Debug)]
pub struct Group {
    agent: Rc<Agent>,
    leader: Pid,
}

impl Group {
    /// The command, which leads the group.
    pub fn leader(&self) -> Pid {
        self.leader
    }

    /// Kills what is left of the group after the command itself has ended. As long as there is something left, the kernel gives
    /// the group's number to nobody else; and numbers are used in turn, so it has not come round to this one yet where nothing is.
    pub fn kill_rest(&self) {
        let _ = kill_process_group(self.leader, Signal::KILL);
    }

    /// Sends `signal` to the whole group.
    pub fn signal(&self, signal: Signal) {
        self.agent.reaper.kill_group(self.leader, signal);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Starts the command of `plan`.
pub fn spawn(agent: &Rc<Agent>, plan: &Plan) -> Result<Running, Fail> {
    enter(&plan.cwd)?;
    let spawned = spawn_here(agent, plan);
    // Staying would keep the directory's file system from being unmounted.
    let _ = chdir("/");
    spawned
}

/// Goes to the working directory of a command.
pub fn enter(cwd: &Path) -> Result<(), Fail> {
    let path = cwd.as_os_str().as_encoded_bytes();
    chdir(cwd).map_err(|errno| {
        let fail =
            |kind, reason: &str| Fail::new(kind, format!("working directory {}: {reason}", cwd.display()));
        match errno {
            Errno::NOENT => fail(FailureKind::NotFound, "does not exist"),
            Errno::NOTDIR => fail(FailureKind::NotFound, "is not a directory"),
            _ => Fail::os("enter the working directory", errno),
        }
        .at(path)
    })
}

/// The file of the program that `plan` names, with its name and arguments.
pub fn program(plan: &Plan) -> Result<(PathBuf, &OsStr, &[OsString]), Fail> {
    let [name, arguments @ ..] = plan.argv.as_slice() else {
        return Err(Fail::invalid("there is no program to run"));
    };
    let path = plan.env.get(OsStr::new("PATH")).map_or(env::DEFAULT_PATH.as_ref(), |path| path.as_os_str());
    Ok((lookup::find(name, path, &plan.cwd)?, name, arguments))
}

fn spawn_here(agent: &Rc<Agent>, plan: &Plan) -> Result<Running, Fail> {
    let (file, name, arguments) = program(plan)?;
    let (stdin, child_stdin) = if plan.stdin {
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC).map_err(no_pipe)?;
        ioctl_fionbio(&ours, true).map_err(no_pipe)?;
        (Some(pipe::Sender::from_owned_fd_unchecked(ours).map_err(no_pipe)?), Stdio::from(theirs))
    } else {
        let nothing = match agent.mode {
            // What PID 1 opened for itself as it booted.
            Mode::Init => Stdio::inherit(),
            Mode::Process { .. } => Stdio::null(),
        };
        (None, nothing)
    };
    let (stdout, child_stdout) = output_pipe()?;
    let (stderr, child_stderr) = output_pipe()?;
    let child = Command::new(&file)
        .arg0(name)
        .args(arguments)
        .env_clear()
        .envs(&plan.env)
        .process_group(0)
        .stdin(child_stdin)
        .stdout(child_stdout)
        .stderr(child_stderr)
        .spawn()
        .map_err(|error| not_spawned(&file, error))?;
    let leader = Pid::from_child(&child);
    // No await since the spawn: the reaper has not seen this child yet.
    let exit = agent.reaper.register(leader);
    Ok(Running { group: Group { agent: Rc::clone(agent), leader }, exit, stdin, stdout, stderr })
}

/// The agent's end does not block; the command's, as it expects, does.
fn output_pipe() -> Result<(pipe::Receiver, OwnedFd), Fail> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC).map_err(no_pipe)?;
    ioctl_fionbio(&ours, true).map_err(no_pipe)?;
    Ok((pipe::Receiver::from_owned_fd_unchecked(ours).map_err(no_pipe)?, theirs))
}

fn no_pipe(error: impl Into<io::Error>) -> Fail {
    Fail::os("create a pipe", error)
}

/// Why the program in `file` could not be started.
pub fn not_spawned(file: &Path, error: io::Error) -> Fail {
    let shown = file.display();
    let fail = match Errno::from_io_error(&error) {
        // The file was there a moment ago, so it is what runs it that is missing.
        Some(Errno::NOENT) => {
            let message = match interpreter::of(file) {
                Some(interpreter) => format!("{shown}: its interpreter {interpreter} does not exist"),
                None => format!("{shown}: a file needed to run it does not exist"),
            };
            Fail::new(FailureKind::NotExecutable, message)
        }
        Some(Errno::NOEXEC) => {
            let message =
                format!("{shown}: is neither a program for this machine nor a script with a #! line");
            Fail::new(FailureKind::NotExecutable, message)
        }
        Some(Errno::ACCESS | Errno::PERM | Errno::ISDIR | Errno::LIBBAD | Errno::TXTBSY) => {
            Fail::new(FailureKind::NotExecutable, format!("{shown}: {error}"))
        }
        Some(Errno::TOOBIG) => Fail::invalid(format!("{shown}: {error}")),
        _ => Fail::os("start the program", error),
    };
    fail.at(file.as_os_str().as_encoded_bytes())
}
