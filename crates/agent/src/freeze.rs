//! Freeze: the writable disk's file system stands still while the host copies the disk.
//!
//! Whatever writes to it meanwhile waits in the kernel. So freezing and thawing have a thread of their own, which waits for
//! nothing else: not for the pool, whose threads may be among those that wait, and not for the agent's one thread. It thaws
//! when it is told to, when the call is gone, and when the limit has passed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use pyro_protocol::limits::MAX_FREEZE;
use pyro_protocol::v1::{Done, Freeze, input, reply};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::syncfs;
use rustix::io::Errno;
use rustix::ioctl::{NoArg, Opcode, ioctl, opcode};
use tokio::select;
use tokio::sync::oneshot;

use crate::agent::{Agent, Life};
use crate::call::Call;
use crate::fail::Fail;

const FREEZE: Opcode = opcode::read_write::<i32>(b'X', 119);
const THAW: Opcode = opcode::read_write::<i32>(b'X', 120);

/// Freezes the disk, says so, and thaws it when the host ends its input.
pub async fn freeze(agent: &Agent, call: &Call, request: Freeze) -> Result<(), Fail> {
    let limit = Duration::from_millis(request.limit_ms);
    if limit.is_zero() || limit > MAX_FREEZE {
        return Err(Fail::invalid(format!("the limit must be 1 to {} ms", MAX_FREEZE.as_millis())));
    }
    let disk = agent.scratch()?;
    if agent.life() != Life::Configured {
        return Err(Fail::wrong_state("the disk is not ready yet"));
    }
    let claim = Claim::new(&agent.frozen)?;
    let (frozen, freezing) = oneshot::channel();
    let (thawed, mut thawing) = oneshot::channel();
    let (release, released) = channel();
    let hold = move || {
        let result = hold(disk, limit, frozen, &released);
        drop(claim);
        let _ = thawed.send(result);
    };
    thread::Builder::new().spawn(hold).map_err(|error| Fail::os("start a thread", error))?;
    // When it ends without a word, freezing has failed, and its result says why.
    if freezing.await.is_err() {
        return thawing.await.unwrap_or_else(|_| Err(Fail::os("freeze the disk", Errno::IO)));
    }
    call.send(reply::Reply::Done(Done {})).await?;
    select! {
        biased;
        ended = &mut thawing => return ended.unwrap_or_else(|_| Err(Fail::os("thaw the disk", Errno::IO))),
        input = call.input() => match input? {
            input::Input::End(_) => {}
            _ => return Err(Fail::invalid("something else than an end while the disk is frozen")),
        },
    }
    let _ = release.send(());
    thawing.await.unwrap_or_else(|_| Err(Fail::os("thaw the disk", Errno::IO)))
}

/// Freezes `disk`, and thaws it as soon as `released` says so or loses its sender, at the latest after `limit`.
fn hold(
    disk: OwnedFd,
    limit: Duration,
    frozen: oneshot::Sender<()>,
    released: &Receiver<()>,
) -> Result<(), Fail> {
    syncfs(&disk).map_err(|error| Fail::os("flush the disk", error))?;
    control::<FREEZE>(&disk).map_err(|error| Fail::os("freeze the disk", error))?;
    let mut disk = Frozen { disk, thawed: false };
    // The call may be gone already; then so is the sender below.
    let _ = frozen.send(());
    let ended = released.recv_timeout(limit);
    disk.thaw()?;
    match ended {
        Err(RecvTimeoutError::Timeout) => {
            Err(Fail::wrong_state(format!("the disk was thawed after {} ms, the limit", limit.as_millis())))
        }
        Ok(()) | Err(RecvTimeoutError::Disconnected) => Ok(()),
    }
}

/// A frozen disk. It is thawed when this is dropped.
struct Frozen {
    disk: OwnedFd,
    thawed: bool,
}

impl Frozen {
    fn thaw(&mut self) -> Result<(), Fail> {
        self.thawed = true;
        control::<THAW>(&self.disk).map_err(|error| match error {
            Errno::INVAL => Fail::wrong_state("something in the guest has thawed the disk meanwhile"),
            other => Fail::os("thaw the disk", other),
        })
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if !self.thawed {
            let _ = self.thaw();
        }
    }
}

/// The right to freeze, which one call has at a time.
struct Claim(Arc<AtomicBool>);

impl Claim {
    fn new(frozen: &Arc<AtomicBool>) -> Result<Self, Fail> {
        if frozen.swap(true, Ordering::AcqRel) {
            return Err(Fail::wrong_state("the disk is frozen already"));
        }
        Ok(Self(Arc::clone(frozen)))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[expect(unsafe_code, reason = "rustix has no function for these two requests")]
fn control<const REQUEST: Opcode>(disk: impl AsFd) -> rustix::io::Result<()> {
    // SAFETY: freezing and thawing a file system ignore the argument and touch no memory of this process.
    unsafe { ioctl(disk, NoArg::<REQUEST>::new()) }
}
