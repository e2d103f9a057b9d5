//! Puts the root together and moves into it, in two steps.
//!
//! 1. [`stage`] does what does not need the writable disk: it finds the disks, and mounts the image, the kernel's modules
//!    and the file systems that live in memory. A template does this before its memory is taken, so its clones need not.
//! 2. [`join`] mounts the writable disk and joins it with the image by an overlay, moves there, and brings along what was
//!    staged.
//!
//! The overlay's layers, from the top: a directory of the writable disk; the image of the tree that the workspace began with, if
//! it had one, so that what lies above it is what was changed; the names of this machine, in memory, so that they need not be
//! written to the disk at every start; the environment's image. All of them stay mounted in the initramfs that is left behind,
//! out of everyone's sight. What goes into the new root is put there after the move, so that an absolute link in the
//! image means what it says.
//!
//! Between the two steps a template may rehearse ([`super::rehearsal`]): it joins disk and image for a while, and leaves them
//! again. Or it stays: then its clones are joined already, and only move.

use std::ffi::CStr;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pyro_protocol::v1::{Configure, FailureKind, Root};
use pyro_protocol::{WORKSPACE_DIR, parameter};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, mount, mount_bind, mount_move, move_mount};
use rustix::process::{chdir, chroot};

use super::rehearsal::{Rehearsal, take_apart};
use crate::agent::Agent;
use crate::fail::Fail;

/// How long a disk may take to appear.
const DISK_DEADLINE: Duration = Duration::from_secs(5);
const DISK_POLL: Duration = Duration::from_millis(2);

const BLOCK_DEVICES: &str = "/sys/block";

const IMAGE_DIR: &str = "/image";
const NAMES_DIR: &str = "/names";
pub(super) const SCRATCH_DIR: &str = "/scratch";
pub(super) const ROOT_DIR: &str = "/root";
/// Where the workspace's first tree is mounted.
const SEED_DIR: &str = "/seed";
/// What a writable disk has to have; a new one comes with all of it.
const SCRATCH_DIRECTORIES: [&str; 2] = ["/scratch/upper", "/scratch/work"];
/// Where the module tree is staged; the initramfs has its few modules in `/modules`.
const STAGED_MODULES_DIR: &str = "/module-tree";
const MODULES_DIR: &str = "/usr/lib/modules";
pub(super) const LIB_MODULES_DIR: &str = "/lib/modules";

/// No index and no metadata-only copies: the upper layer must stand alone when it is copied or looked at. Renaming a
/// directory of the image works, as on any other file system.
pub(super) const OVERLAY_OPTIONS: &CStr = c"lowerdir=/names:/image,upperdir=/scratch/upper,workdir=/scratch/work,index=off,metacopy=off,redirect_dir=on,xino=auto,uuid=null";
/// The same, with the tree that the workspace began with.
const SEEDED_OVERLAY_OPTIONS: &CStr = c"lowerdir=/seed:/names:/image,upperdir=/scratch/upper,workdir=/scratch/work,index=off,metacopy=off,redirect_dir=on,xino=auto,uuid=null";

/// The files in `/etc` that name a machine.
const NAMES: [&str; 3] = ["machine-id", "hostname", "hosts"];
const ROOM_FOR_NAMES: usize = 256;

const PSEUDO: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
const IN_MEMORY: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// What is staged, each with all that is mounted below it: where it is in the initramfs, and where it goes in the root.
pub(super) const STAGED: [(&str, &str); 5] = [
    ("/dev", "/dev"),
    ("/proc", "/proc"),
    ("/sys", "/sys"),
    ("/run", "/run"),
    (STAGED_MODULES_DIR, MODULES_DIR),
];

/// A staged root.
#[derive(Debug)]
pub struct Staged {
    /// The device of the writable disk.
    scratch: PathBuf,
    /// The files of [`NAMES`], open.
    names: [File; 3],
}

