//! A file or a tree out of a workspace.

use crate::workspace::trees::{directory, names, tree};
use crate::workspace::{EXISTS, INVALID, MISSING, text};
use crate::{DEBIAN, SUITE};
use pyro_testkit::json;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

#[test]
fn an_export_is_a_file_or_a_directory_as_it_is_in_the_guest() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    workspace.sh(
        "mkdir -p empty one nested/dir/deep pipes real && echo only > one/only && echo deep > nested/dir/deep/file &&
         echo plain > file && chmod 4777 file && mkfifo pipes/pipe && mknod pipes/null c 1 3 && echo x > pipes/x &&
         chmod 2777 one && chmod 000 one/only && ln -s ../file nested/up && ln -s dir nested/in && ln nested/dir/deep/file nested/hard &&
         chown 1000:1000 nested/dir",
    );
    let out = directory(&home, "out");
    for (path, artifact_type, entries, bytes, mode) in [
        ("file", "file", 1, 6, 0o755),
        ("nested/dir/deep/file", "file", 1, 5, 0o644),
        ("empty", "directory", 0, 0, 0o755),
        ("one", "directory", 1, 5, 0o755),
        ("nested/dir", "directory", 2, 5, 0o755),
        ("pipes", "directory", 1, 2, 0o755),
    ] {
        let target = out.join(path.replace('/', "-"));
        let exported = workspace.json("export", &[path, "--output", text(&target)]);
        let expected = json!({ "workspace_id": workspace.id(), "path": format!("/workspace/{path}"),
                               "output_path": text(&target), "artifact_type": artifact_type, "entry_count": entries,
                               "bytes_written": bytes });
        assert_eq!(exported, expected);
        let metadata = fs::metadata(&target).unwrap();
        assert_eq!(metadata.is_dir(), artifact_type == "directory");
        assert!(
            artifact_type == "directory" || metadata.mode() & 0o7777 == mode,
            "{path}: {:o}",
            metadata.mode()
        );
        assert_eq!(metadata.mode() & 0o7022, 0, "{path}: {:o}", metadata.mode());
    }
    assert_eq!(names(&out.join("one")), ["only"]);
    assert_eq!(fs::read_to_string(out.join("one/only")).unwrap(), "only\n", "the owner can read it");
    assert_eq!(names(&out.join("pipes")), ["x"]);
    assert_eq!(names(&out).len(), 6, "nothing lies beside: {:?}", names(&out));
    let summary = workspace.json("summary", &[]);
    assert_eq!(summary["artifacts"]["exports"].as_array().unwrap().len(), 6);
}

#[test]
fn what_is_not_to_be_exported_leaves_nothing() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    workspace.sh(
        "mkdir -p a/b c d/e f real && echo x > real/file && ln -s /etc/passwd a/absolute && ln -s ../../../etc c/out &&
         ln -s ../.. d/e/up && ln -s e/up/.. d/two && ln -s loop f/loop && ln -s real link && ln -s /etc etc && mkfifo pipe &&
         ln -s nowhere dangling",
    );
    let out = directory(&home, "out");
    let there = |name: &str| text(&out.join(name)).to_owned();
    fs::write(out.join("file"), "mine").unwrap();
    fs::create_dir(out.join("directory")).unwrap();
    symlink("nothing", out.join("dangling")).unwrap();
    let before = tree(&out);
    for (path, target, code, said) in [
        ("real", there("file"), EXISTS, "exists"),
        ("real", there("directory"), EXISTS, "exists"),
        ("real/file", there("dangling"), EXISTS, "exists"),
        ("real", there("missing/parent"), MISSING, "missing"),
        ("real", there("file/below"), INVALID, "Not a directory"),
        ("nowhere", there("new"), MISSING, "nowhere"),
        (
            "a",
            there("new"),
            INVALID,
            "`absolute`: the symbolic link leads out of what is exported, to `/etc/passwd`",
        ),
        (
            "c",
            there("new"),
            INVALID,
            "`out`: the symbolic link leads out of what is exported, to `../../../etc`",
        ),
        ("d", there("new"), INVALID, "leads out"),
        ("d/e", there("new"), INVALID, "`up`"),
        ("link", there("new"), INVALID, "link"),
        ("etc", there("new"), INVALID, "etc"),
        ("dangling", there("new"), INVALID, "dangling"),
        ("pipe", there("new"), INVALID, "pipe"),
    ] {
        let error = workspace.refused_saying("export", &[path, "--output", &target], code, said);
        let message = error["message"].as_str().unwrap();
        let (entry, leads_to) = match path {
            "a" => ("absolute", "/etc/passwd"),
            "c" => ("out", "../../../etc"),
            "d/e" => ("up", "../.."),
            _ => ("", ""),
        };
        assert!(message.contains(entry) && message.contains(leads_to), "{error:#}");
        assert_eq!(tree(&out), before, "after {path} to {target}");
        assert_eq!(names(&out), ["dangling", "directory", "file"]);
    }
    assert_eq!(workspace.json("summary", &[])["artifacts"]["exports"], json!([]));
}

#[test]
fn an_export_never_goes_through_a_link_out_of_the_workspace() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    workspace.sh("mkdir d && echo x > d/file && ln -s /etc etc && ln -s d inside");
    let out = directory(&home, "out");
    for path in ["etc/passwd", "etc/ssl", "inside/file"] {
        workspace.refused_saying(
            "export",
            &[path, "--output", text(&out.join("x"))],
            INVALID,
            "symbolic link",
        );
        assert_eq!(names(&out), [""; 0]);
    }
}
