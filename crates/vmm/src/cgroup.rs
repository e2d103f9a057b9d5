//! A control group of each VMM's own, where there is a cgroup v2 hierarchy that pyro may write to.
//!
//! It is made beside pyro's own group, since a group with processes may have none with controllers below it; in the root
//! group, which is exempt, below it. So it takes root, or a user whose part of the hierarchy is delegated. It is removed when
//! the VMM has ended; what a killed pyro left is removed at the next start, as far as nothing runs in it. Where somebody has set
//! limits for pyro's own group, a VMM stays in that.

use rustix::fs::{Mode, OFlags, openat};
use rustix::process::Pid;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Memory of a VMM beside its guest's: code, tables and buffers, and in emulation up to 1 GiB of translated code.
const OVERHEAD_BYTES: u64 = 1536 << 20;
/// Threads of a VMM beside those of its CPUs: at most 64 for disks, and a few.
const OTHER_THREADS: u32 = 96;
/// Processors for them.
const OTHER_CPUS: u32 = 1;
const CPU_PERIOD_MICROS: u32 = 100_000;

const PREFIX: &str = "pyro-";
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];
/// An empty group that is younger may be one that a VMM is about to enter.
const SWEPT_AGE: Duration = Duration::from_mins(1);

/// What a machine was promised, which bounds what its VMM may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resources {
    /// The guest's memory.
    pub(crate) memory_bytes: u64,
    pub(crate) vcpus: u32,
}

/// A control group; removed when dropped, if it is empty by then.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
    directory: OwnedFd,
}

impl Resources {
    /// For a program that is no VMM.
    pub(crate) fn least() -> Self {
        Self { memory_bytes: 0, vcpus: 1 }
    }
}

impl Cgroup {
    /// None where there is no hierarchy for us, or none with a controller.
    pub(crate) fn create(name: &str, resources: Resources) -> Option<Self> {
        let parent = own_parent()?;
        if !has_controllers(&parent) {
            return None;
        }
        sweep(&parent);
        Self::create_in(&parent, name, resources).ok()
    }

    /// In `parent`, with the limits that its controllers offer.
    fn create_in(parent: &Path, name: &str, resources: Resources) -> io::Result<Self> {
        let name: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' })
            .collect();
        let mut path = parent.join(format!("{PREFIX}{name:.200}"));
        if fs::create_dir(&path).is_err() {
            // Another machine's of that name.
            path = parent.join(format!("{PREFIX}{name:.200}.{}", std::process::id()));
            fs::create_dir(&path)?;
        }
        let opened = open(&path, OFlags::RDONLY | OFlags::DIRECTORY);
        let directory = opened.inspect_err(|_| drop(fs::remove_dir(&path)))?;
        limit(&path, resources);
        Ok(Self { path, directory })
    }

    /// What [`enter`] takes, for the child.
    pub(crate) fn entrance(&self) -> io::Result<OwnedFd> {
        self.directory.try_clone()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Swept later when this fails.
        let _left = fs::remove_dir(&self.path);
    }
}

/// Goes on in the group, in the caller's place or as another child of the same parent, whose id is returned. Moving a process takes
/// the kernel a grace period of RCU, ten milliseconds and more; one that is born there costs nothing. So a process is made there and
/// the caller ends, unless the kernel refuses that, being older, say, or behind a container's filter.
///
/// It makes system calls alone.
///
/// # Safety
///
/// The caller is a child that was forked, of one thread, before its exec. What runs from here on uses no id that it took before.
#[expect(unsafe_code, reason = "it forks, and ends the caller")]
pub(crate) unsafe fn enter(group: &OwnedFd) -> rustix::io::Result<Option<Pid>> {
    // SAFETY: all zero is a value of this struct of integers.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = INTO_CGROUP | u64::from(libc::CLONE_PARENT.unsigned_abs());
    arguments.cgroup = u64::from(group.as_raw_fd().unsigned_abs());
    // SAFETY: without CLONE_VM it is a fork, from which the child goes on in a copy of the memory; the rest is up to the caller.
    match unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) } {
        0 => Ok(Some(rustix::process::getpid())),
        -1 => move_into(group).map(|()| None),
        // SAFETY: it does not return, and runs nothing that is to run at an exit.
        _ => unsafe { libc::_exit(0) },
    }
}

/// `CLONE_INTO_CGROUP`, which libc has in a type that is too small for it.
const INTO_CGROUP: u64 = 1 << 33;

