//! A root of the VMM's own: a small tmpfs with the listed paths in it, each bound at its own absolute path.
//!
//! Sources are opened as detached mounts before anything is covered; the tmpfs is mounted over the machine's directory, which
//! is there for certain and nobody else's; the old root is detached with all that was in it. Mounts keep what restricts their
//! source, and get what restricts their use: no writing, executing, devices or set-user-ID programs but where that is what
//! they are for.

use super::level::{Obstacle, Step};
use super::{Creates, Directory, Jail};
use rustix::fs::{CWD, FileType, Mode, OFlags, StatVfsMountFlags, mkdirat, openat, stat, statvfs};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_change,
    mount_remount, move_mount, open_tree, unmount,
};
use rustix::process::{chdir, pivot_root};
use std::collections::HashSet;
use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Directories and empty files, which bytes are not counted for, and nothing else.
const TMPFS: &std::ffi::CStr = c"mode=0755,size=64k,nr_inodes=4k";

/// Resolved by the child, so that it is its own, which it stays over the exec. What is opened through it is Landlock's
/// matter: these links lead out of any root.
const OWN_DESCRIPTORS: &str = "/proc/self/fd";

/// The new root, as it is to be.
pub(super) struct Root {
    directory: CString,
    places: Vec<Place>,
}

/// One place in it.
struct Place {
    /// Relative to the root: what has to be there for it and is not there for one before it, outermost first.
    parents: Vec<CString>,
    /// Relative to the root.
    path: CString,
    is_directory: bool,
    bind: Option<Bind>,
}

struct Bind {
    source: CString,
    flags: MountFlags,
    tree: Option<OwnedFd>,
}

/// A path and what may be done with it.
struct Grant {
    path: PathBuf,
    write: bool,
    execute: bool,
}

impl Grant {
    /// Whether `other` needs no mount of its own. What may be written always has one.
    fn covers(&self, other: &Self) -> bool {
        !self.write && !other.write && (self.execute || !other.execute) && other.path.starts_with(&self.path)
    }
}

impl Root {
    /// Fails with `InvalidInput` for a path that is not absolute, or that climbs.
    pub(super) fn prepare(jail: &Jail) -> io::Result<Self> {
        let mut places = Vec::new();
        for grant in grants(jail) {
            places.extend(Place::bound(&grant)?);
        }
        let Directory { path, may_create } = &jail.directory;
        if *may_create == Creates::Nothing && !places.iter().any(|place| is_beneath(path, place)) {
            places.push(Place::new(path, true)?);
        }
        // What lies in another comes after it.
        places.sort_by(|a, b| a.path.cmp(&b.path));
        let mut made = HashSet::new();
        for place in &mut places {
            place.parents.retain(|parent| made.insert(parent.clone()));
            made.insert(place.path.clone());
        }
        Ok(Self { directory: c_string(path)?, places })
    }

    /// In the child, which has a mount namespace of its own.
    pub(super) fn enter(&mut self) -> Result<(), Obstacle> {
        mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
            .map_err(Step::Propagation.failed())?;
        for bind in self.places.iter_mut().filter_map(|place| place.bind.as_mut()) {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            bind.tree = Some(open_tree(CWD, bind.source.as_c_str(), flags).map_err(Step::Sources.failed())?);
        }
        let directory = self.directory.as_c_str();
        mount(c"pyro", directory, c"tmpfs", MountFlags::NOSUID | MountFlags::NODEV, TMPFS)
            .and_then(|()| chdir(directory))
            .map_err(Step::Root.failed())?;
        for place in &mut self.places {
            place.make().map_err(Step::Places.failed())?;
            place.attach()?;
        }
        // The old root ends up on top of the new one, from where it is taken away.
        pivot_root(c".", c".")
            .and_then(|()| unmount(c".", UnmountFlags::DETACH))
            .map_err(Step::Pivot.failed())?;
        let sealed = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount_remount(c"/", MountFlags::BIND | sealed, c"").map_err(Step::Restrict.failed())?;
        chdir(directory).map_err(Step::Directory.failed())
    }
}

