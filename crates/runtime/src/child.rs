//! Child processes that inherit nothing that is not meant for them, and that do not outlive pyro, unless they are to.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal, getpid, getppid, nice, set_parent_process_death_signal, setsid};

/// Makes the process of `command` die with the thread that starts it, and close every descriptor but its standard ones
/// when it is executed; a later `pre_exec` may exempt some.
///
/// The kernel ties a parent-death signal to the thread that forked: start the process from a thread that lives at least
/// as long, and wait for it there.
pub fn attach(command: &mut Command) {
    let parent = getpid();
    let in_child = move || {
        die_with(parent)?;
        close_others_on_exec();
        Ok(())
    };
    // SAFETY: between fork and exec the closure only makes system calls; it neither allocates nor takes locks.
    #[expect(unsafe_code, reason = "std offers no other way to act in the child")]
    unsafe {
        command.pre_exec(in_child);
    }
}

/// Makes the calling process die with the thread of `parent` whose child it is; fails with `BrokenPipe` when that is gone already.
/// To be repeated after every change of ids and every gain of capabilities, which clear the signal, and by a process that takes the
/// place of the caller. For the time between fork and exec: it makes system calls alone.
pub fn die_with(parent: Pid) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // Whether the parent was gone before the signal was asked for.
    if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
}

/// How urgent the work of a detached process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Somebody waits for it.
    Normal,
    /// Behind everything that somebody waits for.
    Background,
}

impl Priority {
    const BACKGROUND_NICENESS: i32 = 10;

    fn niceness(self) -> i32 {
        match self {
            Self::Normal => 0,
            Self::Background => Self::BACKGROUND_NICENESS,
        }
    }
}

/// Starts `command` as a process of its own: in a session where no terminal reaches it, in the root directory, and with no
/// descriptor but its standard ones, so that nobody waits for it because of a pipe or a lock. It lives on when this process
/// ends; where it ends first, it leaves no zombie.
pub fn spawn_detached(mut command: Command, priority: Priority) -> io::Result<()> {
    const STACK_BYTES: usize = 64 * 1024;
    detach(&mut command, priority);
    let mut child = command.current_dir("/").spawn()?;
    // The command holds the child's ends of what it is given; they are the child's alone.
    drop(command);
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || child.wait())?;
    Ok(())
}

/// Makes the process of `command` lead a session of its own, which is also its process group's: no terminal reaches it, it can be
/// killed together with what it starts, and it has no descriptor but its standard ones.
pub fn own_session(command: &mut Command) {
    detach(command, Priority::Normal);
}

fn detach(command: &mut Command, priority: Priority) {
    let in_child = move || {
        setsid()?;
        nice(priority.niceness())?;
        close_others_on_exec();
        Ok(())
    };
    // SAFETY: between fork and exec the closure only makes system calls; it neither allocates nor takes locks.
    #[expect(unsafe_code, reason = "std offers no other way to act in the child")]
    unsafe {
        command.pre_exec(in_child);
    }
}

/// Kernels before 5.11 do not know the call; there, only what pyro itself opened is closed, as std opens everything so.
fn close_others_on_exec() {
    const FIRST: libc::c_uint = 3;
    // SAFETY: the call only marks descriptors of this process, which is about to execute another program.
    #[expect(unsafe_code, reason = "no safe wrapper offers the flag")]
    unsafe {
        libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
    }
}
