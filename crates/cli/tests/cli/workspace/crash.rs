//! Whatever is killed, whenever: what was acknowledged is there, and the next command tells the truth and sets it right.

use super::trees::directory;
use super::{MISSING, list, text};
use crate::{DEBIAN, SUITE};
use pyro_testkit::{GONE_DEADLINE, Home, Process, Pyro, Running, Signal, Value, Workspace, poll_until};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Milliseconds after which a call is killed that takes a few hundred. None of them has to hit anything in particular.
const MOMENTS: [u64; 8] = [3, 15, 30, 60, 110, 170, 250, 400];

/// Kills the call after so many milliseconds, if it still runs.
fn kill_after(running: Running, milliseconds: u64) {
    let _time_is_up = poll_until(Duration::from_millis(milliseconds), || None::<()>);
    running.signal(Signal::KILL);
    let _killed = running.wait();
}

fn listed(home: &Home) -> Vec<Value> {
    list(home)["workspaces"].as_array().unwrap().clone()
}

#[track_caller]
fn expect_gone(home: &Home, process: &Process) {
    let gone = poll_until(GONE_DEADLINE, || (!home.processes().contains(process)).then_some(()));
    assert!(gone.is_some(), "still alive: {process:?}");
}

#[test]
fn what_was_acknowledged_survives_the_end_of_supervisor_and_vmm() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace_with(&["--name", "kept"]);
    workspace.json("snapshot create", &["named"]);
    let mut expected = String::new();
    for (number, victim) in ["supervisor", "VMM", "both"].into_iter().enumerate() {
        let (supervisor, vmm) = (workspace.supervisor().unwrap(), workspace.vmm().unwrap());
        workspace.sh(&format!("echo exec {number} >> file; echo {number} > /etc/number"));
        workspace.json("file write", &[&format!("written-{number}"), "--text", victim]);
        expected.extend(["exec ", &number.to_string(), "\n"]);
        if victim != "VMM" {
            supervisor.kill();
        }
        if victim != "supervisor" {
            vmm.kill();
        }
        expect_gone(&home, &vmm);
        let stopped = poll_until(GONE_DEADLINE, || {
            Some(workspace.status()).filter(|status| status["state"] == "stopped")
        });
        let stopped = stopped.expect("the end of the guest is noticed");
        assert!(
            stopped["stop_reason"].as_str().is_some_and(|reason| !reason.is_empty()),
            "{victim}: {stopped}"
        );
        assert!(stopped.get("guest_responsive").is_none(), "{victim}: {stopped}");
        assert_eq!((&listed(&home)[0]["state"], &stopped["name"]), (&"stopped".into(), &"kept".into()));
        let error = workspace.refused("exec", &["--", "true"], (125, "wrong_state"));
        let reason = stopped["stop_reason"].as_str().unwrap();
        assert!(error["message"].as_str().unwrap().contains(reason), "{victim}: {error}");
        let started = workspace.json("start", &[]);
        assert_eq!((&started["state"], started.get("stop_reason")), (&"running".into(), None), "{victim}");
        let read = workspace.sh(&format!("cat file /etc/number written-{number}"));
        assert_eq!(read, format!("{expected}{number}\n{victim}"));
        assert_eq!(workspace.json("logs", &[])["count"], 2 * (number + 1), "{victim}");
        assert_eq!(workspace.json("snapshot list", &[])["count"], 2, "{victim}");
    }
    assert_eq!(workspace.json("reset", &["--snapshot", "named"])["state"], "running");
    assert_eq!(workspace.sh("ls"), "");
}

#[test]
fn a_disk_is_free_only_when_the_vmm_that_wrote_to_it_is_gone() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    workspace.sh("dd if=/dev/urandom of=large bs=1M count=64 2>/dev/null");
    for _ in 0..10 {
        let (supervisor, vmm) = (workspace.supervisor().unwrap(), workspace.vmm().unwrap());
        supervisor.kill();
        let began = Instant::now();
        while workspace.is_in_use() {
            assert!(began.elapsed() < GONE_DEADLINE, "the VMM outlives its supervisor");
        }
        // Whoever comes next may start another VMM on the same disk from now on.
        assert!(!vmm.is_alive(), "two VMMs may write to one disk");
        workspace.call("start", &[]).run().expect(0).text();
    }
}