/// Does what does not need the writable disk. There may be no module tree: then its serial is empty.
pub fn stage(layout: &Root) -> Result<Staged, Fail> {
    let mounts: [(&str, &str, MountFlags, Option<&CStr>); 4] = [
        ("/dev/pts", "devpts", MountFlags::NOSUID | MountFlags::NOEXEC, Some(c"gid=5,mode=620,ptmxmode=666")),
        ("/dev/shm", "tmpfs", IN_MEMORY, Some(c"mode=1777")),
        ("/run", "tmpfs", IN_MEMORY, Some(c"mode=0755")),
        ("/sys/fs/cgroup", "cgroup2", PSEUDO, None),
    ];
    for (target, kind, flags, options) in mounts {
        attach(Path::new(kind), target, kind, flags, options)?;
    }
    for (link, target) in [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")] {
        // devtmpfs may hold them already.
        let _ = symlink(format!("/proc/self/fd{target}"), Path::new("/dev").join(link));
    }
    attach(&wait_for_disk(&layout.image_serial)?, IMAGE_DIR, "erofs", MountFlags::RDONLY, None)?;
    if !layout.modules_serial.is_empty() {
        let modules = wait_for_disk(&layout.modules_serial)?;
        attach(&modules, STAGED_MODULES_DIR, "erofs", MountFlags::RDONLY | IN_MEMORY, None)?;
    }
    remove_initramfs_files();
    link_told_disks();
    Ok(Staged { scratch: wait_for_disk(&layout.scratch_serial)?, names: create_names()? })
}

/// Joins the staged image and the writable disk, unless they have been `kept` joined, makes that the root, and fills in what a
/// root needs.
pub fn join(
    agent: &Agent,
    staged: &Staged,
    kept: Option<Rehearsal>,
    request: &Configure,
) -> Result<(), Fail> {
    write_names(&staged.names, request)?;
    let seeded = !request.seed_serial.is_empty();
    match kept {
        Some(kept) => {
            agent.scratch.replace(Some(kept.leave()?));
            if !seeded {
                return switch_root();
            }
            // An overlay takes no layer that it was not made with.
            take_apart()?;
        }
        None => drop(agent.scratch.replace(Some(mount_scratch(staged)?))),
    }
    if seeded {
        attach(&wait_for_disk(&request.seed_serial)?, SEED_DIR, "erofs", MountFlags::RDONLY, None)?;
        agent.seed.replace(Some(open_directory(SEED_DIR)?));
        mount_overlay(SEEDED_OVERLAY_OPTIONS)?;
    } else {
        mount_overlay(OVERLAY_OPTIONS)?;
    }
    let mounted: Vec<_> = STAGED.iter().filter_map(|(from, to)| Some((open_staged(from)?, *to))).collect();
    switch_root()?;
    for (mounted, target) in mounted {
        bring_along(&mounted, target)?;
    }
    fill_in()
}

/// Mounts the writable disk, and creates what it lacks.
pub(super) fn mount_scratch(staged: &Staged) -> Result<OwnedFd, Fail> {
    attach(&staged.scratch, SCRATCH_DIR, "ext4", MountFlags::NOATIME, None)?;
    for directory in SCRATCH_DIRECTORIES.map(Path::new) {
        if !directory.is_dir() {
            create_directory(directory)?;
        }
    }
    open_directory(SCRATCH_DIR)
}

pub(super) fn mount_overlay(options: &CStr) -> Result<(), Fail> {
    attach(Path::new("overlay"), ROOT_DIR, "overlay", MountFlags::NOATIME, Some(options))
}

/// What a root needs and an image may lack. Before a seed is joined, as in a template, an image must lack nothing: a directory that
/// is made above the image alone would hide the seed's of that name.
pub(super) fn fill_in() -> Result<(), Fail> {
    offer_modules_in_lib()?;
    for (directory, mode) in [("/tmp", 0o1777), (WORKSPACE_DIR, 0o755)] {
        ensure_directory(Path::new(directory), mode)?;
    }
    Ok(())
}

