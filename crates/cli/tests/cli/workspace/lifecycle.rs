//! A workspace from its creation to its end, as everybody sees it.

use super::trees::directory;
use super::{MISSING, list, text};
use crate::sdk::{self, block_on};
use crate::{DEBIAN, SUITE, execution_mode};
use pyro::OutputMode;
use pyro::workspace::{CreateWorkspace, WorkspaceExec, WorkspaceId};
use pyro_testkit::{GONE_DEADLINE, Value, Workspace, json};
use std::fs;

#[test]
fn what_is_known_of_a_workspace_is_what_was_asked_for() {
    let home = SUITE.with(DEBIAN);
    let flags = ["--name", "demo ü", "--label", "team=a/b", "--label", "note=x=y", "--ttl-seconds", "900"];
    let flags = [&flags[..], &["--mem-mib", "512", "--json"]].concat();
    let created = home.pyro(["workspace", "create", DEBIAN]).args(&flags).run().expect(0).json();
    let workspace = Workspace::adopt(&home, created["workspace_id"].as_str().unwrap());
    let status = workspace.status();
    assert_eq!(created, status);
    let expected = json!({
        "name": "demo ü", "labels": { "team": "a/b", "note": "x=y" }, "environment": DEBIAN, "state": "running",
        "guest_responsive": true, "workspace_path": "/workspace", "vcpu_count": 1, "mem_mib": 512,
        "network_policy": "off", "ttl_seconds": 900, "command_count": 0, "snapshots": ["baseline"],
        "reset_count": 0, "last_reset_at": null, "service_count": 0, "running_service_count": 0, "published_ports": [],
        "workspace_seed": { "mode": "empty", "seed_path": null, "origin_kind": "empty", "origin_ref": null,
                            "entry_count": 0, "bytes_written": 0 },
    });
    assert_eq!(chosen(&status, &expected), expected);
    assert_eq!(status["execution_mode"], execution_mode(&home));
    let (created_at, expires_at) = (seconds(&status["created_at"]), seconds(&status["expires_at"]));
    assert!((expires_at - created_at - 900.0).abs() < 0.001, "{status}");
    assert!(status.get("stop_reason").is_none(), "{status}");

    let list = list(&home);
    assert_eq!((&list["count"], list["workspaces"].as_array().unwrap().len()), (&json!(1), 1));
    let entry = &list["workspaces"][0];
    assert_eq!(entry, &chosen(&status, entry), "the list says what the status says");
    for field in ["workspace_id", "name", "labels", "environment", "state", "expires_at", "last_activity_at"]
    {
        assert!(entry.get(field).is_some(), "{field} is missing: {entry}");
    }
    let shown = home.pyro(["workspace", "list"]).run().expect(0);
    assert!(shown.text().contains(workspace.id()) && shown.text().contains("demo ü"), "{}", shown.text());

    let renamed =
        workspace.json("update", &["--name", "other", "--label", "team=c", "--clear-label", "none"]);
    assert_eq!(
        (&renamed["name"], &renamed["labels"]),
        (&json!("other"), &json!({ "team": "c", "note": "x=y" }))
    );
    let cleared = workspace.json("update", &["--clear-name", "--clear-label", "team", "--label", "empty="]);
    assert_eq!(
        (&cleared["name"], &cleared["labels"]),
        (&Value::Null, &json!({ "empty": "", "note": "x=y" }))
    );
    assert_eq!(cleared["workspace_id"], workspace.id());
    workspace.call("stop", &[]).run().expect(0).text();
    assert_eq!(workspace.json("update", &["--name", "stopped"])["name"], "stopped");
}