#[test]
fn a_command_whose_guest_is_killed_ends_and_is_on_record_as_interrupted() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    for (number, victim) in ["supervisor", "VMM"].into_iter().enumerate() {
        let mut running = workspace
            .call("exec", &["--timeout-seconds", "60", "--", "sh", "-c", "echo begun; sleep 100"])
            .spawn();
        running.wait_for_stdout("begun");
        let process = if victim == "VMM" { workspace.vmm() } else { workspace.supervisor() };
        process.unwrap().kill();
        let ended = running.wait().expect(125);
        assert!(ended.elapsed < Duration::from_secs(20), "{victim}: {:?}", ended.elapsed);
        assert!(
            ended.stderr.contains("error: ") && ended.stderr.contains(" hint: "),
            "{victim}: {}",
            ended.stderr
        );
        let entry = &workspace.json("logs", &[])["entries"][number];
        assert_eq!((&entry["state"], &entry["exit_code"]), (&"interrupted".into(), &Value::Null), "{victim}");
        assert!(entry["interrupted"].is_string(), "{entry}");
        workspace.call("start", &[]).run().expect(0).text();
    }
}

#[test]
fn a_creation_that_is_killed_leaves_a_whole_workspace_or_none() {
    let home = SUITE.with(DEBIAN);
    let source = directory(&home, "source");
    for number in 0..200 {
        fs::write(source.join(format!("file-{number}")), vec![b'x'; 20_000]).unwrap();
    }
    for seeded in [false, true] {
        let seed = ["--seed-path", text(&source)];
        let seed = if seeded { &seed[..] } else { &[] };
        let create = || home.pyro(["workspace", "create", DEBIAN, "--json"]).args(seed).spawn();
        let phases = if seeded { &["create", "start", "seed"][..] } else { &["create", "start"] };
        for phase in phases {
            let mut running = create();
            running.wait_for_stderr(&format!("phase={phase}"));
            kill_after(running, 0);
            expect_whole_or_nothing(&home, seeded, &format!("in phase {phase}"));
        }
        for moment in MOMENTS {
            kill_after(create(), moment);
            expect_whole_or_nothing(&home, seeded, &format!("after {moment} ms"));
        }
    }
}

#[track_caller]
fn expect_whole_or_nothing(home: &Home, seeded: bool, when: &str) {
    // A process that it had begun to start may hold its lock for a moment longer than it lived.
    let is_settled = |entries: &Vec<Value>| entries.iter().all(|entry| entry["state"] != "creating");
    let settled = poll_until(GONE_DEADLINE, || Some(listed(home)).filter(is_settled));
    for entry in settled.unwrap_or_else(|| listed(home)) {
        assert_eq!(entry["state"], "running", "{when}: {entry}");
        let workspace = Workspace::adopt(home, entry["workspace_id"].as_str().unwrap());
        let files = if seeded { "200\n" } else { "0\n" };
        assert_eq!(workspace.sh("ls | wc -l"), files, "{when}");
        assert_eq!(workspace.json("diff", &[])["changed"], false, "{when}");
    }
    home.expect_no_process_within(GONE_DEADLINE);
    assert_eq!(home.workspaces(), [] as [&str; 0], "{when}");
}

#[test]
fn a_creation_that_is_killed_before_it_is_on_record_leaves_nothing() {
    let home = SUITE.with(DEBIAN);
    assert_eq!(listed(&home), [] as [Value; 0]);
    // The directory comes before the record; this is what is there in between.
    let directory = home.workspace_directory("ws-0123456789abcdef");
    fs::create_dir_all(directory.join("snapshots"))
        .and_then(|()| fs::write(directory.join("lock"), ""))
        .unwrap();
    assert_eq!(listed(&home), [] as [Value; 0]);
    home.workspace().sh("true");
    assert_eq!(home.workspaces(), [] as [&str; 0], "the next command removes what a killed one left");
}

#[test]
fn a_command_whose_caller_is_killed_ends_in_the_guest_too() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    let mut running = workspace.exec(&[], "sleep 1000 & sleep 1000 & echo begun; wait").spawn();
    running.wait_for_stdout("begun");
    assert_eq!(workspace.sh("pgrep -xc sleep"), "2\n");
    kill_after(running, 0);
    let logs = workspace.json("logs", &[]);
    assert_eq!(
        (&logs["entries"][0]["state"], &logs["entries"][0]["exit_code"]),
        (&"interrupted".into(), &Value::Null)
    );
    assert!(logs["entries"][0]["interrupted"].is_string(), "{logs}");
    let ended = poll_until(GONE_DEADLINE, || {
        workspace.exec(&[], "pgrep -x sleep").run().stdout.is_empty().then_some(())
    });
    assert!(ended.is_some(), "the command runs on, and nobody waits for it");
    for moment in MOMENTS {
        kill_after(workspace.exec(&[], "echo $$ >> pids; sleep 0.05; echo done").spawn(), moment);
        assert_eq!(workspace.sh("echo fine"), "fine\n", "after {moment} ms");
    }
    for entry in workspace.json("logs", &[])["entries"].as_array().unwrap() {
        assert_ne!(entry["state"], "running", "{entry}");
    }
}

