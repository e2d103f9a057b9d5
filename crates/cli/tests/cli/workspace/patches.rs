//! Patches: whole or not at all.

use super::{EXISTS, INVALID, MISSING, UNSUPPORTED, WRONG_STATE, text};
use crate::{DEBIAN, SUITE};
use pyro_testkit::json;
use std::fs;

const ONE_TWO_THREE: &str = "--- a/list\n+++ b/list\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n";

#[test]
fn one_patch_adds_modifies_and_deletes() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    workspace.sh("printf 'one\ntwo\nthree\n' > list; chmod 755 list; printf 'x\n' > gone; printf 'a\nb\n' > 'odd name'");
    let patch = format!(
        "diff --git a/list b/list\nindex 1234567..89abcde 100755\n{ONE_TWO_THREE}\
         diff --git a/new/deep/file b/new/deep/file\nnew file mode 100755\n--- /dev/null\n+++ b/new/deep/file\n\
         @@ -0,0 +1,2 @@\n+#!/bin/sh\n+echo new\n\
         --- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n\
         --- /dev/null\n+++ b/plain\n@@ -0,0 +1 @@\n+plain\n\
         --- a/odd name\t\n+++ b/odd name\t\n@@ -1,2 +1 @@\n a\n-b\n"
    );
    let patched = workspace.json("patch apply", &["--patch", &patch]);
    let entry = |(path, status)| json!({ "path": format!("/workspace/{path}"), "status": status });
    let entries = [
        ("list", "modified"),
        ("new/deep/file", "added"),
        ("gone", "deleted"),
        ("plain", "added"),
        ("odd name", "modified"),
    ];
    let expected = json!({ "workspace_id": workspace.id(), "changed": true, "total": 5, "added": 2, "modified": 2,
                           "deleted": 1, "entries": entries.map(entry) });
    assert_eq!(patched, expected);
    let script =
        "cat list 'odd name' plain; ./new/deep/file; stat -c '%a %U' list new new/deep/file plain; ls -A";
    let expected =
        "one\n2\nthree\na\nplain\nnew\n755 root\n755 root\n755 root\n644 root\nlist\nnew\nodd name\nplain\n";
    assert_eq!(workspace.sh(script), expected);
    let events = workspace.json("summary", &[]);
    assert_eq!(events["edits"]["patches"], 1);
    workspace.refused_saying("patch apply", &["--patch", &patch], WRONG_STATE, "hunk 1 of 1 does not apply");
}

#[test]
fn a_patch_that_does_not_fit_changes_nothing() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    workspace.sh(
        r"printf 'one\ntwo\nthree\n' > list; mkdir dir real; ln -s real link; ln -s list name; ln -s /etc etc; printf x > file;
         printf 'a\377\n' > bytes; yes | head -c 1048577 > large; printf 'two\n' > real/list",
    );
    let look =
        "find . -printf '%p %y %m %l %i %T@\n' | sort; sha256sum list real/list; ls /etc/evil /etc/new 2>&1";
    let before = workspace.sh(&format!("{look}; true"));
    let add = |path: &str| format!("--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+evil\n");
    let modify = |path: &str| format!("--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-two\n+2\n");
    // The first file of each would apply by itself.
    for (second, code, said) in [
        (
            modify("file"),
            WRONG_STATE,
            "file: hunk 1 of 1 does not apply: line 1 should be \"two\", found \"x\"",
        ),
        (modify("missing"), MISSING, "missing does not exist"),
        (add("file"), EXISTS, "file exists already"),
        (add("dir"), INVALID, "dir"),
        (add("file/below"), INVALID, "Not a directory"),
        (modify("link/list"), INVALID, "symbolic link"),
        (add("link/new"), INVALID, "symbolic link"),
        (add("etc/evil"), INVALID, "symbolic link"),
        (add("etc/new/evil"), INVALID, "symbolic link"),
        (modify("name"), INVALID, "symbolic link"),
        (modify("bytes"), INVALID, "is not a UTF-8 text"),
        (modify("large"), INVALID, "1048577 bytes"),
        (add("../evil"), INVALID, "../evil"),
        (add("a/../../evil"), INVALID, "../evil"),
        ("--- /dev/null\n+++ /etc/evil\n@@ -0,0 +1 @@\n+evil\n".to_owned(), INVALID, "/etc/evil"),
        (ONE_TWO_THREE.to_owned(), INVALID, "twice"),
        ("--- a/file\n+++ b/file\n@@ -1,9 +1,9 @@\n x\n".to_owned(), INVALID, "wrong counts"),
        ("--- a/file\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-x\n-y\n".to_owned(), WRONG_STATE, "does not apply"),
    ] {
        let patch = ONE_TWO_THREE.to_owned() + &second;
        let error = workspace.refused_saying("patch apply", &["--patch", &patch], code, said);
        assert!(error["message"].as_str().unwrap().len() < 1000, "{error}");
        assert_eq!(workspace.sh(&format!("{look}; true")), before, "after {second}");
    }
    for nothing in ["", "no patch at all\n"] {
        workspace.refused_saying("patch apply", &["--patch", nothing], INVALID, "the patch was not applied");
    }
    assert_eq!(workspace.json("summary", &[])["edits"]["patches"], 0);
}