#[test]
fn only_work_counts_as_activity() {
    let home = SUITE.with(DEBIAN);
    let (other, workspace) = (home.workspace(), home.workspace());
    let (source, exported) = (directory(&home, "source"), home.path().join("exported"));
    fs::write(source.join("file"), "text\n").unwrap();
    let patch = "--- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+new\n";
    let work: [(&str, &[&str]); 10] = [
        ("exec", &["--", "touch", "file"]),
        ("file write", &["file", "--text", "text\n"]),
        ("update", &["--label", "a=b"]),
        ("patch apply", &["--patch", patch]),
        ("sync push", &[text(&source)]),
        ("snapshot create", &["a"]),
        ("snapshot delete", &["a"]),
        ("reset", &[]),
        ("stop", &[]),
        ("start", &[]),
    ];
    let looks: [(&str, &[&str]); 8] = [
        ("status", &[]),
        ("logs", &[]),
        ("summary", &[]),
        ("diff", &[]),
        ("file list", &["--recursive"]),
        ("file read", &["file"]),
        ("snapshot list", &[]),
        ("export", &["file", "--output", text(&exported)]),
    ];
    let activity = |workspace: &Workspace<'_>| seconds(&workspace.status()["last_activity_at"]);
    let expect_first = |expected: &Workspace<'_>| {
        let list = list(&home);
        assert_eq!(
            (&list["count"], &list["workspaces"][0]["workspace_id"]),
            (&json!(2), &json!(expected.id()))
        );
    };
    expect_first(&workspace);
    for (command, arguments) in work {
        other.json("exec", &["--", "true"]);
        expect_first(&other);
        let before = activity(&workspace);
        workspace.call(command, arguments).run().expect(0).text();
        assert!(activity(&workspace) > before, "`{command}` is work");
        expect_first(&workspace);
        if command != "file write" {
            continue;
        }
        let before = activity(&workspace);
        for (command, arguments) in looks {
            workspace.call(command, arguments).run().expect(0).text();
            assert!((activity(&workspace) - before).abs() < f64::EPSILON, "`{command}` is not work");
        }
    }
    let before = activity(&workspace);
    workspace.call("start", &[]).run().expect(0).text();
    assert!((activity(&workspace) - before).abs() < f64::EPSILON, "it ran already");
}

#[test]
fn commands_share_one_machine_and_are_all_on_record() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    workspace.sh("echo one > file; echo two > /etc/two; echo three > /tmp/three; echo four > /root/four");
    assert_eq!(
        workspace.sh("pwd; cat file /etc/two /tmp/three /root/four"),
        "/workspace\none\ntwo\nthree\nfour\n"
    );
    workspace.sh("(setsid sleep 1000 >/dev/null 2>&1 &)");
    assert_eq!(workspace.sh("pgrep -xc sleep"), "1\n");
    let runs: [(i32, &[&str], &str, &str); 9] = [
        (0, &["true"], "", ""),
        (7, &["sh", "-c", "echo out; echo err >&2; exit 7"], "out\n", "err\n"),
        (127, &["no-such-program"], "", "no-such-program"),
        (126, &["/etc/hostname"], "", "not executable"),
        (137, &["sh", "-c", "kill -9 $$"], "", ""),
        (124, &["sh", "-c", "echo begun; sleep 1000"], "begun\n", ""),
        (0, &["printf", "%s|", "a b", "", "$HOME", "--", "*"], "a b||$HOME|--|*|", ""),
        (255, &["sh", "-c", "exit 255"], "", ""),
        (0, &["sh", "-c", r"printf 'a\377b'"], "a\u{fffd}b", ""),
    ];
    for (code, command, stdout, stderr) in runs {
        let flags: &[&str] = if code == 124 { &["--timeout-seconds", "1"] } else { &[] };
        let streamed = workspace.call("exec", flags).args(["--"]).args(command).run().expect(code);
        assert_eq!(String::from_utf8_lossy(&streamed.stdout), stdout);
        assert!(streamed.stderr.contains(stderr), "{}", streamed.stderr);
        assert!(streamed.last_line().contains(&format!("exit_code={code} ")), "{}", streamed.stderr);
    }
    let result = workspace.call("exec", &["--json", "--", "sh", "-c", "echo out; echo err >&2; exit 3"]);
    let result = result.run().expect(3).json();
    let expected = json!({
        "workspace_id": workspace.id(), "command": ["sh", "-c", "echo out; echo err >&2; exit 3"], "sequence": 14,
        "cwd": "/workspace", "exit_code": 3, "timed_out": false, "stdout": "out\n", "stderr": "err\n",
        "execution_mode": execution_mode(&home),
    });
    assert_eq!(chosen(&result, &expected), expected);

    let logs = workspace.json("logs", &[]);
    assert_eq!(logs["count"], 14);
    let entries = &logs["entries"].as_array().unwrap()[4..13];
    let mut before = 0.0;
    for (entry, (code, command, stdout, stderr)) in entries.iter().zip(runs) {
        assert_eq!((&entry["command"], &entry["exit_code"]), (&json!(command), &json!(code)));
        assert_eq!((&entry["stdout"], &entry["state"]), (&json!(stdout), &json!("exited")));
        assert!(entry["stderr"].as_str().unwrap().contains(stderr), "{entry}");
        assert_eq!(entry["timed_out"], code == 124);
        let started = seconds(&entry["started_at"]);
        assert!(started > before, "{entry}");
        before = started;
    }
    assert!(
        entries[5]["duration_ms"].as_u64().is_some_and(|ms| (900..10_000).contains(&ms)),
        "{}",
        entries[5]
    );
    assert_eq!(workspace.status()["command_count"], 14);

    let mut running = workspace.exec(&[], "echo begun; sleep 20").spawn();
    running.wait_for_stdout("begun");
    let entry = &workspace.json("logs", &[])["entries"][14];
    assert_eq!((&entry["state"], &entry["exit_code"]), (&json!("running"), &Value::Null));
    running.signal(pyro_testkit::Signal::INT);
    running.wait().expect(130).text();
    assert_eq!(workspace.json("logs", &[])["entries"][14]["state"], "interrupted");
}

