//! Diff: what is not as it was at the creation.

use super::{WRONG_STATE, drives_terminal, text};
use crate::{DEBIAN, SUITE};
use pyro_testkit::{Home, Value, Workspace, json};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

/// A tree of some 200 files, with one of each kind that a change may happen to.
fn seed(home: &Home) -> PathBuf {
    let root = home.path().join("seed");
    for directory in ["many", "gone/b", "to-file", "opaque", "renamed/deep/er", "hollow"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for number in 0..200 {
        fs::write(root.join(format!("many/{number:03}")), format!("file {number}\n")).unwrap();
    }
    for (path, content) in [
        ("text", "one\ntwo\nthree\n"),
        ("open", "one\nlast"),
        ("mode", "mode\n"),
        ("both", "both\n"),
        ("over", "over\n"),
        ("onto", "onto\n"),
        ("hard", "hard\n"),
        ("crlf", "a\r\nb\r\n"),
        ("gone/a", "a\n"),
        ("gone/b/c", "c\n"),
        ("to-dir", "file\n"),
        ("to-link", "file\n"),
        ("to-file/x", "x\n"),
        ("opaque/a", "a\n"),
        ("opaque/b", "b\n"),
        ("opaque/c", "c\n"),
        ("renamed/x", "x\n"),
        ("renamed/deep/er/y", "y\n"),
        ("odd name", "odd\n"),
    ] {
        fs::write(root.join(path), content).unwrap();
    }
    fs::write(root.join("binary"), b"a\0b\xff").unwrap();
    fs::write(root.join("large"), "line\n".repeat(400_000)).unwrap();
    symlink("text", root.join("link")).unwrap();
    root
}

/// A workspace with that in it.
fn seeded(home: &Home) -> Workspace<'_> {
    home.workspace_with(&["--seed-path", text(&seed(home))])
}

#[track_caller]
fn assert_unchanged(workspace: &Workspace<'_>, after: &str) {
    let expected = json!({ "total": 0, "added": 0, "modified": 0, "deleted": 0, "type_changed": 0,
                           "text_patched": 0, "non_text": 0 });
    let diff = workspace.json("diff", &[]);
    assert!(
        diff["changed"] == false && diff["entries"] == json!([]) && diff["patch"] == "",
        "{after}: {diff:#}"
    );
    assert_eq!(diff["summary"], expected, "{after}");
}

#[test]
fn what_is_as_it_was_is_not_in_the_diff() {
    let home = SUITE.with(DEBIAN);
    let workspace = seeded(&home);
    assert_unchanged(&workspace, "at first");
    for script in [
        "ls -lR >/dev/null; cat many/* >/dev/null; echo x > /tmp/x; echo x > /etc/x; echo x > /root/x",
        "find . -exec touch {} +",
        "echo more >> text; printf 'one\ntwo\nthree\n' > text; rm many/000; echo 'file 0' > many/000",
        "chmod 777 mode many link; chmod 644 mode; chmod 755 many; chmod 644 text",
        "mv renamed other; mv other renamed; mv text t; mv t text; rm link; ln -s text link",
        "rm -r opaque; mkdir opaque; for f in a b c; do echo $f > opaque/$f; done",
        "mkdir new; echo x > new/x; rm -r new; ln hard new; rm new",
        "rm to-dir; mkdir to-dir; rmdir to-dir; echo file > to-dir",
    ] {
        workspace.sh(script);
        assert_unchanged(&workspace, script);
    }
    let shown = workspace.call("diff", &[]).run().expect(0);
    assert_eq!(shown.text(), "no changes\n");
    workspace.json("stop", &[]);
    workspace.json("start", &[]);
    assert_unchanged(&workspace, "stop and start");
    assert_eq!(workspace.sh("ls -A | wc -l; ls many | wc -l"), "20\n200\n");
    workspace.json("reset", &[]);
    assert_unchanged(&workspace, "reset");
}

