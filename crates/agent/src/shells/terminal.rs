//! Pseudo-terminals, and starting a program at one.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use pyro_protocol::limits::MAX_TERMINAL_SIZE;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::process::{Pid, Signal, WaitStatus, ioctl_tiocsctty, kill_process_group, setsid};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcgetpgrp, tcsetwinsize};
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

use crate::agent::Agent;
use crate::exec::{Plan, enter, not_spawned, program};
use crate::fail::Fail;

/// Columns and rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    columns: u16,
    rows: u16,
}

impl Size {
    /// Fails unless both are 1 to [`MAX_TERMINAL_SIZE`].
    pub fn new(columns: u32, rows: u32) -> Result<Self, Fail> {
        let within = |count: u32| {
            let fits = (1..=MAX_TERMINAL_SIZE).contains(&count);
            u16::try_from(count).ok().filter(|_| fits).ok_or_else(|| {
                Fail::invalid(format!(
                    "a terminal has 1 to {MAX_TERMINAL_SIZE} columns and rows, not {count}"
                ))
            })
        };
        Ok(Self { columns: within(columns)?, rows: within(rows)? })
    }

    pub fn columns(self) -> u32 {
        self.columns.into()
    }

    pub fn rows(self) -> u32 {
        self.rows.into()
    }
}

/// The agent's end of a terminal. Closing it hangs the terminal up.
#[derive(Debug)]
pub struct Terminal {
    printed: pipe::Receiver,
    typed: pipe::Sender,
}

/// A program at a terminal, the leader of a session of its own.
#[derive(Debug)]
pub struct Seated {
    pub terminal: Terminal,
    pub leader: Pid,
    pub exit: oneshot::Receiver<WaitStatus>,
}

/// Starts the program of `plan` at a new terminal.
pub fn seat(agent: &Agent, plan: &Plan, size: Size) -> Result<Seated, Fail> {
    enter(&plan.cwd)?;
    let seated = seat_here(agent, plan, size);
    // Staying would keep the directory's file system from being unmounted.
    let _ = rustix::process::chdir("/");
    seated
}

fn seat_here(agent: &Agent, plan: &Plan, size: Size) -> Result<Seated, Fail> {
    let (file, name, arguments) = program(plan)?;
    let no_terminal = |error: Errno| Fail::os("open a terminal", error);
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let controller = openpt(flags).map_err(no_terminal)?;
    unlockpt(&controller).map_err(no_terminal)?;
    let seat = ioctl_tiocgptpeer(&controller, flags).map_err(no_terminal)?;
    resize(&controller, size)?;
    ioctl_fionbio(&controller, true).map_err(no_terminal)?;
    let duplicate = || seat.try_clone().map(Stdio::from).map_err(|error| Fail::os("open a terminal", error));
    let mut command = Command::new(&file);
    command.arg0(name).args(arguments).env_clear().envs(&plan.env);
    command.stdin(duplicate()?).stdout(duplicate()?).stderr(duplicate()?);
    let sit_down = || {
        setsid()?;
        ioctl_tiocsctty(rustix::stdio::stdin())?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure only makes system calls; it neither allocates nor takes locks.
    #[expect(unsafe_code, reason = "std offers no other way to act in the child")]
    unsafe {
        command.pre_exec(sit_down);
    }
    let child = command.spawn().map_err(|error| not_spawned(&file, error))?;
    let leader = Pid::from_child(&child);
    // No await since the spawn: the reaper has not seen this child yet.
    let exit = agent.reaper.register(leader);
    let terminal = Terminal::new(controller).map_err(|error| Fail::os("watch the terminal", error))?;
    Ok(Seated { terminal, leader, exit })
}

fn resize(controller: impl AsFd, size: Size) -> Result<(), Fail> {
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(controller, size).map_err(|error| Fail::os("set the size of the terminal", error))
}

impl Terminal {
    /// `controller` does not block.
    fn new(controller: OwnedFd) -> io::Result<Self> {
        let typed = pipe::Sender::from_owned_fd_unchecked(controller.try_clone()?)?;
        Ok(Self { printed: pipe::Receiver::from_owned_fd_unchecked(controller)?, typed })
    }

    /// Reads what was printed. No bytes: nobody has the terminal open any more.
    pub async fn read(&self, buffer: &mut [u8]) -> usize {
        loop {
            // A terminal that nobody has open fails with EIO.
            let Ok(()) = self.printed.readable().await else { return 0 };
            match self.printed.try_read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read.unwrap_or(0),
            }
        }
    }

    /// Types all of `bytes`.
    pub async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.typed.writable().await?;
            match self.typed.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => bytes = &bytes[written?..],
            }
        }
        Ok(())
    }

    pub fn resize(&self, size: Size) -> Result<(), Fail> {
        resize(&self.printed, size)
    }

    /// Signals the processes in the foreground, or those of `leader` where there are none.
    pub fn signal(&self, signal: Signal, leader: Pid) -> Result<(), Fail> {
        let group = tcgetpgrp(&self.printed).unwrap_or(leader);
        match kill_process_group(group, signal) {
            // They have ended just now.
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(Fail::os("signal the shell", error)),
        }
    }
}

/// The first of the usual shells that there is.
pub fn default_shell() -> &'static OsStr {
    let bash = OsStr::new("/bin/bash");
    if std::path::Path::new(bash).exists() { bash } else { OsStr::new("/bin/sh") }
}
