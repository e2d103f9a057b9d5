//! What a VMM's process may still do, set on the keeper thread before it forks.
//!
//! No new privileges and next to no capabilities, always. Landlock as far as the kernel has it: only the listed paths, no TCP, no signals or
//! abstract sockets outside. Resource limits on the child alone.

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, Scope,
};
use rustix::process::{Resource, Rlimit};
use rustix::thread::CapabilitySet;
use std::io;
use std::path::PathBuf;

const LANDLOCK_ABI: ABI = ABI::V6;

/// The confinement of one process.
#[derive(Debug, Clone)]
pub(crate) struct Confinement {
    /// Read and execute below these.
    pub(crate) programs: Vec<PathBuf>,
    /// Read these files, or below these directories.
    pub(crate) readable: Vec<PathBuf>,
    /// Read and write these files and devices.
    pub(crate) writable: Vec<PathBuf>,
    /// Largest file it may write, in bytes.
    pub(crate) max_file_bytes: u64,
    /// Without a file-system view of its own: the host-compatible engine, which is not confined.
    pub(crate) unconfined: bool,
}

impl Confinement {
    /// No confinement at all, for the engine that has none to offer.
    pub(crate) fn none() -> Self {
        Self {
            programs: vec![],
            readable: vec![],
            writable: vec![],
            max_file_bytes: u64::MAX,
            unconfined: true,
        }
    }

    /// Confines the calling thread, irrevocably, and whatever it starts.
    pub(crate) fn enter_thread(&self) -> io::Result<()> {
        if self.unconfined {
            return Ok(());
        }
        rustix::thread::set_no_new_privs(true)?;
        drop_capabilities()?;
        let ruleset = self.ruleset().map_err(io::Error::other)?;
        ruleset.restrict_self().map_err(io::Error::other)?;
        Ok(())
    }

    /// Limits for the child.
    pub(crate) fn limits(&self) -> Vec<(Resource, Rlimit)> {
        if self.unconfined {
            return vec![];
        }
        let exactly = |limit| Rlimit { current: Some(limit), maximum: Some(limit) };
        vec![
            (Resource::Core, exactly(0)),
            (Resource::Nofile, exactly(256)),
            (Resource::Fsize, exactly(self.max_file_bytes)),
        ]
    }

    fn ruleset(&self) -> Result<RulesetCreated, landlock::RulesetError> {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let write = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev | AccessFs::Truncate;
        let created = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(LANDLOCK_ABI))?
            .handle_access(AccessNet::from_all(LANDLOCK_ABI))?
            .scope(Scope::from_all(LANDLOCK_ABI))?
            .create()?;
        let created = allow(created, &self.programs, read | AccessFs::Execute)?;
        let created = allow(created, &self.readable, read)?;
        allow(created, &self.writable, write)
    }
}

/// As root, what is executed next would have every capability. It keeps those that let root read files of others, such as
/// a cache in a user's home, within what landlock allows.
fn drop_capabilities() -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let kept = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    for capability in CapabilitySet::all().difference(kept).iter() {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // Unknown to this kernel, or not ours to drop, as for root in a container: then it is not ours to have.
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Paths that do not exist on this host need no rule.
fn allow(
    mut ruleset: RulesetCreated,
    paths: &[PathBuf],
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, landlock::RulesetError> {
    for path in paths {
        if let Ok(descriptor) = PathFd::new(path) {
            let access = if path.is_dir() { access } else { access & AccessFs::from_file(LANDLOCK_ABI) };
            ruleset = ruleset.add_rule(PathBeneath::new(descriptor, access))?;
        }
    }
    Ok(ruleset)
}