/// The name and the serial number of each disk: the one that it has, or that the host says it should have.
fn disks() -> Vec<(String, String)> {
    let with_serial = |name: String| {
        let serial = fs::read_to_string(Path::new(BLOCK_DEVICES).join(&name).join("serial")).ok()?;
        Some((name, serial.trim_end().to_owned()))
    };
    told_disks().unwrap_or_else(|| disk_names().filter_map(with_serial).collect())
}

fn disk_names() -> impl Iterator<Item = String> {
    let entries = fs::read_dir(BLOCK_DEVICES).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

/// The disks with the serial numbers that the host says they should have; `None` where it says nothing.
fn told_disks() -> Option<Vec<(String, String)>> {
    let command_line = fs::read_to_string("/proc/cmdline").ok()?;
    let serials =
        command_line.split_ascii_whitespace().find_map(|word| word.strip_prefix(parameter::DISKS))?;
    let mut names: Vec<_> = disk_names().filter_map(|name| Some((virtio_number(&name)?, name))).collect();
    names.sort_unstable();
    Some(names.into_iter().map(|(_, name)| name).zip(serials.split(',').map(str::to_owned)).collect())
}

/// Makes disks that have only been told serial numbers known to whoever looks for them, as udev would those that have their own.
fn link_told_disks() {
    let Some(disks) = told_disks() else { return };
    let links = Path::new("/dev/disk/by-id");
    // A root without them is none the worse; whoever needs one says that it is not there.
    let _ = fs::create_dir_all(links);
    for (name, serial) in disks {
        let _ = symlink(Path::new("/dev").join(name), links.join(format!("virtio-{serial}")));
    }
}

/// The number of a disk among the virtio devices, which have them in the order in which the machine has the devices.
fn virtio_number(disk: &str) -> Option<u32> {
    let device = fs::read_link(Path::new(BLOCK_DEVICES).join(disk).join("device")).ok()?;
    device.file_name()?.to_str()?.strip_prefix("virtio")?.parse().ok()
}

fn wait_for_disk(serial: &str) -> Result<PathBuf, Fail> {
    let started = Instant::now();
    loop {
        let named = disks().into_iter().find(|(_, found)| found == serial);
        if let Some((name, _)) = named {
            let device = Path::new("/dev").join(name);
            if device.exists() {
                return Ok(device);
            }
        }
        if started.elapsed() > DISK_DEADLINE {
            let present: Vec<_> = disks().into_iter().map(|(_, serial)| serial).collect();
            let message = format!("no disk has the serial {serial:?}; there are {present:?}");
            return Err(Fail::new(FailureKind::NotFound, message));
        }
        std::thread::sleep(DISK_POLL);
    }
}

/// Mounts `source` on `target`, which is created where it is missing.
fn attach(
    source: &Path,
    target: &str,
    kind: &str,
    flags: MountFlags,
    options: Option<&CStr>,
) -> Result<(), Fail> {
    with_directory(target, || mount(source, target, kind, flags, options))
        .map_err(|error| Fail::os(&format!("mount {} ({kind}) on {target}", source.display()), error))
}

/// Does `work`, once more with `directory` created where it was missing: it rarely is, and looking costs time at every
/// start.
pub(super) fn with_directory(directory: &str, work: impl Fn() -> Result<(), Errno>) -> Result<(), Errno> {
    match work() {
        Err(Errno::NOENT) if fs::create_dir_all(directory).is_ok() => work(),
        other => other,
    }
}

pub(super) fn open_directory(path: &str) -> Result<OwnedFd, Fail> {
    rustix::fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| Fail::os(&format!("open {path}"), error))
}

/// `None` where nothing is staged: a root may do without modules.
pub(super) fn open_staged(path: &str) -> Option<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// Moves what is `mounted` in the initramfs to `target` in the root.
fn bring_along(mounted: &OwnedFd, target: &str) -> Result<(), Fail> {
    let from_descriptor = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    with_directory(target, || move_mount(mounted, c"", CWD, target, from_descriptor))
        .map_err(|error| Fail::os(&format!("move {target} into the root"), error))
}

