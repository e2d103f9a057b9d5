//! Child processes that inherit nothing that is not meant for them, and that do not outlive pyro, unless they are to.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, getpid, getppid, nice, set_parent_process_death_signal, setsid};

/// Makes the process of `command` die with the thread that starts it, and close every descriptor but its standard ones
/// when it is executed; a later `pre_exec` may exempt some.
///
/// The kernel ties a parent-death signal to the thread that forked: start the process from a thread that lives at least
/// as long, and wait for it there.
pub fn attach(command: &mut Command) {
    let parent = getpid();
    let in_child = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // Whether the parent was gone before the signal was asked for.
        if getppid() != Some(parent) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        close_others_on_exec();
        Ok(())
    };
    // SAFETY: between fork and exec the closure only makes system calls; it neither allocates nor takes locks.
    #[expect(unsafe_code, reason = "std offers no other way to act in the child")]
    unsafe {
        command.pre_exec(in_child);
    }
}

/// Behind everything that somebody waits for.
const NICENESS: i32 = 10;

/// Makes the process of `command` one of its own: in a session where no terminal reaches it, with low priority, and with no
/// descriptor but its standard ones, so that nobody waits for it because of a pipe or a lock.
pub fn detach(command: &mut Command) {
    let in_child = || {
        setsid()?;
        nice(NICENESS)?;
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
