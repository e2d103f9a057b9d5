//! Puts the root together and moves into it.
//!
//! The image is the lower layer of an overlay, a directory on the writable disk the upper one. Both stay mounted in the
//! initramfs that is left behind, out of everyone's sight. What goes into the new root is done after the move, so that
//! an absolute link in the image means what it says.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pyro_protocol::WORKSPACE_DIR;
use pyro_protocol::v1::{Configure, FailureKind, Root};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, mount, mount_bind, mount_move};
use rustix::process::{chdir, chroot};

use crate::agent::Agent;
use crate::fail::Fail;

/// How long a disk may take to appear.
const DISK_DEADLINE: Duration = Duration::from_secs(5);
const DISK_POLL: Duration = Duration::from_millis(2);

const IMAGE_DIR: &str = "/image";
const SCRATCH_DIR: &str = "/scratch";
const ROOT_DIR: &str = "/root";
const MODULES_DIR: &str = "/usr/lib/modules";

/// No index and no metadata-only copies: the upper layer must stand alone when it is copied or looked at. Renaming a
/// directory of the image works, as on any other file system.
const OVERLAY_OPTIONS: &CStr =
    c"lowerdir=/image,upperdir=/scratch/upper,workdir=/scratch/work,index=off,metacopy=off,redirect_dir=on,xino=auto";

const PSEUDO: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Mounts what `layout` names, makes it the root, and fills in what a root needs.
pub fn assemble(agent: &Agent, request: &Configure, layout: &Root) -> Result<(), Fail> {
    let image = wait_for_disk(&layout.image_serial)?;
    let scratch = wait_for_disk(&layout.scratch_serial)?;
    let modules = match layout.modules_serial.as_str() {
        "" => None,
        serial => Some(wait_for_disk(serial)?),
    };
    for directory in [IMAGE_DIR, SCRATCH_DIR, ROOT_DIR] {
        create_directory(Path::new(directory))?;
    }
    attach(&image, IMAGE_DIR, "erofs", MountFlags::RDONLY, None)?;
    attach(&scratch, SCRATCH_DIR, "ext4", MountFlags::NOATIME, None)?;
    let handle = rustix::fs::open(SCRATCH_DIR, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| Fail::os("open the writable disk", error))?;
    agent.scratch.replace(Some(handle));
    for directory in ["/scratch/upper", "/scratch/work"] {
        create_directory(Path::new(directory))?;
    }
    attach(Path::new("overlay"), ROOT_DIR, "overlay", MountFlags::NOATIME, Some(OVERLAY_OPTIONS))?;
    switch_root()?;
    attach_the_rest(modules.as_deref())?;
    write_names(request)
}

/// Every virtio disk, as "device:serial".
pub fn describe_disks() -> Vec<String> {
    let described = disks().map(|(name, serial)| format!("{name}:{serial}"));
    let mut described: Vec<_> = described.collect();
    described.sort();
    described
}

fn disks() -> impl Iterator<Item = (String, String)> {
    let entries = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let serial = fs::read_to_string(entry.path().join("serial")).ok()?;
        let name = entry.file_name().into_string().ok()?;
        Some((name, serial.trim_end().to_owned()))
    })
}

fn wait_for_disk(serial: &str) -> Result<PathBuf, Fail> {
    let started = Instant::now();
    loop {
        let named = disks().find(|(_, found)| found == serial);
        if let Some((name, _)) = named {
            let device = Path::new("/dev").join(name);
            if device.exists() {
                return Ok(device);
            }
        }
        if started.elapsed() > DISK_DEADLINE {
            let message = format!("no disk has the serial {serial:?}; there are {:?}", describe_disks());
            return Err(Fail::new(FailureKind::NotFound, message));
        }
        std::thread::sleep(DISK_POLL);
    }
}

fn attach(
    source: &Path,
    target: &str,
    kind: &str,
    flags: MountFlags,
    options: Option<&CStr>,
) -> Result<(), Fail> {
    mount(source, target, kind, flags, options)
        .map_err(|error| Fail::os(&format!("mount {} ({kind}) on {target}", source.display()), error))
}