/// Moves the calling process.
fn move_into(group: &OwnedFd) -> rustix::io::Result<()> {
    let processes = openat(group, c"cgroup.procs", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(processes, b"0").map(drop)
}

fn limit(group: &Path, resources: Resources) {
    for (file, value) in limits(resources) {
        // Not there without the controller.
        let _unlimited = write(&group.join(file), &value);
    }
}

fn limits(resources: Resources) -> [(&'static str, String); 4] {
    let memory = resources.memory_bytes.saturating_add(OVERHEAD_BYTES).to_string();
    let quota = (resources.vcpus + OTHER_CPUS) * CPU_PERIOD_MICROS;
    [
        ("memory.max", memory.clone()),
        // A host that is short of memory may swap a guest out, whole.
        ("memory.swap.max", memory),
        ("pids.max", (resources.vcpus + OTHER_THREADS).to_string()),
        ("cpu.max", format!("{quota} {CPU_PERIOD_MICROS}")),
    ]
}

fn own_parent() -> Option<PathBuf> {
    let read = |path| fs::read_to_string(path).ok();
    parent(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?)
}

/// The group in which those of VMMs may be made, from `/proc/self/mountinfo` and `/proc/self/cgroup`.
fn parent(mounts: &str, own: &str) -> Option<PathBuf> {
    let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let (root, mount) = mounts.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, at) = (fields.next()?, fields.next()?);
        (file_system.starts_with("cgroup2 ") && !at.contains('\\')).then_some((root, at))
    })?;
    let below = Path::new(own).strip_prefix(root).ok()?;
    let own = Path::new(mount).join(below);
    if is_limited(&own) {
        return None;
    }
    if below.as_os_str().is_empty() {
        // That of a container is a group with processes like any other.
        return is_root_of_all(&own).then_some(own);
    }
    own.parent().map(Path::to_owned)
}

/// Whether somebody has set limits for pyro itself, which its VMMs are not to escape.
fn is_limited(group: &Path) -> bool {
    const LIMITS: [&str; 5] = ["memory.max", "memory.high", "memory.swap.max", "pids.max", "cpu.max"];
    LIMITS
        .iter()
        .any(|file| fs::read_to_string(group.join(file)).is_ok_and(|limit| !limit.starts_with("max")))
}

/// Only that one has no type.
fn is_root_of_all(group: &Path) -> bool {
    !group.join("cgroup.type").exists()
}

/// Whether groups in `parent` have any controller of ours. The root of all has nobody else to enable them; elsewhere that is the
/// matter of whoever made the group.
fn has_controllers(parent: &Path) -> bool {
    let control = parent.join("cgroup.subtree_control");
    if is_root_of_all(parent) {
        for controller in CONTROLLERS {
            // Not offered here, where this fails.
            let _unchanged = write(&control, &format!("+{controller}"));
        }
    }
    let enabled = fs::read_to_string(&control).unwrap_or_default();
    enabled.split_whitespace().any(|controller| CONTROLLERS.contains(&controller))
}

fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes());
        let age =
            entry.metadata().and_then(|found| found.modified()).ok().and_then(|made| made.elapsed().ok());
        if is_ours && age.is_some_and(|age| age > SWEPT_AGE) {
            // Refused for one with processes.
            let _in_use = fs::remove_dir(entry.path());
        }
    }
}

fn write(path: &Path, value: &str) -> io::Result<()> {
    rustix::io::write(open(path, OFlags::WRONLY)?, value.as_bytes())?;
    Ok(())
}

/// Opens what is there; a file that is missing is not made.
fn open(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())?)
}

#[cfg(test)]
impl Cgroup {
    /// One in any hierarchy that will do, even without controllers; none where there is no such. Root has one everywhere: it need not
    /// be mounted.
    pub(crate) fn for_test(name: &str) -> Option<Self> {
        let name = format!("test/{name}-{}", std::process::id());
        let create_in = |parent: PathBuf| Self::create_in(&parent, &name, Resources::least()).ok();
        own_parent().and_then(create_in).or_else(|| unmounted_root().and_then(create_in))
    }

    /// The processes in it.
    pub(crate) fn processes(&self) -> Vec<Pid> {
        let listed = fs::read_to_string(self.path.join("cgroup.procs")).unwrap();
        listed.lines().filter_map(|pid| pid.parse().ok().and_then(Pid::from_raw)).collect()
    }
}

