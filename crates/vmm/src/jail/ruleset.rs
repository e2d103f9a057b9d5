//! Landlock: the paths of the jail once more, for hosts without namespaces and against mistakes with them; no TCP, and no
//! signals and abstract sockets to processes outside.

use super::level::LandlockLevel;
use super::{Creates, Jail};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::io::Errno;
use std::path::{Path, PathBuf};

const LANDLOCK_ABI: ABI = ABI::V6;

/// The rules, with the descriptors that they need opened and closed again.
pub(super) fn prepare(jail: &Jail) -> Result<RulesetCreated, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev | AccessFs::Truncate;
    let files = AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg | AccessFs::RemoveFile;
    let mut created = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK_ABI))?
        .handle_access(AccessNet::from_all(LANDLOCK_ABI))?
        .scope(Scope::from_all(LANDLOCK_ABI))?
        .create()?;
    created = allow(created, &jail.programs, read | AccessFs::Execute)?;
    created = allow(created, &jail.readable, read)?;
    created = allow(created, &jail.writable, write)?;
    match jail.directory.may_create {
        Creates::Nothing => Ok(created),
        Creates::Sockets => allow(created, [&jail.directory.path], read | AccessFs::MakeSock),
        Creates::Files => allow(created, [&jail.directory.path], read | AccessFs::MakeSock | files),
    }
}

/// In the child.
pub(super) fn enter(ruleset: RulesetCreated) -> rustix::io::Result<LandlockLevel> {
    // The call says no more than that it failed.
    let status = ruleset.restrict_self().map_err(|_| Errno::PERM)?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => LandlockLevel::Full,
        RulesetStatus::PartiallyEnforced => LandlockLevel::Partial,
        RulesetStatus::NotEnforced => LandlockLevel::None,
    })
}

/// Paths that do not exist on this host need no rule.
fn allow<'a>(
    mut ruleset: RulesetCreated,
    paths: impl IntoIterator<Item = &'a PathBuf>,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    for path in paths {
        if let Ok(descriptor) = PathFd::new(path) {
            let access = access_to(path, access);
            ruleset = ruleset.add_rule(PathBeneath::new(descriptor, access))?;
        }
    }
    Ok(ruleset)
}

fn access_to(path: &Path, access: BitFlags<AccessFs>) -> BitFlags<AccessFs> {
    if path.is_dir() { access } else { access & AccessFs::from_file(LANDLOCK_ABI) }
}
