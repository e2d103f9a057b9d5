//! git and patch(1) take what is rendered, and what git writes is taken here. Skipped where they are not installed.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pyro_patch::{FileMode, FileText, Patch, PatchPath, render};

const CASES: &[(Option<&str>, Option<&str>)] = &[
    (Some("a\nb\nc\n"), Some("a\nB\nc\n")),
    (Some("1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n"), Some("one\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12")),
    (Some("a"), Some("a\n")),
    (Some("a\n"), Some("a")),
    (Some("a\nb"), Some("A\nb")),
    (Some("a\r\nb\r\n"), Some("a\r\nB\r\n")),
    (Some("a\rb\n"), Some("a\rc\n")),
    (Some(""), Some("a\n")),
    (Some("a\n"), Some("")),
    (None, Some("a\nb")),
    (None, Some("")),
    (Some("a\nb"), None),
    (Some(""), None),
    (Some("--- a/x\n+++ b/x\n@@ -1 +1 @@\n"), Some("-- a\n++ b\n\\ No newline at end of file\n")),
];

const PATHS: &[&str] =
    &["x", "dir/with space", "ä ö/ü", "quote\"d", "back\\slash", "tab\tbed", "a/b", "b/a", "dev/null"];

fn is_installed(tool: &str) -> bool {
    Command::new(tool).arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn rendered(path: &str, before: Option<&str>, after: Option<&str>) -> String {
    let file = |text| FileText { text, mode: FileMode::Regular };
    let path = PatchPath::new(path.as_bytes()).unwrap();
    render(&path, before.map(file), after.map(file), Instant::now() + Duration::from_mins(1))
}

fn write(root: &Path, path: &str, text: Option<&str>) {
    let file = root.join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    match text {
        Some(text) => fs::write(file, text).unwrap(),
        None => {
            let _ = fs::remove_file(file);
        }
    }
}

/// Lets `command` apply each diff that is not beyond it, each in a directory of its own, and compares what is there then.
fn applies_all(command: &[&str], is_beyond: impl Fn(&str, &str) -> bool) {
    for path in PATHS {
        for (before, after) in CASES {
            let root = tempfile::tempdir().unwrap();
            write(root.path(), path, *before);
            let diff = rendered(path, *before, *after);
            if is_beyond(path, &diff) {
                continue;
            }
            let (tool, arguments) = command.split_first().unwrap();
            let mut child = Command::new(tool)
                .args(arguments)
                .current_dir(root.path())
                .env("GIT_CEILING_DIRECTORIES", root.path().parent().unwrap())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(diff.as_bytes()).unwrap();
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}\n{diff}", String::from_utf8_lossy(&output.stderr));
            let there = fs::read_to_string(root.path().join(path)).ok();
            assert_eq!(there.as_deref(), *after, "{diff}");
        }
    }
}

#[test]
fn git_applies_what_is_rendered() {
    if is_installed("git") {
        applies_all(&["git", "apply", "--whitespace=nowarn"], |_, _| false);
    }
}

#[test]
fn patch_applies_what_is_rendered() {
    if is_installed("patch") {
        // patch(1) cannot tell names with blanks apart in git's header, all that there is for an empty file.
        let is_beyond = |path: &str, diff: &str| path.contains("with space") && !diff.contains("\n+++ ");
        applies_all(&["patch", "-p1", "--batch", "--binary"], is_beyond);
    }
}

fn git(root: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "core.autocrlf=false", "-c", "core.fileMode=true"])
        .args(arguments)
        .current_dir(root)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_git_writes_is_applied() {
    if !is_installed("git") {
        return;
    }
    let styles: [&[&str]; 4] = [
        &["diff", "--no-color"],
        &["diff", "--no-color", "--no-prefix"],
        &["-c", "diff.mnemonicPrefix=true", "diff", "--no-color"],
        &["-c", "core.quotePath=false", "diff", "--no-color", "-U1"],
    ];
    for path in PATHS {
        for (before, after) in CASES {
            let root = tempfile::tempdir().unwrap();
            git(root.path(), &["init", "--quiet"]);
            write(root.path(), path, *before);
            git(root.path(), &["add", "--all"]);
            write(root.path(), path, *after);
            if before.is_none() {
                git(root.path(), &["add", "--intent-to-add", "--all"]);
            }
            for style in styles {
                let text = git(root.path(), style);
                let patch = Patch::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"));
                let [file] = patch.files() else { panic!("one file\n{text}") };
                assert_eq!(file.path().as_bytes(), path.as_bytes(), "{text}");
                let applied = file.apply(*before).unwrap_or_else(|error| panic!("{error}\n{text}"));
                assert_eq!(applied.text.as_deref(), *after, "{text}");
            }
        }
    }
}