/// Of all groups.
#[cfg(test)]
fn unmounted_root() -> Option<PathBuf> {
    use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
    static ROOT: std::sync::OnceLock<Option<OwnedFd>> = std::sync::OnceLock::new();
    let root = ROOT.get_or_init(|| {
        let context = fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC).ok()?;
        fsconfig_create(&context).ok()?;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).ok()
    });
    Some(format!("/proc/self/fd/{}", root.as_ref()?.as_raw_fd()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    const RESOURCES: Resources = Resources { memory_bytes: 512 << 20, vcpus: 2 };
    const MOUNT: &str = "31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn groups_of_machines_are_beside_our_own() {
        for (mounts, own, expected) in [
            (MOUNT, "0::/user.slice/app.slice/a.scope\n", Some("/sys/fs/cgroup/user.slice/app.slice")),
            (MOUNT, "4:memory:/a\n0::/a\n", Some("/sys/fs/cgroup")),
            (MOUNT, "4:memory:/a\n", None),
            ("1 2 0:1 / / rw - ext4 /dev/vda rw\n", "0::/a/b\n", None),
            ("9 8 0:2 /docker/x /cg rw shared:4 - cgroup2 none rw\n", "0::/docker/x/y/z\n", Some("/cg/y")),
            ("9 8 0:2 /docker/x /cg rw shared:4 - cgroup2 none rw\n", "0::/elsewhere\n", None),
        ] {
            assert_eq!(parent(mounts, own), expected.map(PathBuf::from), "{mounts} {own}");
        }
    }

    #[test]
    fn the_root_of_all_takes_groups_and_that_of_a_container_does_not() {
        let scratch = tempfile::tempdir().unwrap();
        let mounts = format!("31 23 0:28 / {} rw - cgroup2 cgroup2 rw\n", scratch.path().display());
        assert_eq!(parent(&mounts, "0::/\n").as_deref(), Some(scratch.path()));
        fs::write(scratch.path().join("cgroup.type"), "domain\n").unwrap();
        assert_eq!(parent(&mounts, "0::/\n"), None);
    }

    #[test]
    fn whoever_is_limited_stays_within_the_limits() {
        let scratch = tempfile::tempdir().unwrap();
        let own = scratch.path().join("a.scope");
        fs::create_dir(&own).unwrap();
        let mounts = format!("31 23 0:28 / {} rw - cgroup2 cgroup2 rw\n", scratch.path().display());
        for (file, unlimited, limited) in
            [("memory.max", "max\n", "1073741824\n"), ("cpu.max", "max 100000\n", "50000 100000\n")]
        {
            fs::write(own.join(file), unlimited).unwrap();
            assert_eq!(parent(&mounts, "0::/a.scope\n").as_deref(), Some(scratch.path()));
            fs::write(own.join(file), limited).unwrap();
            assert_eq!(parent(&mounts, "0::/a.scope\n"), None, "{file}");
            fs::remove_file(own.join(file)).unwrap();
        }
    }

    #[test]
    fn without_a_controller_there_is_no_group() {
        let scratch = tempfile::tempdir().unwrap();
        assert!(!has_controllers(scratch.path()));
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    }

    #[test]
    fn limits_are_set_where_the_kernel_has_files_for_them() {
        let scratch = tempfile::tempdir().unwrap();
        for file in ["memory.max", "pids.max"] {
            fs::write(scratch.path().join(file), "").unwrap();
        }
        limit(scratch.path(), RESOURCES);
        let read = |file| fs::read_to_string(scratch.path().join(file)).ok();
        assert_eq!(read("memory.max"), Some((2048_u64 << 20).to_string()));
        assert_eq!(read("pids.max").as_deref(), Some("98"));
        assert_eq!(read("cpu.max"), None);
    }

    #[test]
    fn only_old_and_empty_groups_of_machines_are_swept() {
        let scratch = tempfile::tempdir().unwrap();
        let old = std::time::SystemTime::now() - 2 * SWEPT_AGE;
        for (group, modified) in [
            ("pyro-old", old),
            // The inner one first: making it changes the time of the outer.
            ("pyro-used/process", old),
            ("pyro-used", old),
            ("user.slice", old),
            ("pyro-new", std::time::SystemTime::now()),
        ] {
            let path = scratch.path().join(group);
            fs::create_dir_all(&path).unwrap();
            fs::File::open(&path).unwrap().set_modified(modified).unwrap();
        }
        sweep(scratch.path());
        let left = fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut left: Vec<_> = left.map(|name| name.into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, ["pyro-new", "pyro-used", "user.slice"]);
    }

    #[test]
    fn limits_leave_room_for_the_vmm_itself() {
        let limits = limits(RESOURCES);
        assert_eq!(limits[0], ("memory.max", ((512_u64 + 1536) << 20).to_string()));
        assert_eq!(limits[3], ("cpu.max", "300000 100000".to_owned()));
    }

    /// The other way is a test of `process`.
    #[test]
    fn a_process_moves_in_and_its_empty_group_goes() {
        let Some(cgroup) = Cgroup::for_test("moves") else {
            return eprintln!("skipped: no cgroup v2 for us");
        };
        let path = cgroup.path.clone();
        assert!(path.ends_with(format!("pyro-test_moves-{}", std::process::id())), "{}", path.display());
        let entrance = cgroup.entrance().unwrap();
        let mut child = Command::new("/bin/cat");
        child.stdin(Stdio::piped());
        // SAFETY: the closure makes system calls alone.
        #[expect(unsafe_code, reason = "std offers no other way to act in the child")]
        unsafe {
            child.pre_exec(move || Ok(move_into(&entrance)?));
        }
        let mut child = child.spawn().unwrap();
        assert_eq!(cgroup.processes(), [Pid::from_child(&child)]);
        // One that is in use is not removed, whoever tries.
        assert!(fs::remove_dir(&path).is_err());
        drop(child.stdin.take());
        child.wait().unwrap();
        drop(cgroup);
        assert!(!path.exists());
    }
}
