//! Shells: terminals in a workspace that go on between calls of different processes.

use super::{EXHAUSTED, INVALID, MISSING, WRONG_STATE, text};
use crate::{DEBIAN, SUITE};
use pyro_testkit::{Value, Workspace, json, poll_until};
use std::fs::File;
use std::io::Write;
use std::process::Command;
use std::time::Duration;

/// No shell takes so long to answer.
const DEADLINE: Duration = Duration::from_mins(1);

fn open(workspace: &Workspace<'_>) -> String {
    workspace.json("shell open", &[])["shell_id"].as_str().unwrap().to_owned()
}

fn write(workspace: &Workspace<'_>, shell: &str, input: &str) {
    workspace.json("shell write", &[shell, "--input", input]);
}

fn read(workspace: &Workspace<'_>, shell: &str, flags: &[&str]) -> Value {
    workspace.json("shell read", &[&[shell], flags].concat())
}

/// Reads from `cursor` on, again and again, until `is_complete` says so of what was read.
fn read_until(
    workspace: &Workspace<'_>,
    shell: &str,
    cursor: &Value,
    is_complete: impl Fn(&Value) -> bool,
) -> Value {
    let flags = ["--cursor", &cursor.to_string(), "--wait-for-idle-ms", "100"];
    let complete = || Some(read(workspace, shell, &flags)).filter(&is_complete);
    poll_until(DEADLINE, complete).unwrap_or_else(|| panic!("{}", read(workspace, shell, &flags)))
}

/// Types `input`, and returns what is printed from `cursor` on once that holds `until`.
fn converse(workspace: &Workspace<'_>, shell: &str, input: &str, cursor: &Value, until: &str) -> Value {
    write(workspace, shell, input);
    read_until(workspace, shell, cursor, |seen| output(seen).contains(until))
}

/// Waits until `sleep` runs in the workspace.
fn wait_for_sleep(workspace: &Workspace<'_>) {
    workspace.sh("until pgrep -x sleep > /dev/null; do :; done");
}

fn output(read: &Value) -> &str {
    read["output"].as_str().unwrap()
}

#[test]
fn a_shell_goes_on_between_processes_and_is_read_by_position() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    workspace.sh("mkdir sub");
    let flags = ["--cwd", "sub", "--cols", "90", "--rows", "20"];
    let opened = workspace.json("shell open", &flags);
    assert_eq!(
        (&opened["state"], &opened["cols"], &opened["rows"]),
        (&json!("running"), &json!(90), &json!(20))
    );
    let shell = opened["shell_id"].as_str().unwrap();
    // A shell without line editing, which would say more than what is looked for.
    write(&workspace, shell, "exec sh");
    let script = "x=40; cd /; stty -echo; PS1=; echo $OLDPWD; stty size";
    let first = converse(&workspace, shell, script, &json!(0), "/workspace/sub\r\n20 90\r\n");
    let next = converse(&workspace, shell, "echo $((x + 2)) $PWD", &first["next_cursor"], "/\r\n");
    assert_eq!((output(&next), &next["cursor"]), ("42 /\r\n", &first["next_cursor"]));
    assert_eq!(
        (&next["truncated"], &next["missed_bytes"], &next["exit_code"]),
        (&json!(false), &json!(0), &Value::Null)
    );
    let part = read(&workspace, shell, &["--cursor", &next["cursor"].to_string(), "--max-chars", "2"]);
    assert_eq!((output(&part), &part["truncated"]), ("42", &json!(true)));
    let nothing = read(&workspace, shell, &["--cursor", &next["next_cursor"].to_string()]);
    assert_eq!((output(&nothing), &nothing["next_cursor"]), ("", &next["next_cursor"]));

    // The plain form is what a person sees at the end, the positions stay those of the bytes.
    let script = r"printf '1%%\r50%%\r100%%\n\033[31mred\033[0m\nabd\bc\n'";
    let raw = converse(&workspace, shell, script, &next["next_cursor"], "\u{8}c\r\n");
    let from = raw["cursor"].to_string();
    let plain = read(&workspace, shell, &["--cursor", &from, "--plain"]);
    assert_eq!(output(&plain).trim_end(), "100%\nred\nabc", "{raw}");
    assert_eq!(plain["next_cursor"], raw["next_cursor"]);

    // Another shell is another terminal.
    let other = open(&workspace);
    converse(&workspace, &other, "echo x=$x", &json!(0), "x=\r\n");
    let listed = workspace.json("shell list", &[]);
    assert_eq!((&listed["count"], &listed["shells"][1]["shell_id"]), (&json!(2), &json!(other)));

    write(&workspace, shell, "sleep 1000");
    wait_for_sleep(&workspace);
    workspace.json("shell signal", &[shell]);
    converse(&workspace, shell, "echo interrupted: $?", &raw["next_cursor"], "interrupted: 130\r\n");
    assert_eq!(workspace.json("diff", &[])["summary"]["total"], 1, "only the directory that was made");
    workspace.json("shell close", &[shell]);
    let gone = workspace.refused("shell read", &[shell], MISSING);
    assert!(gone["hint"].as_str().unwrap().contains(&other), "{gone}");
}

