//! The jail that a VMM is executed in.
//!
//! [`Jail`] says what the VMM may have. [`Jail::prepare`] opens and allocates all that entering takes; [`Entry::enter`]
//! makes system calls alone, in the child between fork and exec, in this order:
//!
//! 1. its control group, in which another process goes on in its place ([`cgroup::enter`]);
//! 2. namespaces: mount, network, IPC, UTS, and where that takes one a user namespace ([`namespaces`]);
//! 3. a root in which the listed paths are, each at its own place, and nothing else ([`mounts`]);
//! 4. limits, and which descriptors survive the exec;
//! 5. no new privileges, a user of its own, next to no capabilities ([`identity`]);
//! 6. Landlock, the same paths once more ([`ruleset`]);
//! 7. a seccomp filter, below that of the VMM's ([`seccomp`]).
//!
//! Invariants: a root that could not be completed is never executed in, the keeper starts anew without namespaces; without
//! no-new-privileges or the filter nothing is executed; what else the host refused is in [`JailLevel`].

mod identity;
mod level;
mod mounts;
mod namespaces;
mod ruleset;
mod seccomp;
#[cfg(test)]
mod tests;

pub use level::{JailLevel, LandlockLevel, Obstacle};

use crate::cgroup::{self, Cgroup, Resources};
use crate::{MachineSpec, Start};
use identity::Identity;
use landlock::RulesetCreated;
pub(crate) use level::{ChildReport, Report};
use level::{Reporter, Step};
use mounts::Root;
use namespaces::Namespaces;
use rustix::process::{Pid, Resource, Rlimit};
use seccomp::Filter;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// Enough for a VMM with its disks, and for what jailing opens.
const MAX_DESCRIPTORS: u64 = 256;

/// What a VMM may have of its host. Paths are absolute; those that do not exist are left out.
#[derive(Debug, Clone)]
pub(crate) struct Jail {
    /// The machine's: its control group has it.
    pub(crate) name: String,
    /// Read and execute below these.
    pub(crate) programs: Vec<PathBuf>,
    /// Read these files, or below these directories.
    pub(crate) readable: Vec<PathBuf>,
    /// Read and write these files and devices.
    pub(crate) writable: Vec<PathBuf>,
    /// The machine's directory, and the VMM's working directory: its user is derived from it.
    pub(crate) directory: Directory,
    /// It can open its own descriptors by name, as `/proc/self/fd/N`.
    pub(crate) named_descriptors: bool,
    /// Which sockets it may make.
    pub(crate) sockets: Sockets,
    /// It may send signals to threads by `tkill`, which does not say whose they are: a VMM that is linked with musl interrupts its
    /// own threads so. Landlock, and a user of its own, keep it from those of others.
    pub(crate) tkill: bool,
    /// Largest file it may write, in bytes.
    pub(crate) max_file_bytes: u64,
    /// What its control group allows.
    pub(crate) resources: Resources,
}

/// The machine's directory, seen from within.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    pub(crate) may_create: Creates,
}

/// What a VMM may make in its machine's directory, which is the host's where that is anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Creates {
    /// It is an empty place, but for listed paths below it.
    Nothing,
    /// Unix sockets; files too, where there is no Landlock.
    Sockets,
    /// Unix sockets and files, which it may also write to and remove.
    Files,
}

/// Which sockets a VMM may make; those that it inherits are its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sockets {
    None,
    Unix,
}

/// All that entering takes.
pub(crate) struct Entry {
    parent: Pid,
    cgroup: Option<OwnedFd>,
    namespaces: Namespaces,
    root: Root,
    limits: [(Resource, Rlimit); 3],
    inherited: Vec<i32>,
    identity: Identity,
    ruleset: Option<RulesetCreated>,
    filter: Filter,
    reporter: Reporter,
}

impl Jail {
    /// What any VMM has to have for the machine: `programs` to read and execute, its disks, and what it begins with. No sockets,
    /// no descriptors by name, an empty directory.
    pub(crate) fn of(spec: &MachineSpec, programs: PathBuf) -> Self {
        let memory_bytes = u64::from(spec.memory.get()) << 20;
        let resources = Resources { memory_bytes, vcpus: spec.vcpus.get() };
        let bare = Self::bare(&spec.name, programs, spec.directory.clone(), resources);

        let paths = |read_only| {
            let disks = spec.disks.iter().filter(move |disk| disk.read_only == read_only);
            disks.map(|disk| disk.path.clone())
        };
        let begins_with = match &spec.start {
            Start::Restore(snapshot) => [&snapshot.ram, &snapshot.state],
            Start::Boot | Start::BootForSnapshot(_) => [&spec.kernel, &spec.initramfs],
        };
        let readable = paths(true).chain(begins_with.map(PathBuf::clone)).collect();
        let writable = paths(false).chain(bare.writable).collect();
        Self { readable, writable, ..bare }
    }

