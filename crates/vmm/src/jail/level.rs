//! How far a jail got on this host, told by the child to its keeper through a pipe.
//!
//! One message, written before the exec: the step that failed or none and what was entered, the errno, and which process it is,
//! where it is not the one that was forked.

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How much of the jail this host granted a VMM. No-new-privileges and the seccomp filter are always in force: without them
/// none is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JailLevel {
    /// It sees the listed paths alone, no network and nobody's IPC, by namespaces of its own; or what was in the way of that.
    pub namespaces: Result<(), Obstacle>,
    /// It runs as a user that nobody else is. Only root can do that; a VMM of another user runs as that user.
    pub own_user: bool,
    /// Landlock.
    pub landlock: LandlockLevel,
    /// A control group bounds its memory, processors and threads.
    pub cgroup: bool,
}

/// How many of Landlock's rules the kernel knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LandlockLevel {
    /// All that were asked for.
    Full,
    /// Some.
    Partial,
    /// None: the kernel is without it.
    None,
}

impl LandlockLevel {
    /// The name in results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Partial => "partial",
            Self::None => "none",
        }
    }
}

/// What failed while a jail was entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Obstacle {
    pub(super) step: Step,
    pub(super) errno: i32,
}

impl Obstacle {
    /// Whether the VMM may be started without namespaces instead.
    pub(crate) fn concerns_namespaces(self) -> bool {
        self.step <= Step::Directory
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.step.action(), io::Error::from_raw_os_error(self.errno))
    }
}

impl std::error::Error for Obstacle {}

/// The steps, those of the namespaces first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Namespaces,
    UserMap,
    Propagation,
    Sources,
    Root,
    Places,
    Bind,
    Restrict,
    Pivot,
    Directory,
    Limits,
    Descriptors,
    NoNewPrivileges,
    Identity,
    ParentDeath,
    Landlock,
    Filter,
}

impl Step {
    const ALL: [(Self, &'static str); 17] = [
        (Self::Namespaces, "make namespaces"),
        (Self::UserMap, "map users into a namespace"),
        (Self::Propagation, "make mounts private"),
        (Self::Sources, "open the sources of mounts"),
        (Self::Root, "mount a root"),
        (Self::Places, "make places for mounts"),
        (Self::Bind, "bind paths into the root"),
        (Self::Restrict, "restrict mounts"),
        (Self::Pivot, "change the root"),
        (Self::Directory, "enter the machine's directory in the new root"),
        (Self::Limits, "set limits"),
        (Self::Descriptors, "keep descriptors"),
        (Self::NoNewPrivileges, "renounce new privileges"),
        (Self::Identity, "give up privileges"),
        (Self::ParentDeath, "die with the parent"),
        (Self::Landlock, "enter Landlock"),
        (Self::Filter, "filter system calls"),
    ];

    fn action(self) -> &'static str {
        Self::ALL.iter().find(|(step, _)| *step == self).map_or("enter the jail", |(_, action)| action)
    }

    pub(super) fn failed(self) -> impl Fn(Errno) -> Obstacle {
        move |error| Obstacle { step: self, errno: error.raw_os_error() }
    }

    pub(super) fn failed_io(self) -> impl Fn(io::Error) -> Obstacle {
        move |error| Obstacle { step: self, errno: error.raw_os_error().unwrap_or(libc::EIO) }
    }
}

type Message = [[u8; 4]; 3];
const NO_STEP: u8 = u8::MAX;
const OWN_USER: u8 = 1;
const IN_CGROUP: u8 = 2;
const LANDLOCK: [LandlockLevel; 3] = [LandlockLevel::None, LandlockLevel::Partial, LandlockLevel::Full];

/// What a child said of itself.
pub(crate) struct ChildReport {
    /// The process that goes on in the place of the one that was forked, and is to be waited for like that.
    pub(crate) successor: Option<Pid>,
    pub(crate) jail: Result<JailLevel, Obstacle>,
}

/// The keeper's end.
pub(crate) struct Report {
    pipe: OwnedFd,
    /// Shared until the fork: what a child finds is what its keeper last decided.
    namespaces: Arc<AtomicBool>,
}

/// The child's end. It is closed by the exec.
pub(super) struct Reporter {
    pipe: OwnedFd,
    namespaces: Arc<AtomicBool>,
    flags: u8,
    landlock: u8,
    successor: Option<Pid>,
}

pub(super) fn channel() -> io::Result<(Report, Reporter)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let namespaces = Arc::new(AtomicBool::new(true));
    let namespaces_of_child = Arc::clone(&namespaces);
    let reporter =
        Reporter { pipe: write, namespaces: namespaces_of_child, flags: 0, landlock: 0, successor: None };
    Ok((Report { pipe: read, namespaces }, reporter))
}

impl Reporter {
    pub(super) fn wants_namespaces(&self) -> bool {
        self.namespaces.load(Ordering::Relaxed)
    }

    pub(super) fn own_user(&mut self, changed: bool) {
        self.flags |= if changed { OWN_USER } else { 0 };
    }

    pub(super) fn in_cgroup(&mut self, successor: Option<Pid>) {
        self.flags |= IN_CGROUP;
        self.successor = successor;
    }

    pub(super) fn landlock(&mut self, level: LandlockLevel) {
        self.landlock = match level {
            LandlockLevel::None => 0,
            LandlockLevel::Partial => 1,
            LandlockLevel::Full => 2,
        };
    }

    pub(super) fn entered(&self) -> io::Result<()> {
        self.write(NO_STEP, 0)
    }

    pub(super) fn failed(&self, obstacle: Obstacle) -> io::Result<()> {
        let step = Step::ALL.iter().position(|(step, _)| *step == obstacle.step);
        self.write(step.and_then(|step| u8::try_from(step).ok()).unwrap_or(NO_STEP), obstacle.errno)
    }

    fn write(&self, step: u8, errno: i32) -> io::Result<()> {
        let level = [step, self.flags, self.landlock, 0];
        let message: Message = [level, errno.to_le_bytes(), Pid::as_raw(self.successor).to_le_bytes()];
        rustix::io::write(&self.pipe, message.as_flattened())?;
        Ok(())
    }
}

impl Report {
    /// Has the next child do without namespaces.
    pub(crate) fn renounce_namespaces(&self) {
        self.namespaces.store(false, Ordering::Relaxed);
    }

    /// What the child said before its exec. Nothing where it ended before it entered.
    pub(crate) fn read(&self) -> io::Result<ChildReport> {
        let mut message = Message::default();
        if rustix::io::read(&self.pipe, message.as_flattened_mut())? != size_of::<Message>() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let [[step, flags, landlock, _], errno, successor] = message;
        let successor = Pid::from_raw(i32::from_le_bytes(successor));
        let jail = match Step::ALL.get(usize::from(step)) {
            Some((step, _)) => Err(Obstacle { step: *step, errno: i32::from_le_bytes(errno) }),
            None => Ok(JailLevel {
                namespaces: Ok(()),
                own_user: flags & OWN_USER != 0,
                landlock: LANDLOCK.get(usize::from(landlock)).copied().unwrap_or(LandlockLevel::None),
                cgroup: flags & IN_CGROUP != 0,
            }),
        };
        Ok(ChildReport { successor, jail })
    }
}
