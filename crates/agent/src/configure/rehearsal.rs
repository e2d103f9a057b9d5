//! A template's stay in a root that is joined like its clones' will be, so that what they will do was done before.
//!
//! It ends in one of two ways before the template's memory is taken. Either it is taken apart ([`Rehearsal::end`]), and clones may
//! have any writable disk. Or it is kept ([`keep`]): its file systems stay mounted in memory, so that clones need
//! a disk that is, byte for byte, what the template's was at that moment. They move in by [`Rehearsal::leave`] and a change of
//! roots.

use rustix::fd::OwnedFd;
use rustix::fs::syncfs;
use rustix::mount::{UnmountFlags, mount_bind_recursive, unmount};
use rustix::process::{chdir, chroot, fchdir};

use super::root::{
    LIB_MODULES_DIR, OVERLAY_OPTIONS, ROOT_DIR, SCRATCH_DIR, STAGED, Staged, fill_in, mount_overlay,
    mount_scratch, open_directory, open_staged, with_directory,
};
use crate::fail::Fail;

/// The stay; the agent's root is the joined one.
#[derive(Debug)]
pub struct Rehearsal {
    initramfs: OwnedFd,
}

impl Rehearsal {
    /// Joins the staged image and the writable disk, and moves in.
    pub fn begin(staged: &Staged) -> Result<Self, Fail> {
        let initramfs = open_directory("/")?;
        // Not to be held: it has to be unmounted.
        drop(mount_scratch(staged)?);
        mount_overlay(OVERLAY_OPTIONS)?;
        for (mounted, target) in STAGED.iter().filter(|(mounted, _)| open_staged(mounted).is_some()) {
            let target = format!("{ROOT_DIR}{target}");
            with_directory(&target, || mount_bind_recursive(*mounted, &target))
                .map_err(|error| Fail::os(&format!("bind {mounted} to {target}"), error))?;
        }
        chdir(ROOT_DIR)
            .and_then(|()| chroot("."))
            .map_err(|error| Fail::os("enter the root for a rehearsal", error))?;
        fill_in()?;
        Ok(Self { initramfs })
    }

    /// Moves out, and takes the root apart again: nothing of the writable disk is mounted then, which a second mount of a
    /// clone's would otherwise find in memory.
    pub fn end(self) -> Result<(), Fail> {
        // Not to be held either.
        drop(self.leave()?);
        take_apart()?;
        unmount_now(SCRATCH_DIR)
    }

    /// Moves out, and returns the root of the writable disk.
    pub fn leave(&self) -> Result<OwnedFd, Fail> {
        fchdir(&self.initramfs)
            .and_then(|()| chroot("."))
            .map_err(|error| Fail::os("leave the root after a rehearsal", error))?;
        open_directory(SCRATCH_DIR)
    }
}

/// Leaves everything as it is, for clones with the same disk, and has the disk hold all of it: what a clone boots from where it
/// cannot be restored.
pub fn keep() -> Result<(), Fail> {
    // The overlay passes it on to the disk.
    syncfs(open_directory("/")?).map_err(|error| Fail::os("flush the disk", error))
}

/// Unmounts the root that was left; the writable disk stays mounted.
pub fn take_apart() -> Result<(), Fail> {
    for target in STAGED.iter().map(|(_, target)| *target).chain([LIB_MODULES_DIR]) {
        // What was bound is only detached here, not unmounted; what was not bound is not there.
        let _ = unmount(format!("{ROOT_DIR}{target}"), UnmountFlags::DETACH);
    }
    unmount_now(ROOT_DIR)
}

fn unmount_now(target: &str) -> Result<(), Fail> {
    unmount(target, UnmountFlags::empty())
        .map_err(|error| Fail::os(&format!("unmount {target} after a rehearsal"), error))
}
