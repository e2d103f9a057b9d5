//! Namespaces of the VMM's own: mounts, network, IPC and host name.
//!
//! Whoever may not make them directly gets a user namespace first, in which the own ids are mapped to themselves and no other
//! id exists.

use super::level::{Obstacle, Step};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{getegid, geteuid};
use rustix::thread::{CapabilitySet, UnshareFlags, capabilities, unshare_unsafe};
use std::ffi::CStr;

pub(super) struct Namespaces {
    flags: UnshareFlags,
    /// Files of the new user namespace, and what they are to hold.
    maps: Vec<(&'static CStr, String)>,
}

impl Namespaces {
    pub(super) fn prepare() -> Self {
        let flags = UnshareFlags::NEWNS | UnshareFlags::NEWNET | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
        let may = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN));
        if may {
            return Self { flags, maps: vec![] };
        }
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        let maps = vec![
            // Else the map of groups could not be written.
            (c"/proc/self/setgroups", "deny".to_owned()),
            (c"/proc/self/uid_map", format!("{uid} {uid} 1\n")),
            (c"/proc/self/gid_map", format!("{gid} {gid} 1\n")),
        ];
        Self { flags: flags | UnshareFlags::NEWUSER, maps }
    }

    /// In the child.
    pub(super) fn enter(&self) -> Result<(), Obstacle> {
        // SAFETY: the flags leave the table of descriptors shared, and the child has one thread.
        #[expect(unsafe_code, reason = "other flags would endanger other threads")]
        unsafe { unshare_unsafe(self.flags) }.map_err(Step::Namespaces.failed())?;
        for (path, content) in &self.maps {
            write(path, content.as_bytes()).map_err(Step::UserMap.failed())?;
        }
        Ok(())
    }
}

fn write(path: &CStr, content: &[u8]) -> rustix::io::Result<()> {
    let file = openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, content).map(drop)
}