/// Kills a call of `command` at each moment, and has the workspace looked at afterwards, which is started again then.
fn at_all_moments(
    workspace: &Workspace<'_>,
    prepare: impl Fn(usize),
    call: impl Fn(usize) -> Pyro,
    check: impl Fn(usize, &Value),
) {
    for (number, moment) in MOMENTS.into_iter().enumerate() {
        prepare(number);
        kill_after(call(number).spawn(), moment);
        let status = workspace.status();
        assert!(status["state"] == "running" || status["state"] == "stopped", "after {moment} ms: {status}");
        if status["state"] == "running" {
            assert_eq!(workspace.status()["guest_responsive"], true, "after {moment} ms");
        }
        workspace.call("start", &[]).run().expect(0).text();
        check(number, &status);
    }
}

#[test]
fn a_reset_that_is_killed_is_done_or_is_not() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace_with(&["--name", "kept"]);
    workspace.sh("echo named > named");
    workspace.json("snapshot create", &["named"]);
    let resets = || workspace.status()["reset_count"].as_u64().unwrap();
    let done = std::cell::Cell::new(0);
    at_all_moments(
        &workspace,
        |number| {
            done.set(resets());
            workspace.sh(&format!("echo {number} > marker; echo {number} > /etc/marker"));
        },
        |number| workspace.call("reset", &["--snapshot", if number % 2 == 0 { "baseline" } else { "named" }]),
        |number, status| {
            assert_eq!((&status["name"], &status["snapshots"][1]), (&"kept".into(), &"named".into()));
            let was_reset = status["reset_count"] == done.get() + 1;
            assert!(was_reset || status["reset_count"] == done.get(), "{number}: {status}");
            assert_eq!(resets(), status["reset_count"].as_u64().unwrap(), "{number}: it stays so");
            assert!(
                was_reset == (status["command_count"] == 0),
                "{number}: the journal goes with the rest: {status}"
            );
            let read = workspace.sh("cat marker /etc/marker 2>/dev/null; true");
            let expected = if was_reset { String::new() } else { format!("{number}\n{number}\n") };
            assert_eq!(read, expected, "{number}");
            if was_reset {
                assert_eq!(workspace.sh("ls"), if number % 2 == 0 { "" } else { "named\n" }, "{number}");
            }
        },
    );
    assert_eq!(workspace.json("reset", &[])["state"], "running");
    expect_no_half_disk(&home, &workspace);
}

#[test]
fn a_snapshot_that_is_killed_is_whole_or_is_not_there() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    workspace.sh("dd if=/dev/urandom of=large bs=1M count=48 2>/dev/null; sha256sum large > sum");
    at_all_moments(
        &workspace,
        |_| {},
        |number| workspace.call("snapshot create", &[&format!("s{number}")]),
        |number, _| {
            // A guest that stayed frozen would not take this.
            let write = workspace.exec(&["--timeout-seconds", "10"], "echo more >> growing; sync").run();
            assert_eq!(write.code, Some(0), "{number}: {}", write.stderr);
            let (name, list) = (format!("s{number}"), workspace.json("snapshot list", &[]));
            let has = list["snapshots"].as_array().unwrap().iter().any(|info| info["snapshot_name"] == *name);
            if !has {
                workspace.refused("snapshot delete", &[&name], MISSING);
                workspace.json("snapshot create", &[&name]);
            }
        },
    );
    for number in [0, MOMENTS.len() - 1] {
        workspace.json("reset", &["--snapshot", &format!("s{number}")]);
        assert_eq!(workspace.sh("sha256sum -c sum"), "large: OK\n");
    }
    expect_no_half_disk(&home, &workspace);
}