#[test]
fn a_stopped_workspace_keeps_its_disk_and_journal() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    let write = "echo file > file; echo etc > /etc/kept; chmod 600 file; dd if=/dev/urandom bs=1M count=4 of=large 2>&1";
    workspace.sh(&format!("{write}; sha256sum large > sum; (setsid sleep 1000 >/dev/null 2>&1 &)"));
    assert!(workspace.vmm().is_some());
    for _ in 0..2 {
        let stopped = workspace.json("stop", &[]);
        assert_eq!((&stopped["state"], stopped.get("stop_reason")), (&json!("stopped"), None));
        assert!(stopped.get("guest_responsive").is_none(), "{stopped}");
        assert_eq!(workspace.vmm(), None);
    }
    assert_eq!(workspace.status()["state"], "stopped");
    let in_guest: [(&str, &[&str], i32); 7] = [
        ("exec", &["--", "true"], 125),
        ("file read", &["file"], 1),
        ("file list", &[], 1),
        ("file write", &["file", "--text", "x"], 1),
        ("patch apply", &["--patch", "--- /dev/null\n+++ b/n\n@@ -0,0 +1 @@\n+n\n"], 1),
        ("diff", &[], 1),
        ("export", &["file", "--output", "/tmp/pyro-never"], 1),
    ];
    for (command, arguments, status) in in_guest {
        let error = workspace.refused(command, arguments, (status, "wrong_state"));
        let hint = error["hint"].as_str().unwrap();
        assert!(hint.contains(&format!("pyro workspace start {}", workspace.id())), "{command}: {error}");
    }
    assert_eq!(workspace.json("logs", &[])["count"], 1, "what was refused did not run");
    for _ in 0..2 {
        let started = workspace.json("start", &[]);
        assert_eq!((&started["state"], &started["guest_responsive"]), (&json!("running"), &json!(true)));
    }
    let read = workspace
        .sh("cat file /etc/kept; stat -c %a file; sha256sum -c sum; pgrep -xc sleep; ls /tmp; id -un");
    assert_eq!(read, "file\netc\n600\nlarge: OK\n0\nroot\n");
    assert_eq!(workspace.json("logs", &[])["count"], 2);

    let directory = home.workspace_directory(workspace.id());
    assert!(directory.is_dir());
    let id = workspace.id().to_owned();
    assert_eq!(workspace.delete().json(), json!({ "workspace_id": id, "deleted": true }));
    assert!(!directory.exists());
    home.expect_no_process_within(GONE_DEADLINE);
    assert_eq!(home.workspaces(), [] as [&str; 0]);
    for (command, status) in
        [("status", 1), ("delete", 1), ("start", 1), ("stop", 1), ("reset", 1), ("logs", 1)]
    {
        home.pyro(["workspace", command, &id, "--json"]).run().refused((status, "not_found"));
    }
}