/// Creates `directory` and its parents unless it is there; the agent's umask makes it 0755.
fn create_directory(directory: &Path) -> Result<(), Fail> {
    fs::create_dir_all(directory).map_err(|error| Fail::os(&format!("create {}", directory.display()), error))
}

/// Leaves the initramfs, whose files are gone, as switch_root(8) does.
fn switch_root() -> Result<(), Fail> {
    chdir(ROOT_DIR)
        .and_then(|()| mount_move(".", "/"))
        .and_then(|()| chroot("."))
        .and_then(|()| chdir("/"))
        .map_err(|error| Fail::os("switch to the new root", error))
}

/// Frees the memory of what lies in the initramfs.
fn remove_initramfs_files() {
    if let Ok(initramfs) = fs::metadata("/") {
        remove_files(Path::new("/"), initramfs.dev());
    }
}

/// Removes the files below `directory` that are on `device`. What cannot be removed just stays in memory.
fn remove_files(directory: &Path, device: u64) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(metadata) = path.symlink_metadata() else {
            continue;
        };
        if metadata.dev() != device {
            continue;
        }
        if metadata.is_dir() {
            remove_files(&path, device);
        } else {
            let _ = fs::remove_file(&path);
        }
    }
}

/// Makes sure that `directory` is there with `mode`, writing only where it is not.
fn ensure_directory(directory: &Path, mode: u32) -> Result<(), Fail> {
    const PERMISSIONS: u32 = 0o7777;
    if directory.metadata().is_ok_and(|found| found.is_dir() && found.mode() & PERMISSIONS == mode) {
        return Ok(());
    }
    create_directory(directory)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(mode))
        .map_err(|error| Fail::os(&format!("set the mode of {}", directory.display()), error))
}

/// Some distributions keep `/lib` apart from `/usr/lib`, and look for modules in the former.
fn offer_modules_in_lib() -> Result<(), Fail> {
    let in_lib = Path::new(LIB_MODULES_DIR);
    let merged =
        fs::read_link("/lib").is_ok_and(|lib| lib == Path::new("usr/lib") || lib == Path::new("/usr/lib"));
    if merged || !Path::new(MODULES_DIR).is_dir() {
        return Ok(());
    }
    create_directory(in_lib)?;
    mount_bind(MODULES_DIR, in_lib).map_err(|error| Fail::os("bind the modules to /lib/modules", error))
}

/// Creates the files that the names of this machine will be in, with room for them: what is left to do at a start is to
/// write into them. They have a file system of their own, since what lies in the initramfs is removed.
fn create_names() -> Result<[File; 3], Fail> {
    attach(Path::new("tmpfs"), NAMES_DIR, "tmpfs", IN_MEMORY, Some(c"mode=0755"))?;
    create_directory(&Path::new(NAMES_DIR).join("etc"))?;
    let create = |name: &str| {
        let path = Path::new(NAMES_DIR).join("etc").join(name);
        let file = File::create(&path);
        file.and_then(|file| file.write_all_at(&[b'\n'; ROOM_FOR_NAMES], 0).map(|()| file))
            .map_err(|error| Fail::os(&format!("write {}", path.display()), error))
    };
    let [machine_id, hostname, hosts] = NAMES;
    Ok([create(machine_id)?, create(hostname)?, create(hosts)?])
}

/// Writes the names of this machine to the layer below the writable disk: a disk that has names of its own keeps them. Where the
/// overlay was kept it is above them already, and has not looked at them: no rehearsal reads these files.
fn write_names(files: &[File; 3], request: &Configure) -> Result<(), Fail> {
    let Configure { hostname, machine_id, .. } = request;
    let hosts =
        format!("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 {hostname}\n");
    let texts = [format!("{machine_id}\n"), format!("{hostname}\n"), hosts];
    for ((file, text), name) in files.iter().zip(texts).zip(NAMES) {
        file.write_all_at(text.as_bytes(), 0)
            .and_then(|()| file.set_len(text.len() as u64))
            .map_err(|error| Fail::os(&format!("write /etc/{name}"), error))?;
    }
    Ok(())
}