#[test]
fn a_stop_that_is_killed_is_done_or_is_not() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    at_all_moments(
        &workspace,
        |number| {
            workspace.sh(&format!("echo {number} >> file"));
        },
        |_| workspace.call("stop", &[]),
        |number, _| assert_eq!(workspace.sh("wc -l < file"), format!("{}\n", number + 1)),
    );
    at_all_moments(
        &workspace,
        |_| {
            workspace.call("stop", &[]).run().expect(0).text();
        },
        |_| workspace.call("start", &[]),
        |_, _| assert_eq!(workspace.sh("wc -l < file"), format!("{}\n", MOMENTS.len())),
    );
    assert_eq!(
        home.processes().iter().filter(|process| process.command_line.contains("supervise")).count(),
        1
    );
}

#[test]
fn a_start_waits_for_a_stop_whose_caller_was_killed() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    // Whether it is killed while its supervisor is stopping the guest is a matter of luck.
    let is_next_guest = (0..5).any(|_| {
        // The end of this guest takes seconds.
        workspace.sh("(setsid sh -c 'trap \"\" TERM; sleep 1000' >/dev/null 2>&1 &)");
        let mut stopping = workspace.call("stop", &[]).spawn();
        stopping.wait_for_stderr("phase=stop");
        kill_after(stopping, 500);
        let started = workspace.json("start", &[]);
        assert_eq!(
            (&started["state"], &started["guest_responsive"]),
            (&"running".into(), &true.into()),
            "{started}"
        );
        workspace.sh("pgrep -xc sleep; true") == "0\n"
    });
    assert!(is_next_guest, "no stop went on without its caller");
}

#[test]
fn a_deletion_that_is_killed_is_done_by_the_next_command() {
    let home = SUITE.with(DEBIAN);
    for moment in [1, 2, 4, 6, 8, 12, 20] {
        let workspace = home.workspace();
        workspace.json("snapshot create", &["named"]);
        kill_after(workspace.call("delete", &[]).spawn(), moment);
        let status = workspace.call("status", &["--json"]).run();
        if status.code == Some(0) {
            assert_eq!(workspace.sh("echo fine"), "fine\n", "after {moment} ms");
            continue;
        }
        status.refused(MISSING);
        assert_eq!(listed(&home), [] as [Value; 0], "after {moment} ms");
        home.expect_no_process_within(GONE_DEADLINE);
        assert_eq!(home.workspaces(), [] as [&str; 0], "after {moment} ms");
        workspace.forget();
    }
}

#[test]
fn after_the_end_of_everything_at_once_all_is_as_it_was_on_the_disk() {
    let home = SUITE.with(DEBIAN);
    let (running, stopped) =
        (home.workspace_with(&["--name", "first"]), home.workspace_with(&["--name", "second"]));
    running.sh("echo first > file");
    stopped.sh("echo second > file");
    stopped.call("stop", &[]).run().expect(0).text();
    let mut command = running.exec(&[], "echo begun; sleep 1000").spawn();
    command.wait_for_stdout("begun");
    let reset = stopped.call("reset", &[]).spawn();
    for process in home.processes() {
        process.kill();
    }
    let (_killed, _killed_too) = (command.wait(), reset.wait());
    home.expect_no_process_within(GONE_DEADLINE);
    // As after a restart of the host.
    for workspace in [&running, &stopped] {
        let directory = home.workspace_directory(workspace.id());
        for socket in ["guest.sock", "control.sock"] {
            let _there_may_be_none = fs::remove_file(directory.join(socket));
        }
        fs::write(directory.join("alive"), "1").unwrap();
    }
    fs::remove_dir_all(home.path().join("run"))
        .and_then(|()| fs::create_dir(home.path().join("run")))
        .unwrap();
    let listed = listed(&home);
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().all(|entry| entry["state"] == "stopped"), "{listed:?}");
    assert!(running.status()["stop_reason"].is_string(), "{}", running.status());
    assert_eq!(running.json("logs", &[])["entries"][1]["state"], "interrupted");
    for (workspace, content) in [(&running, "first\n"), (&stopped, "second\n")] {
        let was_reset = workspace.status()["reset_count"] == 1;
        workspace.json("start", &[]);
        assert_eq!(workspace.sh("cat file 2>/dev/null; true"), if was_reset { "" } else { content });
    }
}

/// No disk that was on its way to become another one is left.
#[track_caller]
fn expect_no_half_disk(home: &Home, workspace: &Workspace<'_>) {
    let directory = home.workspace_directory(workspace.id());
    let left: Vec<PathBuf> = ["unfinished.ext4", "next.ext4"]
        .map(|name| directory.join(name))
        .into_iter()
        .filter(|path| path.exists())
        .collect();
    assert_eq!(left, [] as [PathBuf; 0]);
}