#[test]
fn what_patches_cannot_do_is_refused_by_name() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    workspace.sh("printf 'one\n' > a");
    for (patch, said) in [
        ("diff --git a/a b/b\nsimilarity index 100%\nrename from a\nrename to b\n", "renames"),
        ("--- a/a\n+++ b/b\n@@ -1 +1 @@\n-one\n+1\n", "renames"),
        ("diff --git a/a b/b\nsimilarity index 100%\ncopy from a\ncopy to b\n", "copies"),
        ("diff --git a/a b/a\nold mode 100644\nnew mode 100755\n", "mode changes"),
        ("diff --git a/a b/a\nindex 1..2 100644\nGIT binary patch\nliteral 1\nIcmZ\n\n", "binary changes"),
        (
            "diff --git a/x b/x\nnew file mode 120000\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+/etc\n",
            "symbolic links",
        ),
        (
            "diff --git a/x b/x\nnew file mode 160000\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+1\n",
            "submodules",
        ),
        (
            "diff --git a/x b/x\nnew file mode 104755\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+1\n",
            "file modes",
        ),
    ] {
        let error = workspace.refused_saying("patch apply", &["--patch", patch], UNSUPPORTED, said);
        assert!(error["hint"].is_string(), "{error}");
    }
    assert_eq!(workspace.sh("ls -A; cat a"), "a\none\n");
}

#[test]
fn ends_of_lines_and_files_stay_as_they_are() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    let end = "\\ No newline at end of file\n";
    for (before, hunk, after) in [
        (r"a\nb", format!("@@ -1,2 +1,2 @@\n-a\n+A\n b\n{end}"), "A\nb"),
        (r"a\nb", format!("@@ -1,2 +1,2 @@\n a\n-b\n{end}+b\n"), "a\nb\n"),
        (r"a\nb\n", format!("@@ -1,2 +1,2 @@\n a\n-b\n+B\n{end}"), "a\nB"),
        (r"a", format!("@@ -1 +1,2 @@\n-a\n{end}+a\n+b\n{end}"), "a\nb"),
        (r"a\r\nb\r\n", "@@ -1,2 +1,2 @@\n a\n-b\n+B\n".to_owned(), "a\r\nB\r\n"),
        (r"a\r\nb\r\n", "@@ -1,2 +1,2 @@\n a\r\n-b\r\n+B\r\n".to_owned(), "a\r\nB\r\n"),
        (r"", "@@ -0,0 +1 @@\n+a\n".to_owned(), "a\n"),
        (r"a\n", "@@ -1 +0,0 @@\n-a\n".to_owned(), ""),
    ] {
        workspace.sh(&format!("printf '{before}' > file"));
        let patched = workspace.json("patch apply", &["--patch", &format!("--- a/file\n+++ b/file\n{hunk}")]);
        assert_eq!(patched["entries"][0]["status"], "modified");
        let read = workspace.call("file read", &["file", "--content-only"]).run().expect(0);
        assert_eq!(read.text(), after, "{before} and {hunk}");
    }
}

#[test]
fn a_patch_in_a_file_is_text_of_a_mebibyte_at_most() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    let file = home.path().join("patch");
    let lines = |count: usize| {
        format!("--- /dev/null\n+++ b/long\n@@ -0,0 +1,{count} @@\n")
            + &format!("+{}\n", "x".repeat(1021)).repeat(count)
    };
    fs::write(&file, lines(1026)).unwrap();
    workspace.refused_saying("patch apply", &["--patch-file", text(&file)], INVALID, "at most 1048576");
    fs::write(&file, lines(1024)).unwrap();
    assert_eq!(workspace.json("patch apply", &["--patch-file", text(&file)])["added"], 1);
    assert_eq!(workspace.sh("stat -c %s long"), format!("{}\n", 1024 * 1022));
    fs::write(&file, b"--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+\xff\n").unwrap();
    workspace.refused_saying("patch apply", &["--patch-file", text(&file)], INVALID, "is not a UTF-8 text");
    fs::write(&file, "--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+a\0b\n").unwrap();
    workspace.refused_saying("patch apply", &["--patch-file", text(&file)], INVALID, "is not UTF-8 text");
    for arguments in [&[][..], &["--patch", ONE_TWO_THREE, "--patch-file", text(&file)]] {
        workspace.call("patch apply", arguments).run().expect(2).text();
    }
    assert_eq!(workspace.sh("ls -A"), "long\n");
}

#[test]
fn of_two_patches_at_once_each_applies_whole_or_not_at_all() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    // Far enough apart that either fits after the other.
    let numbers: Vec<String> = (1..=30).map(|number| format!("{number}\n")).collect();
    let change = |path: &str, line: usize, to: &str| {
        let (above, below) = (line - 1, line + 1);
        format!(
            "--- a/{path}\n+++ b/{path}\n@@ -{above},3 +{above},3 @@\n {above}\n-{line}\n+{to}\n {below}\n"
        )
    };
    for _ in 0..6 {
        workspace.sh("seq 30 > one; seq 30 > two");
        let patches = [(5, "first"), (25, "second")];
        let runs = patches.map(|(line, to)| {
            let patch = change("one", line, to) + &change("two", line, to);
            workspace.call("patch apply", &["--json", "--patch", &patch]).spawn()
        });
        let outcomes = runs.map(pyro_testkit::Running::wait);
        let mut expected = numbers.clone();
        let mut count = 0;
        for ((line, to), run) in patches.iter().zip(outcomes) {
            if run.code == Some(0) {
                expected[line - 1] = format!("{to}\n");
                count += 1;
            } else {
                run.error(WRONG_STATE);
            }
        }
        assert!(count > 0, "neither applied");
        assert_eq!(workspace.sh("cat one; cmp one two; ls -A | wc -l"), expected.concat() + "2\n");
    }
}