    /// The same for no machine at all.
    pub(crate) fn bare(name: &str, programs: PathBuf, directory: PathBuf, resources: Resources) -> Self {
        Self {
            name: name.to_owned(),
            programs: vec![programs],
            readable: Vec::new(),
            writable: vec!["/dev/null".into()],
            directory: Directory { path: directory, may_create: Creates::Nothing },
            named_descriptors: false,
            sockets: Sockets::None,
            tkill: false,
            max_file_bytes: pyro_runtime::bundle::SCRATCH_DISK_BYTES,
            resources,
        }
    }

    /// To be called by the process that will fork, which keeps `inherited` open until then.
    pub(crate) fn prepare(
        &self,
        inherited: &[OwnedFd],
        cgroup: Option<&Cgroup>,
    ) -> io::Result<(Entry, Report)> {
        let (report, reporter) = level::channel()?;
        let exactly = |limit| Rlimit { current: Some(limit), maximum: Some(limit) };
        let entry = Entry {
            parent: rustix::process::getpid(),
            cgroup: cgroup.map(Cgroup::entrance).transpose()?,
            namespaces: Namespaces::prepare(),
            root: Root::prepare(self)?,
            limits: [
                (Resource::Core, exactly(0)),
                (Resource::Nofile, exactly(MAX_DESCRIPTORS)),
                (Resource::Fsize, exactly(self.max_file_bytes)),
            ],
            inherited: inherited.iter().map(AsRawFd::as_raw_fd).collect(),
            identity: Identity::prepare(&self.directory.path)?,
            ruleset: Some(ruleset::prepare(self).map_err(io::Error::other)?),
            filter: Filter::prepare(self.sockets, self.tkill).map_err(io::Error::other)?,
            reporter,
        };
        Ok((entry, report))
    }
}

impl Entry {
    /// Enters, irrevocably. For a child of one thread before its exec: it neither allocates nor takes locks.
    pub(crate) fn enter(&mut self) -> io::Result<()> {
        match self.try_enter() {
            Ok(()) => self.reporter.entered(),
            Err(obstacle) => {
                self.reporter.failed(obstacle)?;
                Err(io::Error::from_raw_os_error(obstacle.errno))
            }
        }
    }

    fn try_enter(&mut self) -> Result<(), Obstacle> {
        if let Some(group) = &self.cgroup {
            // SAFETY: a child of one thread before its exec is what `Self::enter` is for, and nobody has asked for an id before.
            #[expect(unsafe_code, reason = "another process may go on from here")]
            let entered = unsafe { cgroup::enter(group) };
            if let Ok(successor) = entered {
                self.reporter.in_cgroup(successor);
            }
        }
        if self.reporter.wants_namespaces() {
            self.namespaces.enter()?;
            self.root.enter()?;
        }
        // After the root: binding takes descriptors, whose numbers may be beyond the limit where pyro has many open.
        for (resource, limit) in self.limits {
            rustix::process::setrlimit(resource, limit).map_err(Step::Limits.failed())?;
        }
        for descriptor in &self.inherited {
            keep_over_exec(*descriptor).map_err(Step::Descriptors.failed())?;
        }
        rustix::thread::set_no_new_privs(true).map_err(Step::NoNewPrivileges.failed())?;
        self.reporter.own_user(self.identity.assume().map_err(Step::Identity.failed())?);
        // A process that took the place of another has no parent-death signal yet; new ids clear it, and so do the capabilities of a
        // new user namespace.
        pyro_runtime::child::die_with(self.parent).map_err(Step::ParentDeath.failed_io())?;
        if let Some(ruleset) = self.ruleset.take() {
            self.reporter.landlock(ruleset::enter(ruleset).map_err(Step::Landlock.failed())?);
        }
        self.filter.enter()
    }
}

pub(crate) fn keep_over_exec(descriptor: i32) -> rustix::io::Result<()> {
    // SAFETY: the keeper owns the descriptor (`inherited`) for the whole life of the closure that calls this.
    #[expect(unsafe_code, reason = "only raw numbers cross the fork")]
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    rustix::io::fcntl_setfd(borrowed, rustix::io::FdFlags::empty())
}