fn grants(jail: &Jail) -> Vec<Grant> {
    let read = |execute| move |path: &PathBuf| Grant { path: path.clone(), write: false, execute };
    let write = |path: &PathBuf| Grant { path: path.clone(), write: true, execute: false };
    let creates = jail.directory.may_create != Creates::Nothing;
    let directory = creates.then_some(&jail.directory.path);
    let mut kept: Vec<Grant> = Vec::new();
    let all = jail.programs.iter().map(read(true));
    let all = all.chain(jail.readable.iter().map(read(false)));
    let descriptors = jail.named_descriptors.then(|| PathBuf::from(OWN_DESCRIPTORS));
    let all = all.chain(descriptors.iter().map(read(false)));
    for grant in all.chain(jail.writable.iter().chain(directory).map(write)) {
        // The strongest of two for the same path is the later one.
        kept.retain(|earlier| earlier.path != grant.path || !grant.write);
        if !kept.iter().any(|earlier| earlier.covers(&grant) || earlier.path == grant.path) {
            kept.push(grant);
        }
    }
    kept
}

impl Place {
    fn new(path: &Path, is_directory: bool) -> io::Result<Self> {
        let relative = relative(path)?;
        let ancestors = relative.ancestors().skip(1).filter(|ancestor| !ancestor.as_os_str().is_empty());
        let mut parents = ancestors.map(c_string).collect::<io::Result<Vec<_>>>()?;
        parents.reverse();
        Ok(Self { parents, path: c_string(&relative)?, is_directory, bind: None })
    }

    /// None for a source that does not exist, or that this user cannot reach.
    fn bound(grant: &Grant) -> io::Result<Option<Self>> {
        let (Ok(found), Ok(mount)) = (stat(&grant.path), statvfs(&grant.path)) else { return Ok(None) };
        let kind = FileType::from_raw_mode(found.st_mode);
        let is_device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
        let mut flags = MountFlags::BIND | MountFlags::NOSUID;
        let restrictions = [
            (MountFlags::RDONLY, !grant.write, StatVfsMountFlags::RDONLY),
            (MountFlags::NODEV, !is_device, StatVfsMountFlags::NODEV),
            (MountFlags::NOEXEC, !grant.execute, StatVfsMountFlags::NOEXEC),
        ];
        for (flag, wanted, inherited) in restrictions {
            // A source's own are locked for whoever is not root.
            flags.set(flag, wanted || mount.f_flag.contains(inherited));
        }
        let bind = Bind { source: c_string(&grant.path)?, flags, tree: None };
        Ok(Some(Self { bind: Some(bind), ..Self::new(&grant.path, kind == FileType::Directory)? }))
    }

    /// Makes what is to be mounted on. Within a mount it is there already.
    fn make(&self) -> rustix::io::Result<()> {
        let mode = Mode::from_raw_mode(0o755);
        for parent in &self.parents {
            unless_there(mkdirat(CWD, parent.as_c_str(), mode))?;
        }
        if self.is_directory {
            return unless_there(mkdirat(CWD, self.path.as_c_str(), mode));
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        unless_there(openat(CWD, self.path.as_c_str(), flags, Mode::from_raw_mode(0o644)).map(drop))
    }

    fn attach(&mut self) -> Result<(), Obstacle> {
        let Some(bind) = &mut self.bind else { return Ok(()) };
        let Some(tree) = bind.tree.take() else { return Ok(()) };
        move_mount(&tree, c"", CWD, self.path.as_c_str(), MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .map_err(Step::Bind.failed())?;
        mount_remount(self.path.as_c_str(), bind.flags, c"").map_err(Step::Restrict.failed())
    }
}

fn unless_there(made: rustix::io::Result<()>) -> rustix::io::Result<()> {
    made.or_else(|error| if error == Errno::EXIST { Ok(()) } else { Err(error) })
}

/// Whether `path` is there by way of `place`.
fn is_beneath(path: &Path, place: &Place) -> bool {
    place.is_directory
        && relative(path)
            .is_ok_and(|path| path.starts_with(std::ffi::OsStr::from_bytes(place.path.as_bytes())))
}

/// `path` without its root.
fn relative(path: &Path) -> io::Result<PathBuf> {
    let mut components = path.components();
    let is_absolute = components.next() == Some(Component::RootDir);
    let relative: PathBuf = components.clone().collect();
    let is_plain = components.all(|component| matches!(component, Component::Normal(_)));
    if is_absolute && is_plain && !relative.as_os_str().is_empty() {
        return Ok(relative);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no path for a jail: {}", path.display())))
}

fn c_string(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}
