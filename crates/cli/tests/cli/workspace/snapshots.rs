//! Snapshots, and the way back to them: from whatever was done to the machine.

use super::trees::directory;
use super::{EXISTS, INVALID, MISSING, paths, text};
use crate::{DEBIAN, SUITE};
use pyro_testkit::{Value, Workspace, json};

fn names(workspace: &Workspace<'_>) -> Vec<String> {
    let list = workspace.json("snapshot list", &[]);
    let snapshots = list["snapshots"].as_array().unwrap();
    assert_eq!(list["count"], snapshots.len());
    snapshots.iter().map(|info| info["snapshot_name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_whole_machine_goes_back_to_a_snapshot_and_what_belongs_to_the_workspace_stays() {
    let home = SUITE.with(DEBIAN);
    let source = directory(&home, "source");
    std::fs::write(source.join("seeded"), "seed\n").unwrap();
    let workspace = home.workspace_with(&["--name", "kept", "--label", "a=b", "--seed-path", text(&source)]);
    let created = workspace.status();
    workspace.sh("echo one > file; rm seeded; echo one > /etc/state; echo one > /tmp/state; mkdir /opt/one");
    let taken = workspace.json("snapshot create", &["one"]);
    assert_eq!(
        (&taken["snapshot_name"], &taken["kind"], &taken["deletable"]),
        (&json!("one"), &json!("named"), &json!(true))
    );
    assert!(taken["disk_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{taken}");
    workspace.sh("echo two > file; echo two > /etc/state; (setsid sleep 1000 >/dev/null 2>&1 &)");
    workspace.json("stop", &[]);
    workspace.json("snapshot create", &["two.stopped-1"]);
    assert_eq!(names(&workspace), ["baseline", "one", "two.stopped-1"]);
    workspace.json("start", &[]);
    workspace.sh("(setsid sleep 1000 >/dev/null 2>&1 &) ; echo three > file; echo three > /etc/hostname");

    let look = "cat file /etc/state /tmp/state seeded 2>/dev/null; ls /opt; pgrep -xc sleep; true";
    let resets: [(&[&str], &str, &str, &[&str]); 4] = [
        (&["--snapshot", "one"], "one", "one\none\none\none\n0\n", &["file", "seeded"]),
        (&["--snapshot", "two.stopped-1"], "two.stopped-1", "two\ntwo\none\none\n0\n", &["file", "seeded"]),
        (&[], "baseline", "seed\n0\n", &[]),
        (&["--snapshot", "baseline"], "baseline", "seed\n0\n", &[]),
    ];
    let mut before = Value::Null;
    for (number, (flags, name, found, changed)) in resets.into_iter().enumerate() {
        let supervisor = workspace.supervisor().unwrap();
        let reset = workspace.json("reset", flags);
        assert_eq!(
            (&reset["workspace_reset"]["snapshot_name"], &reset["state"]),
            (&json!(name), &json!("running"))
        );
        assert_eq!((&reset["reset_count"], &reset["command_count"]), (&json!(number + 1), &json!(0)));
        assert!(reset["last_reset_at"].is_string() && reset["last_reset_at"] != before, "{reset}");
        before = reset["last_reset_at"].clone();
        for field in
            ["workspace_id", "name", "labels", "created_at", "expires_at", "workspace_seed", "environment"]
        {
            assert_eq!(reset[field], created[field], "{field} stays");
        }
        assert_eq!(reset["snapshots"], json!(["baseline", "one", "two.stopped-1"]));
        assert_eq!(workspace.json("logs", &[])["count"], 0);
        assert!(!home.processes().contains(&supervisor), "the machine before is gone");
        let diff = workspace.json("diff", &[]);
        let paths = paths(&diff);
        assert_eq!(paths.len(), changed.len(), "{diff}");
        assert!(
            paths.iter().zip(changed).all(|(path, changed)| path.ends_with(changed)),
            "against the baseline: {diff}"
        );
        assert_eq!(workspace.sh(look), found, "{name}");
        workspace.sh("echo junk > file; echo junk > /etc/state; (setsid sleep 1000 >/dev/null 2>&1 &)");
    }

    for (arguments, refused) in [
        (["snapshot create", "one"], EXISTS),
        (["snapshot create", "baseline"], INVALID),
        (["snapshot delete", "baseline"], INVALID),
        (["snapshot create", "a/b"], INVALID),
        (["snapshot create", "../up"], INVALID),
        (["snapshot create", "a b"], INVALID),
        (["snapshot create", ""], INVALID),
        (["snapshot delete", "none"], MISSING),
    ] {
        workspace.refused(arguments[0], &[arguments[1]], refused);
    }
    let error = workspace.refused("reset", &["--snapshot", "none"], MISSING);
    let hint = error["hint"].as_str().unwrap();
    assert!(["baseline", "one", "two.stopped-1"].iter().all(|name| hint.contains(name)), "{error}");
    workspace.refused("reset", &["--snapshot", "../disk"], INVALID);
    assert_eq!(workspace.status()["reset_count"], 4, "what was refused did nothing");

    let deleted = workspace.json("snapshot delete", &["one"]);
    assert_eq!(deleted, json!({ "workspace_id": workspace.id(), "snapshot_name": "one", "deleted": true }));
    assert_eq!(names(&workspace), ["baseline", "two.stopped-1"]);
    assert!(!home.workspace_directory(workspace.id()).join("snapshots/one.ext4").exists());
    workspace.refused("reset", &["--snapshot", "one"], MISSING);
    workspace.sh("echo again > file");
    workspace.json("snapshot create", &["one"]);
    workspace.json("reset", &["--snapshot", "one"]);
    assert_eq!(workspace.sh("cat file"), "again\n", "a name can be used again");
}

/// What a guest does to itself. None of it is expected to end well.
const DESTRUCTION: [(&str, &str); 7] = [
    ("programs removed", "rm -rf /usr /bin /lib* /etc /sbin"),
    ("everything removed", "rm -rf --no-preserve-root / 2>/dev/null"),
    ("processes killed", "kill -9 -1"),
    ("processes and memory used up", "for i in $(seq 400); do sleep 1000 & done; tail /dev/zero"),
    ("root read-only", "mount -o remount,ro / ; chmod -R 000 /etc /usr/bin"),
    ("kernel panicked", "echo c > /proc/sysrq-trigger"),
    ("disk overwritten", "for disk in /dev/vd?; do dd if=/dev/urandom of=$disk bs=1M count=8; done"),
];

#[test]
fn a_reset_beats_whatever_was_done_inside() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace_with(&["--mem-mib", "512"]);
    workspace.sh("echo good > file");
    workspace.json("snapshot create", &["good"]);
    for (what, script) in DESTRUCTION {
        let _whatever = workspace.exec(&["--timeout-seconds", "5"], script).run();
        home.pyro(["workspace", "list"]).run().expect(0).text();
        let reset = workspace.call("reset", &["--snapshot", "good", "--json"]).run();
        assert!(reset.code == Some(0), "{what}: {}", reset.stderr);
        let (elapsed, reset) = (reset.elapsed, reset.json());
        assert!(reset["guest_responsive"] == true, "{what}, reset in {elapsed:?}: {reset}");
        assert_eq!(
            workspace.sh("cat file; pgrep -xc sleep; git --version | wc -l; touch /etc/x /usr/x"),
            "good\n0\n1\n",
            "{what}"
        );
    }
    for (what, end) in [("stopped", true), ("crashed", false)] {
        if end {
            workspace.json("stop", &[]);
        } else {
            workspace.sh("echo bad > file");
            workspace.supervisor().unwrap().kill();
        }
        assert_eq!(workspace.json("reset", &["--snapshot", "good"])["state"], "running", "{what}");
        assert_eq!(workspace.sh("cat file"), "good\n", "{what}");
    }
    assert_eq!(workspace.status()["reset_count"], DESTRUCTION.len() + 2);
}
