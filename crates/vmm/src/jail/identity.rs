//! Whom a VMM runs as.
//!
//! Started by root it becomes a user of the machine's own, that no account and no other machine has: nothing of the host's
//! belongs to it, and nobody else's processes are its to signal or trace. It keeps the two capabilities that let it open the
//! files of its jail whoever owns them, which saves changing owners; where there is no root of its own, Landlock is what keeps
//! these from the rest. Started by another user it stays that user, without capabilities.

use pyro_runtime::Sha256Digest;
use rustix::io::Errno;
use rustix::process::geteuid;
use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Where ids of machines begin: from here to 2³¹ nobody allocates any, neither distributions, systemd nor containers.
const FIRST_ID: u32 = 0x7000_0000;
const ID_BITS: u32 = 28;

pub(super) struct Identity {
    /// Its own user and group; none to stay the user that it is.
    own: Option<(Uid, Gid)>,
    kept: CapabilitySet,
    dropped: CapabilitySet,
}

impl Identity {
    pub(super) fn prepare(directory: &Path) -> io::Result<Self> {
        if !geteuid().is_root() {
            let none = CapabilitySet::empty();
            return Ok(Self { own: None, kept: none, dropped: none });
        }
        let permitted = capabilities(None)?.permitted;
        let wanted = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
        let id = own_id(directory);
        let may_change = permitted.contains(CapabilitySet::SETUID | CapabilitySet::SETGID);
        Ok(Self {
            own: may_change.then(|| (Uid::from_raw(id), Gid::from_raw(id))),
            kept: wanted & permitted,
            dropped: CapabilitySet::all().difference(wanted),
        })
    }

    /// In the child. Returns whether the user is the machine's own now.
    pub(super) fn assume(&self) -> rustix::io::Result<bool> {
        for capability in self.dropped.iter() {
            match remove_capability_from_bounding_set(capability) {
                // Unknown to this kernel, or not ours to drop, as for root in a container: then it is not ours to have.
                Ok(()) | Err(Errno::INVAL | Errno::PERM) => {}
                Err(error) => return Err(error),
            }
        }
        // Else they would go with the user, before they could be made to stay.
        set_keep_capabilities(true)?;
        let changed = self.own.is_some_and(|(user, group)| change(user, group).is_ok());
        set_keep_capabilities(false)?;
        let kept = self.kept;
        set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: kept })?;
        for capability in kept.iter() {
            configure_capability_in_ambient_set(capability, true)?;
        }
        Ok(changed)
    }
}

/// Fails in a user namespace that lacks these ids; the user stays what it is then.
fn change(user: Uid, group: Gid) -> rustix::io::Result<()> {
    set_thread_groups(&[])?;
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)
}

/// No two machines have one directory at a time.
fn own_id(directory: &Path) -> u32 {
    let digest = Sha256Digest::of(directory.as_os_str().as_bytes()).short();
    let hash = u64::from_str_radix(&digest, 16).unwrap_or_default() >> (u64::BITS - ID_BITS);
    FIRST_ID | u32::try_from(hash).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_a_machines_own_and_nobody_elses() {
        let names = ["/a", "/b", "/state/probe/x", ""].map(Path::new);
        for name in names {
            assert!((FIRST_ID..1 << 31).contains(&own_id(name)), "{name:?}");
            assert_eq!(names.iter().filter(|other| own_id(other) == own_id(name)).count(), 1, "{name:?}");
        }
    }
}