#[test]
fn the_end_of_a_shell_is_told_and_what_was_opened_ends_with_the_guest() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    let shell = open(&workspace);
    write(&workspace, &shell, "echo last words; exit 7");
    let last = read_until(&workspace, &shell, &json!(0), |seen| seen["state"] == "exited");
    assert!(output(&last).contains("last words\r\n"), "{last}");
    assert_eq!((&last["state"], &last["exit_code"]), (&json!("exited"), &json!(7)));
    let refused = workspace.refused("shell write", &[&shell, "--input", "x"], WRONG_STATE);
    assert!(refused["hint"].as_str().unwrap().contains("shell read"), "{refused}");
    workspace.refused("shell signal", &[&shell, "--signal", "kill"], WRONG_STATE);
    assert_eq!(workspace.json("shell close", &[&shell])["exit_code"], 7);
    for way in ["reset", "stop"] {
        let shell = open(&workspace);
        workspace.json(way, &[]);
        if way == "stop" {
            workspace.refused("shell read", &[&shell], WRONG_STATE);
            workspace.json("start", &[]);
        }
        workspace.refused("shell read", &[&shell], MISSING);
        assert_eq!(workspace.json("shell list", &[])["count"], 0);
    }
}

#[test]
fn a_flood_is_bounded_and_nobody_else_notices() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    let shell = open(&workspace);
    write(&workspace, &shell, "stty -onlcr; yes 0123456789 | head -c 3000008; echo over");
    assert_eq!(workspace.sh("echo still here"), "still here\n");
    let mut cursor = json!(0);
    let mut missed = 0;
    loop {
        let flags = ["--cursor", &cursor.to_string(), "--max-chars", "1048576", "--wait-for-idle-ms", "300"];
        let part = read(&workspace, &shell, &flags);
        missed += part["missed_bytes"].as_u64().unwrap();
        cursor = part["next_cursor"].clone();
        if output(&part).contains("9\nover\n") {
            break;
        }
    }
    assert!(missed > 1 << 20, "{missed} of what was printed were not kept");
    assert!(cursor.as_u64().unwrap() > 3_000_000);
}

#[test]
fn what_no_shell_can_do_is_refused() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    let none = workspace.refused("shell read", &["sh-1"], MISSING);
    assert!(none["hint"].as_str().unwrap().contains("shell open"), "{none}");
    for flags in [["--cols", "0"], ["--rows", "1001"], ["--cwd", "../.."], ["--cwd", "/etc"]] {
        workspace.refused("shell open", &flags, INVALID);
    }
    workspace.refused("shell open", &["--cwd", "nowhere"], MISSING);
    let shell = open(&workspace);
    let beyond = workspace.refused("shell read", &[&shell, "--cursor", "99999999"], INVALID);
    assert!(beyond["message"].as_str().unwrap().contains("beyond the end"), "{beyond}");
    workspace.refused("shell read", &[&shell, "--max-chars", "0"], INVALID);
    workspace.refused("shell read", &[&shell, "--wait-for-idle-ms", "60001"], INVALID);
    write(&workspace, &shell, "stty raw -echo; sleep 1000");
    wait_for_sleep(&workspace);
    workspace.refused("shell write", &[&shell, "--input", &"x".repeat(120_000), "--no-newline"], EXHAUSTED);
    for _ in 1..16 {
        open(&workspace);
    }
    workspace.refused("shell open", &[], EXHAUSTED);
}

#[test]
fn a_person_sits_down_and_leaves() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    let shell = open(&workspace);
    write(&workspace, &shell, "mine=yes");
    let _refused = workspace.call("shell attach", &[&shell]).run().expect(2);
    // script(1) gives the command a terminal; what is typed there comes through a pipe.
    let pipe = home.path().join("typed");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let at_terminal = ["sh", "-c", "exec script -qec \"$*\" /dev/null < \"$TYPED\"", "sh"];
    let attached =
        workspace.call("shell attach", &[&shell]).wrapped_in(at_terminal).env("TYPED", text(&pipe));
    let attached = attached.spawn();
    let mut typed = File::options().write(true).open(&pipe).unwrap();
    typed.write_all(b"echo mine is $mine; echo $((40 + 2)) > file\n").unwrap();
    let seen = read_until(&workspace, &shell, &json!(0), |seen| output(seen).contains("mine is yes\r\n"));
    assert_eq!(seen["state"], "running");
    typed.write_all(b"\x1d").unwrap();
    let shown = attached.wait().expect(0);
    assert!(shown.text().contains("mine is yes"), "{}", shown.text());
    assert_eq!(workspace.sh("cat file"), "42\n");
    assert_eq!(workspace.json("shell list", &[])["shells"][0]["state"], "running");
}
