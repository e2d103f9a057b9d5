//! Several processes with one workspace, and many workspaces at once. One that is stuck is nobody else's matter.

use super::{EXISTS, MISSING};
use crate::{DEBIAN, SUITE};
use pyro_testkit::{Signal, json, poll_until};
use std::time::Duration;

#[test]
fn two_commands_run_at_the_same_time() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    // Each waits for the other one.
    let meet = |own: &str, other: &str| {
        let wait = format!("touch {own}; until test -e {other}; do sleep 0.05; done; echo {own}");
        workspace.exec(&["--timeout-seconds", "20"], &wait).spawn()
    };
    let both = [("a", meet("a", "b")), ("b", meet("b", "a"))];
    for (own, running) in both {
        assert_eq!(running.wait().expect(0).text(), format!("{own}\n"));
    }
    let many: Vec<_> = (0..8)
        .map(|number| (number, workspace.exec(&[], &format!("echo {number}; echo {number} >> all")).spawn()))
        .collect();
    for (number, running) in many {
        assert_eq!(running.wait().expect(0).text(), format!("{number}\n"));
    }
    assert_eq!(workspace.sh("sort all | tr -d '\n'"), "01234567");
    let logs = workspace.json("logs", &[]);
    let sequences: Vec<_> =
        logs["entries"].as_array().unwrap().iter().map(|entry| entry["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, (1..=11).collect::<Vec<_>>());
}

#[test]
fn whoever_works_in_a_workspace_that_another_process_changes_is_told_so() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    for (command, journal) in [("reset", 0), ("stop", 1)] {
        let script = "touch begun; sleep 100";
        let running = workspace.exec(&["--timeout-seconds", "60", "--json"], script).spawn();
        expect_soon(|| workspace.exec(&[], "rm begun 2>/dev/null").run().code == Some(0));
        workspace.call(command, &[]).run().expect(0).text();
        let ended = running.wait();
        workspace.call("start", &[]).run().expect(0).text();
        let logs = workspace.json("logs", &[]);
        let entries = logs["entries"].as_array().unwrap();
        let begun: Vec<_> = entries.iter().filter(|entry| entry["command"][2] == script).collect();
        assert_eq!(begun.len(), journal, "{command}: {logs}");
        assert!(begun.iter().all(|entry| entry["state"] == "interrupted"), "{command}: {logs}");
        assert!(journal > 0 || entries.is_empty(), "{command}: {logs}");
        assert_eq!(workspace.sh("echo fine"), "fine\n", "{command}");
        assert!(ended.elapsed < Duration::from_secs(30), "{command}: {:?}", ended.elapsed);
        let error = ended.json()["error"].clone();
        assert!(error["code"] == "wrong_state", "{command}: {error}");
    }
}

#[test]
fn what_ends_late_does_not_get_into_the_journal_after_a_reset() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    let mut late = workspace.exec(&["--timeout-seconds", "60"], "echo begun; sleep 100").spawn();
    late.wait_for_stdout("begun");
    late.signal(Signal::STOP);
    workspace.json("reset", &[]);
    workspace.sh("echo new");
    late.signal(Signal::CONT);
    late.wait().expect(125).text();
    let logs = workspace.json("logs", &[]);
    assert_eq!(logs["count"], 1, "{logs}");
    let entry = &logs["entries"][0];
    assert_eq!(
        (&entry["state"], &entry["exit_code"], &entry["stdout"]),
        (&json!("exited"), &json!(0), &json!("new\n"))
    );
}

#[test]
fn changes_of_state_take_turns() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    let calls: [(&str, &[&str]); 6] = [
        ("reset", &[]),
        ("reset", &[]),
        ("start", &[]),
        ("snapshot create", &["a"]),
        ("stop", &[]),
        ("snapshot create", &["b"]),
    ];
    let running: Vec<_> =
        calls.into_iter().map(|(command, arguments)| workspace.call(command, arguments).spawn()).collect();
    for call in running {
        call.wait().expect(0).text();
    }
    assert_eq!(workspace.status()["reset_count"], 2);
    assert_eq!(workspace.json("snapshot list", &[])["count"], 3);
    workspace.json("start", &[]);
    assert_eq!(workspace.sh("echo fine"), "fine\n");
    let same: Vec<_> =
        (0..3).map(|_| workspace.call("snapshot create", &["same", "--json"]).spawn()).collect();
    let mut made = 0;
    for call in same {
        let run = call.wait();
        if run.code == Some(0) {
            made += 1;
        } else {
            run.refused(EXISTS);
        }
    }
    assert_eq!(made, 1);
}

