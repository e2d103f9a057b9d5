//! `pyro run`: what is relayed, and what is said about it.

use crate::{DEBIAN, SUITE, execution_mode, run, sh};
use pyro_testkit::{Value, json};
use std::time::Duration;

#[test]
fn git_says_its_version_and_pyro_says_its_phases() {
    let home = SUITE.with(DEBIAN);
    let run = run(&home, &[], &["git", "--version"]).run().expect(0);
    assert!(run.text().starts_with("git version 2."), "{}", run.text());
    let [create, start, execute, summary] = run.stderr.lines().collect::<Vec<_>>()[..] else {
        panic!("unexpected talk:\n{}", run.stderr)
    };
    assert!(create.starts_with("[run] phase=create"), "{create}");
    assert!(start.starts_with("[run] phase=start vm_id="), "{start}");
    assert!(execute.starts_with("[run] phase=execute vm_id="), "{execute}");
    let mode = execution_mode(&home);
    let expected = format!("[run] environment=debian:12 execution_mode={mode} exit_code=0 duration_ms=");
    assert!(summary.strip_prefix(&expected).is_some_and(|ms| ms.parse::<u64>().is_ok()), "{summary}");
}

#[test]
fn the_exit_status_is_the_commands_own() {
    let home = SUITE.with(DEBIAN);
    let cases: [(&[&str], i32, &str); 4] = [
        (&["sh", "-c", "exit 7"], 7, ""),
        (&["sh", "-c", "kill -KILL $$"], 137, ""),
        (&["no-such-program"], 127, "no-such-program"),
        (&["/etc/passwd"], 126, "/etc/passwd"),
    ];
    for (command, status, said) in cases {
        let run = run(&home, &[], command).run().expect(status);
        assert!(run.stdout.is_empty() && run.stderr.contains(said), "{command:?}: {}", run.stderr);
        assert!(run.last_line().contains(&format!("exit_code={status}")), "{}", run.stderr);
    }
}

#[test]
fn the_two_outputs_stay_apart() {
    let home = SUITE.with(DEBIAN);
    let run = sh(&home, &[], "echo to-stdout; echo to-stderr >&2").run().expect(0);
    assert_eq!(run.text(), "to-stdout\n");
    assert!(run.stderr.lines().any(|line| line == "to-stderr"), "{}", run.stderr);
    assert!(!run.stderr.contains("to-stdout"));
}

#[test]
fn arguments_keep_their_boundaries() {
    let home = SUITE.with(DEBIAN);
    let arguments =
        ["two words", "line\nbreak", "'single' \"double\" `back` $HOME \\", "", "*", "--json", "--", "ü"];
    let mut command = vec!["printf", "%s\\0"];
    command.extend(arguments);
    let run = run(&home, &[], &command).run().expect(0);
    let received: Vec<&str> = run.text().split_terminator('\0').collect();
    assert_eq!(received, arguments);
}

#[test]
fn a_command_runs_as_root_in_the_workspace_without_input() {
    let home = SUITE.with(DEBIAN);
    let run = sh(&home, &[], "id -u; pwd; echo $HOME; cat; touch here && ls").run().expect(0);
    assert_eq!(run.text(), "0\n/workspace\n/root\nhere\n");
}

#[test]
fn a_command_that_takes_too_long_is_killed_with_its_children() {
    let home = SUITE.with(DEBIAN);
    let flags = ["--timeout-seconds", "2", "--json"];
    let run = sh(&home, &flags, "echo started; sleep 1000 & wait").run().expect(124);
    let result = run.json();
    assert_eq!(result["exit_code"], 124);
    assert_eq!(result["timed_out"], true);
    assert_eq!(result["stdout"], "started\n");
    // Not a measurement: the promise is that the group is dead two seconds after its time was up.
    let executed = result["timings"]["execute_ms"].as_u64().unwrap();
    assert!((2000..=4000).contains(&executed), "{executed} ms");
}

#[test]
fn a_timeout_is_told_without_json_too() {
    let home = SUITE.with(DEBIAN);
    let run = run(&home, &["--timeout-seconds", "1"], &["sleep", "1000"]).run().expect(124);
    assert!(run.last_line().contains("exit_code=124"), "{}", run.stderr);
    assert!(run.last_line().ends_with("timed_out=true"), "{}", run.stderr);
    assert!(run.elapsed < Duration::from_mins(1));
}

#[test]
fn json_is_one_document_of_a_known_shape() {
    let home = SUITE.with(DEBIAN);
    let run = sh(&home, &["--json"], "echo out; echo err >&2; exit 3").run().expect(3);
    let result = run.json();
    for (field, expected) in [
        ("environment", json!("debian:12")),
        ("command", json!(["sh", "-c", "echo out; echo err >&2; exit 3"])),
        ("stdout", json!("out\n")),
        ("stderr", json!("err\n")),
        ("exit_code", json!(3)),
        ("execution_mode", json!(execution_mode(&home))),
        ("timed_out", json!(false)),
        ("truncated", json!(false)),
        ("binary", json!(false)),
    ] {
        assert_eq!(result[field], expected, "{field}");
    }
    assert!(result["duration_ms"].is_u64());
    let cleanup = &result["cleanup"];
    assert_eq!(cleanup["deleted"], true);
    assert_eq!(cleanup["reason"], "post_exec_cleanup");
    assert!(cleanup["vm_id"].as_str().is_some_and(|id| !id.is_empty()));
    let timings = result["timings"].as_object().unwrap();
    assert!(timings.values().all(Value::is_u64) && timings.contains_key("total_ms"), "{timings:?}");
    assert!(
        !run.stderr.contains("err\n") || run.stderr.contains("[run]"),
        "the guest's words are in the document"
    );
}

#[test]
fn the_demo_shows_three_guests() {
    let home = SUITE.with(DEBIAN);
    let demo = home.pyro(["demo", "--json"]).run().expect(0).json();
    let steps = demo["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 3);
    let mode = execution_mode(&home);
    for step in steps {
        assert_eq!(step["result"]["exit_code"], 0, "{step}");
        assert_eq!(step["result"]["execution_mode"], mode);
    }
}
