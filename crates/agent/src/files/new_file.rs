//! A file that is written beside its place and put there when it is complete.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, Read};

use pyro_protocol::v1::FailureKind;
use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, fchmod, fchown, fsync, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid, geteuid};
use rustix::rand::{GetRandomFlags, getrandom};

use super::PERMISSIONS;
use crate::fail::Fail;

/// The regular file that lies at `name`, if any; anything else there is not replaced.
pub fn replaceable(directory: &OwnedFd, name: &OsStr) -> Result<Option<Stat>, Fail> {
    let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(Fail::os("look at the file", error)),
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(Some(stat)),
        FileType::Symlink => Err(Fail::new(FailureKind::UnsafePath, "the path is a symbolic link")),
        _ => Err(Fail::invalid("the path exists and is not a regular file")),
    }
}

/// A name that nothing has, for a file beside another: not even what a guest before this one, on the same disk, has left.
pub fn name_beside() -> OsString {
    let mut random = [0; 8];
    // Short reads and interruptions do not happen to so few bytes.
    let _filled = getrandom(&mut random, GetRandomFlags::empty());
    OsString::from(format!(".pyro-{:016x}.tmp", u64::from_ne_bytes(random)))
}

/// Makes what was done to the names in `directory`, which may be open as a place to start from only, last.
pub fn sync_directory(directory: &OwnedFd) -> Result<(), Fail> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let synced = openat(directory, ".", flags, Mode::empty()).and_then(fsync);
    match synced {
        // A file system whose directories need no flushing.
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(error) => Err(Fail::os("flush the directory", error)),
    }
}

/// A file being written beside the one it will replace. Dropping it removes it, unless it was kept or has its place.
pub struct NewFile {
    directory: OwnedFd,
    name: OsString,
    file: File,
    placed: bool,
}

impl NewFile {
    pub fn create(directory: OwnedFd) -> Result<Self, Fail> {
        let name = name_beside();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&directory, &name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| Fail::os("create a file", error))?;
        Ok(Self { directory, name, file: File::from(file), placed: false })
    }

    /// Writes all that `input` has.
    pub fn fill(&mut self, input: &mut impl Read) -> Result<u64, Fail> {
        io::copy(input, &mut self.file).map_err(|error| match error.kind() {
            ErrorKind::ConnectionAborted => Fail::host_gone(),
            ErrorKind::Other => Fail::invalid(error.to_string()),
            _ => Fail::os("write the file", error),
        })
    }

    /// Takes over mode and owner of the file to be replaced, or gets `mode`.
    pub fn adopt(&self, replaced: Option<&Stat>, mode: u32) -> Result<(), Fail> {
        if let Some(replaced) = replaced
            && geteuid().is_root()
        {
            let (user, group) = (Uid::from_raw(replaced.st_uid), Gid::from_raw(replaced.st_gid));
            fchown(&self.file, Some(user), Some(group)).map_err(|error| Fail::os("set the owner", error))?;
        }
        let mode = replaced.map_or(mode, |replaced| replaced.st_mode) & PERMISSIONS;
        fchmod(&self.file, Mode::from_raw_mode(mode)).map_err(|error| Fail::os("set the mode", error))
    }

    /// Puts it at `name`. Once this returns it is on the disk: the journal that has the name has the parents' as well.
    pub fn place(mut self, name: &OsStr) -> Result<(), Fail> {
        fsync(&self.file).map_err(|error| Fail::os("flush the file", error))?;
        renameat(&self.directory, &self.name, &self.directory, name)
            .map_err(|error| Fail::os("put the file in its place", error))?;
        self.placed = true;
        sync_directory(&self.directory)
    }

    /// Leaves it where it is, to the caller, under the name that is returned.
    pub fn keep(mut self) -> OsString {
        self.placed = true;
        std::mem::take(&mut self.name)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.placed {
            let _ = unlinkat(&self.directory, &self.name, AtFlags::empty());
        }
    }
}