#[test]
fn many_at_once_are_made_used_and_deleted() {
    let home = SUITE.with(DEBIAN);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let home = &home;
            scope.spawn(move || {
                let name = format!("w{number}");
                let workspace = home.workspace_with(&["--name", &name, "--mem-mib", "256"]);
                assert_eq!(workspace.sh(&format!("echo {number} > file; cat file")), format!("{number}\n"));
                assert_eq!(workspace.status()["name"], *name);
                workspace.delete();
            });
        }
    });
    assert_eq!(home.workspaces(), [] as [&str; 0]);
}

#[test]
fn only_one_deletes_a_workspace_and_the_others_are_told() {
    let home = SUITE.with(DEBIAN);
    for round in 0..3 {
        let workspace = home.workspace();
        let calls: Vec<_> = (0..6).map(|_| workspace.call("delete", &["--json"]).spawn()).collect();
        let mut deleted = 0;
        for call in calls {
            let run = call.wait();
            if run.code == Some(0) {
                deleted += 1;
            } else {
                run.refused(MISSING);
            }
        }
        assert_eq!(deleted, 1, "round {round}");
        assert_eq!(home.workspaces(), [] as [&str; 0], "round {round}");
        workspace.forget();
    }
}

#[test]
fn one_that_is_stuck_holds_up_nobody_else_and_can_be_deleted() {
    let home = SUITE.with(DEBIAN);
    let (stuck, other) = (home.workspace_with(&["--name", "stuck"]), home.workspace());
    let begun = stuck.exec(&["--timeout-seconds", "5", "--json"], "touch begun; sleep 100").spawn();
    expect_soon(|| stuck.exec(&[], "test -e begun").run().code == Some(0));
    let _paused = stuck.vmm().unwrap().pause();
    let list = home.pyro(["workspace", "list", "--json"]).run().expect(0).within(2).json();
    assert!(list["count"] == 2 && list["workspaces"][0]["state"] == "running", "{list}");
    let status = stuck.call("status", &["--json"]).run().expect(0).within(6).json();
    assert_eq!((&status["state"], &status["guest_responsive"]), (&json!("running"), &json!(false)));
    assert_eq!(other.exec(&[], "echo fine").run().expect(0).within(5).text(), "fine\n");
    other.call("reset", &[]).run().expect(0).within(20).text();
    home.workspace().call("status", &[]).run().expect(0).within(5).text();
    // A command that the guest took before, and one that it does not take: each ends about when it should have.
    let result = begun.wait().expect(124).within(25).json();
    assert!(result["timed_out"] == true && result["flush_error"].is_string(), "{result}");
    let refused = stuck.exec(&["--timeout-seconds", "3", "--json"], "true").run();
    let late = refused.elapsed;
    stuck.call("delete", &[]).run().expect(0).within(15).text();
    assert!(stuck.vmm().is_none() && !home.workspace_directory(stuck.id()).exists());
    stuck.forget();
    assert!(matches!(refused.code, Some(124 | 125)), "{:?} {}", refused.code, refused.stderr);
    assert!(late < Duration::from_secs(15), "a command with 3 s ended after {late:?}: {}", refused.stderr);
}

#[test]
fn a_supervisor_that_is_stuck_holds_up_nobody_either() {
    let home = SUITE.with(DEBIAN);
    let (stuck, other) = (home.workspace(), home.workspace());
    let _paused = stuck.supervisor().unwrap().pause();
    assert_eq!(home.pyro(["workspace", "list", "--json"]).run().expect(0).within(2).json()["count"], 2);
    let status = stuck.call("status", &["--json"]).run().expect(0).within(6).json();
    assert_eq!(status["guest_responsive"], false, "{status}");
    assert_eq!(other.exec(&[], "echo fine").run().expect(0).within(5).text(), "fine\n");
    stuck.call("reset", &[]).run().expect(0).within(40).text();
    assert_eq!(stuck.sh("echo fine"), "fine\n");
}

#[test]
fn a_vmm_that_does_not_end_holds_up_nobody_and_is_named() {
    let home = SUITE.with(DEBIAN);
    let (stuck, other) = (home.workspace(), home.workspace());
    stuck.supervisor().unwrap().end();
    let lingering = stuck.use_disk();
    assert_eq!(home.pyro(["workspace", "list", "--json"]).run().expect(0).within(2).json()["count"], 2);
    assert_eq!(other.exec(&[], "echo fine").run().expect(0).within(5).text(), "fine\n");
    for command in ["status", "delete"] {
        let error = stuck.refused(command, &[], (1, "wrong_state"));
        assert!(error["message"].as_str().unwrap().contains("has not ended"), "{error}");
        assert!(error["hint"].as_str().unwrap().contains("try again"), "{error}");
    }
    drop(lingering);
    assert_eq!(stuck.status()["state"], "stopped");
    stuck.json("start", &[]);
    assert_eq!(stuck.sh("echo fine"), "fine\n");
}

#[track_caller]
fn expect_soon(mut is_so: impl FnMut() -> bool) {
    assert!(poll_until(Duration::from_secs(10), || is_so().then_some(())).is_some(), "it never came to be");
}
