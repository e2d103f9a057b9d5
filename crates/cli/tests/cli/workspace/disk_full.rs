//! Disks that are full: the guest's own, and the host's.

use super::trees::{directory, names};
use super::{EXHAUSTED, text};
use crate::{DEBIAN, SUITE};
use pyro_testkit::{Process, SmallDisk, json};
use std::fs;

/// Takes all that is left of the guest's disk, without writing that much.
const FILL: &str = "fallocate -l $(($(df --output=avail -B1 /workspace | tail -1) - 16777216)) big && \
                    dd if=/dev/zero of=rest bs=64k 2>/dev/null; df --output=avail -B1 /workspace | tail -1; cp /etc/passwd more";

#[test]
fn a_guest_whose_disk_is_full_says_so_and_can_be_reset() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    workspace.sh("echo before > before");
    let full = workspace.exec(&["--timeout-seconds", "60"], FILL).run();
    assert!(full.code != Some(0) && full.stderr.contains("No space left on device"), "{full:?}");
    let source = directory(&home, "source");
    let file = source.join("file");
    fs::write(&file, "x".repeat(1 << 20)).unwrap();
    workspace.refused("file write", &["new", "--text-file", text(&file)], EXHAUSTED);
    workspace.refused("sync push", &[text(&source)], EXHAUSTED);
    assert_eq!(workspace.sh("cat before; ls new 2>/dev/null; true"), "before\n");
    assert_eq!(workspace.status()["guest_responsive"], true);
    workspace.json("snapshot create", &["full"]);
    workspace.json("stop", &[]);
    workspace.json("start", &[]);
    assert_eq!(workspace.sh("rm big; cat before; echo after > after; cat after"), "before\nafter\n");
    workspace.json("reset", &["--snapshot", "full"]);
    assert_eq!(workspace.sh("test -s big; cat before"), "before\n");
    workspace.json("reset", &[]);
    assert_eq!(
        workspace.sh("ls; dd if=/dev/zero of=room bs=1M count=32 2>/dev/null; stat -c %s room"),
        "33554432\n"
    );
}

#[test]
fn a_host_whose_disk_is_full_gets_nothing_half_made_and_loses_no_guest() {
    let home = SUITE.with(DEBIAN);
    let data = home.data();
    fs::create_dir_all(&data).unwrap();
    let disk = SmallDisk::on(&data, 24);
    let pyro = |arguments: &[&str]| home.pyro(["workspace"]).args(arguments).wrapped_in(disk.enter());
    let created = pyro(&["create", DEBIAN, "--id-only"]).run().expect(0);
    let id = created.text().trim();
    let own = disk.path().join("workspaces").join(id);
    let fill = "dd if=/dev/urandom of=large bs=1M count=12 2>/dev/null; sha256sum large > sum; sync; echo marker > marker";
    pyro(&["exec", id, "--", "sh", "-c", fill]).run().expect(0).text();
    let before = names(&own);
    let fine = |what: &str| {
        let run = pyro(&["exec", id, "--", "sh", "-c", "cat marker; sha256sum -c sum"]).run();
        assert_eq!(
            (run.code, &*run.stdout),
            (Some(0), &b"marker\nlarge: OK\n"[..]),
            "after {what}: {}",
            run.stderr
        );
        assert_eq!(names(&own), before, "after {what}");
        assert_eq!(names(&own.join("snapshots")), [] as [&str; 0], "after {what}");
    };
    // The baseline is small; a snapshot of what was written is not.
    pyro(&["snapshot", "create", id, "new", "--json"]).run().refused(EXHAUSTED);
    fine("a snapshot");
    let listed = pyro(&["snapshot", "list", id, "--json"]).run().expect(0).json();
    assert_eq!(listed["count"], 1);
    disk.resize(64);
    pyro(&["snapshot", "create", id, "big", "--json"]).run().expect(0).json();
    disk.resize(36);
    pyro(&["reset", id, "--snapshot", "big", "--json"]).run().refused(EXHAUSTED);
    pyro(&["snapshot", "delete", id, "big", "--json"]).run().expect(0).json();
    fine("a reset");
    let status = pyro(&["status", id, "--json"]).run().expect(0).json();
    assert_eq!((&status["state"], &status["reset_count"]), (&json!("running"), &json!(0)));

    // A seed that does not fit: the guest's disk cannot grow.
    disk.resize(26);
    let source = directory(&home, "source");
    let mut noise = vec![0; 16 << 20];
    noise.iter_mut().enumerate().for_each(|(at, byte)| *byte = u8::try_from(at * 7 % 251).unwrap());
    fs::write(source.join("large"), noise).unwrap();
    let seeded = ["create", DEBIAN, "--json", "--seed-path", text(&source)];
    let created = pyro(&seeded).run().expect(1).json();
    assert_eq!(names(&disk.path().join("workspaces")), [id]);
    fine("a creation");
    let pushed = pyro(&["sync", "push", id, text(&source), "--dest", "pushed", "--json"]);
    let pushed = pushed.run().expect(1).json();
    disk.resize(128);
    // The guest's file system may have noticed what its disk did not take; the way out is a reset.
    assert_eq!(pyro(&["reset", id, "--json"]).run().expect(0).json()["state"], "running");
    pyro(&["sync", "push", id, text(&source), "--json"]).run().expect(0).json();
    pyro(&["exec", id, "--", "test", "-s", "large"]).run().expect(0).text();

    // Not even room for a record.
    let ballast = disk.path().join("ballast");
    let _full = fs::write(&ballast, vec![1; 128 << 20]);
    pyro(&["create", DEBIAN, "--json"]).run().refused(EXHAUSTED);
    assert_eq!(names(&disk.path().join("workspaces")), [id]);
    pyro(&["status", id, "--json"]).run().expect(0).json();
    // Nor for one that says how its guest ended, as after a restart of the host.
    let processes = home.processes();
    let supervisors = processes.iter().filter(|process| process.command_line.contains("supervise"));
    supervisors.for_each(Process::end);
    pyro(&["start", id, "--json"]).run().refused(EXHAUSTED);
    pyro(&["delete", id, "--json"]).run().expect(0).json();
    assert_eq!(names(&disk.path().join("workspaces")), [] as [&str; 0]);
    // The guest only knows that its disk failed; whose fault that is, is the host's to say.
    for failed in [created, pushed] {
        let error = &failed["error"];
        assert!(error["code"] == "exhausted" && error["hint"].is_string(), "{error:#}");
    }
}
