//! What a VMM that runs a guest may do to its host, seen from outside.

use crate::{DEBIAN, SUITE};
use pyro_testkit::Process;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// A file of `/proc` about a process.
fn about(process: &Process, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/{name}", process.pid))
}

/// The fields of a line of `/proc/PID/status`.
fn status(process: &Process, name: &str) -> Vec<String> {
    let status = fs::read_to_string(about(process, "status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))).unwrap();
    line.split_whitespace().map(str::to_owned).collect()
}

fn own(name: &str) -> PathBuf {
    fs::read_link(format!("/proc/self/ns/{name}")).unwrap()
}

#[test]
fn a_vmm_is_in_its_jail_warm_and_cold() {
    let home = SUITE.with(DEBIAN);
    let told = home.pyro(["doctor", "--json"]).run().expect(0).json()["acceleration"]["jail"].clone();
    for memory in ["1024", "512"] {
        let workspace = home.workspace_with(&["--mem-mib", memory]);
        let vmm = workspace.vmm().unwrap();
        assert_eq!(status(&vmm, "NoNewPrivs"), ["1"]);
        assert_eq!(status(&vmm, "Seccomp"), ["2"]);
        // Two are the jail's, so this counts the VMM's own.
        let filters: u32 = status(&vmm, "Seccomp_filters")[0].parse().unwrap();
        assert!(filters > 2, "{filters}");
        let capabilities = u64::from_str_radix(&status(&vmm, "CapEff")[0], 16).unwrap();
        // CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.
        assert_eq!(capabilities & !0b110, 0, "{capabilities:x}");
        if told["own_user"] == true {
            assert!(status(&vmm, "Uid").iter().all(|id| id.parse::<u32>().unwrap() >= 0x7000_0000));
        }
        if told["namespaces"] == true {
            for namespace in ["mnt", "net", "ipc", "uts"] {
                let its_own = fs::read_link(about(&vmm, &format!("ns/{namespace}"))).unwrap();
                assert_ne!(its_own, own(namespace), "{namespace}");
            }
            let in_jail = |path: &Path| about(&vmm, "root").join(path.strip_prefix("/").unwrap());
            let seen = |path: &Path| in_jail(path).exists();
            for hidden in ["/etc", "/root/.bashrc", "/proc", "/sys", "/usr/bin"] {
                assert!(!seen(Path::new(hidden)), "{hidden}");
            }
            // Where it lies below one of these there is the way to it, and nothing beside that.
            for shared in ["/home", "/tmp"] {
                let way = home.path().strip_prefix(shared).ok().and_then(|below| below.iter().next());
                let entries = fs::read_dir(in_jail(Path::new(shared))).into_iter().flatten();
                let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
                assert_eq!(names, way.map(Into::into).into_iter().collect::<Vec<OsString>>(), "{shared}");
            }
            let directory = home.workspace_directory(workspace.id());
            assert!(seen(&directory.join("disk.ext4")));
            assert!(!seen(&directory.join("control.sock")) && !seen(&directory.join("secrets.json")));
            assert!(!seen(&home.data().join("workspaces.db")));
        }
    }
}

#[test]
fn vmms_of_two_machines_see_nothing_of_each_other() {
    let home = SUITE.with(DEBIAN);
    let (one, other) = (home.workspace(), home.workspace());
    let (vmm, neighbour) = (one.vmm().unwrap(), other.vmm().unwrap());
    let told = home.pyro(["doctor", "--json"]).run().expect(0).json()["acceleration"]["jail"].clone();
    if told["namespaces"] == true {
        let disk = home.workspace_directory(other.id()).join("disk.ext4");
        assert!(about(&neighbour, "root").join(disk.strip_prefix("/").unwrap()).exists());
        assert!(!about(&vmm, "root").join(disk.strip_prefix("/").unwrap()).exists());
    }
    if told["own_user"] == true {
        assert_ne!(status(&vmm, "Uid"), status(&neighbour, "Uid"));
    }
}
