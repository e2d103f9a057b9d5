//! An ordinary process: the same protocol on an inherited stream socket, until its peer closes it.
//!
//! Everything that was started ends with the agent: as a subreaper it inherits what would otherwise get away.

use std::io;
use std::rc::Rc;

use rustix::fd::{FromRawFd, OwnedFd, RawFd};
use rustix::io::{Errno, FdFlags, fcntl_setfd, ioctl_fionbio};
use rustix::net::{SocketType, sockopt::socket_type};
use rustix::process::{Signal, getpid, set_child_subreaper, set_parent_process_death_signal};
use tokio::select;
use tokio::signal::unix::{SignalKind, signal};

use crate::agent::{Agent, Mode};
use crate::channel::Channel;
use crate::power;
use crate::serve::{Ended, serve};

/// Serves the socket `channel_fd`, in `mode`, which is that of a process.
pub fn run(channel_fd: RawFd, mode: Mode) -> io::Result<()> {
    // A signal that is handled: what the commands started has to end as well when pyro is killed.
    set_parent_process_death_signal(Some(Signal::TERM))?;
    set_child_subreaper(Some(getpid()))?;
    let channel = Rc::new(inherited_socket(channel_fd)?);
    let agent = Rc::new(Agent::new(mode));
    crate::runtime()?.block_on(async {
        crate::start_reaper(&agent)?;
        let mut terminated = signal(SignalKind::terminate())?;
        let ended = select! {
            ended = serve(&agent, Channel::new(channel)?) => ended,
            _ = terminated.recv() => Ok(Ended::HostGone),
        };
        match ended {
            Ok(Ended::PowerOff { grace }) => power::end_processes(&agent, grace).await,
            _ => drop(power::kill_processes(&agent).await),
        }
        ended.map(|_| ())
    })
}

fn inherited_socket(fd: RawFd) -> io::Result<OwnedFd> {
    let socket = take(fd)?;
    if socket_type(&socket)? != SocketType::STREAM {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a stream socket"));
    }
    fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
    ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

#[expect(unsafe_code, reason = "an inherited descriptor has no owner to take it from safely")]
fn take(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: the caller of the program passes this descriptor for the agent to own, and nothing has used it so far.
    // If it is not open, the first use of it fails and drops it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