/// Creates `directory` and its parents unless it is there; the agent's umask makes it 0755.
fn create_directory(directory: &Path) -> Result<(), Fail> {
    fs::create_dir_all(directory).map_err(|error| Fail::os(&format!("create {}", directory.display()), error))
}

/// Leaves the initramfs as switch_root(8) does, freeing the memory of what lies in it.
fn switch_root() -> Result<(), Fail> {
    for directory in ["dev", "proc", "sys"] {
        let target = Path::new(ROOT_DIR).join(directory);
        create_directory(&target)?;
        mount_move(Path::new("/").join(directory), &target)
            .map_err(|error| Fail::os(&format!("move /{directory}"), error))?;
    }
    if let Ok(initramfs) = fs::metadata("/") {
        remove_files(Path::new("/"), initramfs.dev());
    }
    chdir(ROOT_DIR)
        .and_then(|()| mount_move(".", "/"))
        .and_then(|()| chroot("."))
        .and_then(|()| chdir("/"))
        .map_err(|error| Fail::os("switch to the new root", error))
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

fn attach_the_rest(modules: Option<&Path>) -> Result<(), Fail> {
    let in_memory = MountFlags::NOSUID | MountFlags::NODEV;
    let mounts: [(&str, &str, MountFlags, Option<&CStr>); 4] = [
        ("/dev/pts", "devpts", MountFlags::NOSUID | MountFlags::NOEXEC, Some(c"gid=5,mode=620,ptmxmode=666")),
        ("/dev/shm", "tmpfs", in_memory, Some(c"mode=1777")),
        ("/run", "tmpfs", in_memory, Some(c"mode=0755")),
        ("/sys/fs/cgroup", "cgroup2", PSEUDO, None),
    ];
    for (target, kind, flags, options) in mounts {
        create_directory(Path::new(target))?;
        attach(Path::new(kind), target, kind, flags, options)?;
    }
    for (link, target) in [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")] {
        // devtmpfs may hold them already.
        let _ = symlink(format!("/proc/self/fd{target}"), Path::new("/dev").join(link));
    }
    if let Some(modules) = modules {
        create_directory(Path::new(MODULES_DIR))?;
        attach(modules, MODULES_DIR, "erofs", MountFlags::RDONLY | in_memory, None)?;
        offer_modules_in_lib()?;
    }
    for (directory, mode) in [("/tmp", 0o1777), (WORKSPACE_DIR, 0o755)] {
        create_directory(Path::new(directory))?;
        fs::set_permissions(directory, fs::Permissions::from_mode(mode))
            .map_err(|error| Fail::os(&format!("set the mode of {directory}"), error))?;
    }
    Ok(())
}

/// Some distributions keep `/lib` apart from `/usr/lib`, and look for modules in the former.
fn offer_modules_in_lib() -> Result<(), Fail> {
    let in_lib = Path::new("/lib/modules");
    if fs::canonicalize("/lib").is_ok_and(|lib| lib == Path::new("/usr/lib")) {
        return Ok(());
    }
    create_directory(in_lib)?;
    mount_bind(MODULES_DIR, in_lib).map_err(|error| Fail::os("bind the modules to /lib/modules", error))
}

fn write_names(request: &Configure) -> Result<(), Fail> {
    let Configure { hostname, machine_id, .. } = request;
    create_directory(Path::new("/etc"))?;
    let hosts =
        format!("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 {hostname}\n");
    let files = [
        ("/etc/machine-id", format!("{machine_id}\n")),
        ("/etc/hostname", format!("{hostname}\n")),
        ("/etc/hosts", hosts),
    ];
    for (path, text) in files {
        replace(Path::new(path), &text).map_err(|error| Fail::os(&format!("write {path}"), error))?;
    }
    Ok(())
}

/// Writes `text` as a file of its own, also where the image has a link to somewhere else.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::write(path, text)
}