const CHANGES: &str = r#"
printf 'one\n2\nthree\n' > text && printf 'one\nLAST' > open && chmod 600 mode && echo BOTH > both && chmod 755 both
mv over onto && ln hard hard2 && printf 'a\r\nB\r\n' > crlf && rm -r gone
rm to-dir && mkdir to-dir && echo x > to-dir/x && rm to-link && ln -s text to-link
rm -r to-file && echo file > to-file
rm -r opaque && mkdir opaque && echo a > opaque/a && echo B > opaque/b && echo c > opaque/c
mv renamed renamed2 && echo more > renamed2/z
printf 'a\000b\376' > binary && echo more >> large && ln -sf mode link && echo odder > 'odd name'
mkdir -p new/empty && printf 'no end' > new/file && : > new/none && ln -s /etc new/link && mkfifo new/pipe
echo x > "$(printf 'new/line\nbreak')" && echo x > "$(printf 'new/bad\377')" && echo x > "new/$(printf %0255d 0)"
mkdir -p $(seq -s / 40) && echo deep > $(seq -s / 40)/file
touch many/* && chmod 700 many && rm many/007
echo x > /tmp/x; echo x > /etc/x
"#;

/// Status, and type where that is no file, of everything that [`CHANGES`] changes.
fn expected() -> BTreeMap<String, (&'static str, &'static str)> {
    let long = format!("new/{}", "0".repeat(255));
    let mut expected = BTreeMap::new();
    let mut all = |status, artifact_type, paths: &[&str]| {
        for path in paths {
            expected.insert(format!("/workspace/{path}"), (status, artifact_type));
        }
    };
    all(
        "modified",
        "file",
        &["text", "open", "mode", "both", "onto", "crlf", "opaque/b", "binary", "large", "odd name"],
    );
    all("modified", "symlink", &["link"]);
    all("modified", "directory", &["many"]);
    all(
        "deleted",
        "file",
        &["over", "gone/a", "gone/b/c", "to-file/x", "renamed/x", "renamed/deep/er/y", "many/007"],
    );
    all("deleted", "directory", &["gone", "gone/b", "renamed", "renamed/deep", "renamed/deep/er"]);
    all("type_changed", "directory", &["to-dir"]);
    all("type_changed", "symlink", &["to-link"]);
    all("type_changed", "file", &["to-file"]);
    all("added", "directory", &["renamed2", "renamed2/deep", "renamed2/deep/er", "new", "new/empty"]);
    all(
        "added",
        "file",
        &["hard2", "to-dir/x", "renamed2/x", "renamed2/deep/er/y", "renamed2/z", "new/file", "new/none"],
    );
    all("added", "file", &["new/line\nbreak", "new/bad\u{fffd}", &long]);
    all("added", "symlink", &["new/link"]);
    all("added", "other", &["new/pipe"]);
    let mut deep = String::new();
    for level in 1..=40 {
        deep = format!("{deep}{}{level}", if level > 1 { "/" } else { "" });
        all("added", "directory", &[&deep]);
    }
    all("added", "file", &[&format!("{deep}/file")]);
    expected
}

#[test]
fn every_kind_of_change_is_told() {
    let home = SUITE.with(DEBIAN);
    let workspace = seeded(&home);
    workspace.sh(CHANGES);
    let diff = workspace.json("diff", &[]);
    let entries = diff["entries"].as_array().unwrap();
    let told: BTreeMap<_, _> = entries
        .iter()
        .map(|entry| {
            let [path, status, artifact_type] =
                ["path", "status", "artifact_type"].map(|field| entry[field].as_str().unwrap());
            (path.to_owned(), (status, artifact_type))
        })
        .collect();
    assert_eq!(told, expected());
    assert_eq!(told.len(), entries.len(), "each path once");
    assert_counts_add_up(&diff);

    let entry =
        |path: &str| entries.iter().find(|entry| entry["path"] == format!("/workspace/{path}")).unwrap();
    for (path, field, value) in [
        ("mode", "old_mode", json!("0644")),
        ("mode", "mode", json!("0600")),
        ("many", "mode", json!("0700")),
        ("both", "mode", json!("0755")),
        ("text", "old_size_bytes", json!(14)),
        ("text", "size_bytes", json!(12)),
        ("gone/a", "old_size_bytes", json!(2)),
        ("gone/a", "size_bytes", Value::Null),
        ("new/file", "size_bytes", json!(6)),
        ("to-dir", "old_artifact_type", json!("file")),
        ("to-link", "old_artifact_type", json!("file")),
        ("to-file", "old_artifact_type", json!("directory")),
        ("binary", "text_patched", json!(false)),
        ("large", "text_patched", json!(false)),
        ("mode", "text_patched", json!(false)),
        ("both", "text_patched", json!(true)),
        ("crlf", "text_patched", json!(true)),
        ("new/none", "text_patched", json!(true)),
    ] {
        assert_eq!(entry(path)[field], value, "{field} of {path}");
    }
    assert_eq!(diff["patch_truncated"], true, "the large file is text that is not in the patch");
    let patch = diff["patch"].as_str().unwrap();
    for part in [
        "--- a/text\n+++ b/text\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n",
        "@@ -1,2 +1,2 @@\n one\n-last\n\\ No newline at end of file\n+LAST\n\\ No newline at end of file\n",
        " a\r\n-b\r\n+B\r\n",
        "deleted file mode 100644\n--- a/gone/b/c\n+++ /dev/null\n@@ -1 +0,0 @@\n-c\n",
        "new file mode 100644\n--- /dev/null\n+++ b/new/file\n@@ -0,0 +1 @@\n+no end\n\\ No newline at end of file\n",
        "+++ \"b/new/line\\nbreak\"\n",
        "--- a/odd name\t\n+++ b/odd name\t\n",
    ] {
        assert!(patch.contains(part), "{part}is not in\n{patch}");
    }
    let shown = workspace.call("diff", &[]).run().expect(0);
    let list = shown.text().split("\n\n").next().unwrap();
    assert!(list.starts_with(&format!("{} changes: ", entries.len())), "{list}");
    assert!(!drives_terminal(list), "{list:?}");

    workspace.json("stop", &[]);
    workspace.refused_saying("diff", &[], WRONG_STATE, "stopped");
    workspace.json("start", &[]);
    assert_eq!(workspace.json("diff", &[]), diff, "the same after stop and start");
    workspace.json("reset", &[]);
    assert_unchanged(&workspace, "reset");
}

#[track_caller]
fn assert_counts_add_up(diff: &Value) {
    let entries = diff["entries"].as_array().unwrap();
    let summary = |field: &str| usize::try_from(diff["summary"][field].as_u64().unwrap()).unwrap();
    assert_eq!(summary("total"), entries.len());
    for status in ["added", "modified", "deleted", "type_changed"] {
        assert_eq!(
            summary(status),
            entries.iter().filter(|entry| entry["status"] == status).count(),
            "{status}"
        );
    }
    let patched = entries.iter().filter(|entry| entry["text_patched"] == true).count();
    assert_eq!((summary("text_patched"), summary("non_text")), (patched, entries.len() - patched));
}

#[test]
fn the_patch_of_a_diff_makes_the_same_of_the_same_seed() {
    let home = SUITE.with(DEBIAN);
    let root = seed(&home);
    let [changed, fresh] = [(); 2].map(|()| home.workspace_with(&["--seed-path", text(&root)]));
    changed.sh(
        r#"printf 'one\n2\nthree\nfour' > text; printf 'one\nlast\n' > open; rm over gone/a; printf 'a\r\nB\r\n' > crlf
           echo x > 'new  name '; printf '#!/bin/sh\necho run\n' > run; chmod 755 run; : > none; mkdir d; echo ü > d/ü
           echo x > "$(printf 'a\nb"c\\d')"; sed -i s/file/FILE/ many/*; rm many/1*; chmod 755 both; echo BOTH > both"#,
    );
    let diff = changed.json("diff", &[]);
    assert_counts_add_up(&diff);
    let file = home.path().join("patch");
    fs::write(&file, diff["patch"].as_str().unwrap()).unwrap();
    let applied = fresh.json("patch apply", &["--patch-file", text(&file)]);
    assert_eq!(applied["total"], diff["summary"]["text_patched"]);
    let again = fresh.json("diff", &[]);
    assert_eq!(again["patch"], diff["patch"]);
    let look =
        "find . -type f ! -name both -printf '%p %m\n' | sort; find . -type f -exec sha256sum {} + | sort";
    assert_eq!(fresh.sh(look), changed.sh(look));
}

#[test]
fn a_diff_of_an_empty_workspace_is_what_was_made_in_it() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    assert_unchanged(&workspace, "at first");
    workspace.json("file write", &["a/b", "--text", "x\n"]);
    let diff = workspace.json("diff", &[]);
    assert_eq!((&diff["summary"]["total"], &diff["summary"]["text_patched"]), (&json!(2), &json!(1)));
    let expected =
        "diff --git a/a/b b/a/b\nnew file mode 100644\n--- /dev/null\n+++ b/a/b\n@@ -0,0 +1 @@\n+x\n";
    assert_eq!(diff["patch"], expected);
    workspace.sh("rm -r a");
    assert_unchanged(&workspace, "when it is gone");
}