#[test]
fn an_unknown_workspace_is_answered_with_those_that_may_be_meant() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace_with(&["--name", "parser-fix"]);
    let id = workspace.id();
    let other = if id.ends_with('0') { "1" } else { "0" };
    let misspelt = format!("{}{other}", &id[..id.len() - 1]);
    for (given, meant) in
        [(&*misspelt, true), ("parser-fix", true), ("parser_fix", true), ("zzz", false), ("", false)]
    {
        let error = home.pyro(["workspace", "status", given, "--json"]).run().refused(MISSING);
        let (message, hint) = (error["message"].as_str().unwrap(), error["hint"].as_str().unwrap());
        assert!(message.contains(&format!("`{given}`")), "{error}");
        assert_eq!(hint.contains(id) && hint.contains("parser-fix"), meant, "{error}");
        assert!(meant || hint.contains("pyro workspace list"), "{error}");
    }
    let run = home.pyro(["workspace", "exec", &misspelt, "--", "true"]).run().expect(125);
    assert!(run.stderr.contains(" hint: ") && run.stdout.is_empty(), "{}", run.stderr);
}

#[test]
fn the_sdk_sees_the_same_workspaces() {
    let home = SUITE.with(DEBIAN);
    let pyro = sdk::of(&home);
    let exec = |words: &[&str]| WorkspaceExec::new(words.iter().map(|word| (*word).to_owned()).collect());
    let by_cli = home.workspace_with(&["--name", "cli"]);
    by_cli.sh("echo cli > file");
    block_on(async {
        let request = CreateWorkspace { name: Some("sdk".to_owned()), ..CreateWorkspace::new(DEBIAN) };
        let id = pyro.create_workspace(request).await.unwrap().workspace_id;
        pyro.exec_workspace(&id, exec(&["sh", "-c", "echo sdk > file"]), OutputMode::Capture).await.unwrap();
        let by_sdk = Workspace::adopt(&home, id.as_str());
        assert_eq!(by_sdk.sh("cat file"), "sdk\n");
        let seen = WorkspaceId::parse(by_cli.id());
        let read = pyro.exec_workspace(&seen, exec(&["cat", "file"]), OutputMode::Capture).await.unwrap();
        assert_eq!((read.exit_code, &*read.stdout, read.sequence), (0, "cli\n", 2));
        assert_eq!(pyro.list_workspaces().await.unwrap().count, 2);
        by_sdk.json("stop", &[]);
        assert_eq!(pyro.status_workspace(&id).await.unwrap().state.as_str(), "stopped");
        assert!(pyro.delete_workspace(&id).await.unwrap().deleted);
        by_sdk.refused("status", &[], MISSING);
        by_sdk.forget();
    });
}

/// The fields of `document` that `pattern` has.
fn chosen(document: &Value, pattern: &Value) -> Value {
    let fields = pattern.as_object().unwrap().keys();
    fields.map(|field| (field.clone(), document[field].clone())).collect()
}

/// A time in seconds since some day of this month: times of one test are not further apart.
fn seconds(time: &Value) -> f64 {
    let (date, clock) = time.as_str().unwrap().trim_end_matches('Z').split_once('T').unwrap();
    let day: f64 = date.rsplit('-').next().unwrap().parse().unwrap();
    let [hours, minutes, seconds] =
        clock.split(':').map(|part| part.parse::<f64>().unwrap()).collect::<Vec<_>>()[..]
    else {
        panic!("{time}")
    };
    ((day * 24.0 + hours) * 60.0 + minutes) * 60.0 + seconds
}
