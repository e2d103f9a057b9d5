//! A workspace that begins with a tree.

use crate::workspace::text;
use crate::workspace::trees::{archive, directory, tree};
use crate::{DEBIAN, SUITE};
use pyro_testkit::json;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

const SPARSE_BYTES: u64 = 50 << 20;
const ODD_ENTRIES: u64 = 14;
const ODD_BYTES: u64 = SPARSE_BYTES + 8 + 19 + 3 + 4 + 3 + 4;

/// A tree with one of each kind, 15 entries that a transfer takes and two that it leaves out.
fn odd_tree(root: &Path) {
    fs::create_dir_all(root.join("dir/sub")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    let long = "n".repeat(255);
    let files: [(&[u8], &[u8]); 7] = [
        (b"dir/file", b"content\n"),
        (b"dir/sub/none", b""),
        (b"script", b"#!/bin/sh\necho ran\n"),
        (b"odd name", b"odd"),
        (b"new\nline", b"line"),
        (b"bad\xff", b"bad"),
        (long.as_bytes(), b"long"),
    ];
    for (name, content) in files {
        fs::write(root.join(OsStr::from_bytes(name)), content).unwrap();
    }
    for (name, mode) in [("script", 0o755), ("dir/file", 0o600), ("dir/sub", 0o700)] {
        fs::set_permissions(root.join(name), PermissionsExt::from_mode(mode)).unwrap();
    }
    for (target, name) in [("dir/file", "link"), ("../script", "dir/up"), ("nowhere", "dangling")] {
        symlink(target, root.join(name)).unwrap();
    }
    File::create(root.join("sparse")).unwrap().set_len(SPARSE_BYTES).unwrap();
    UnixListener::bind(root.join("socket")).unwrap();
    assert!(Command::new("mkfifo").arg(root.join("fifo")).status().unwrap().success());
}

#[test]
fn a_seed_of_any_form_comes_out_as_it_went_in() {
    let sources = SUITE.with(DEBIAN);
    let root = directory(&sources, "odd");
    odd_tree(&root);
    let expected = tree(&root);
    assert_eq!(expected.len() as u64, ODD_ENTRIES);
    for name in ["", "odd.tar", "odd.tar.gz", "odd.tgz"] {
        let source = if name.is_empty() { root.clone() } else { archive(&root, name) };
        let home = SUITE.with(DEBIAN);
        let workspace = home.workspace_with(&["--seed-path", text(&source)]);
        let seed = workspace.status()["workspace_seed"].clone();
        let mode = if name.is_empty() { "directory" } else { "tar_archive" };
        let expected_seed = json!({ "mode": mode, "seed_path": text(&source), "origin_kind": "manual_seed_path",
                                    "origin_ref": null, "entry_count": ODD_ENTRIES, "bytes_written": ODD_BYTES });
        assert_eq!(seed, expected_seed);
        assert_eq!(
            workspace.sh("find . ! -user root -o ! -group root; ./script; cat link dir/up | wc -l"),
            "ran\n3\n"
        );
        assert_eq!(workspace.sh("stat -c %s sparse"), format!("{SPARSE_BYTES}\n"));
        let image = fs::metadata(home.workspace_directory(workspace.id()).join("seed.erofs")).unwrap();
        assert!(image.blocks() < 2048, "the hole is one on the host");
        assert_eq!(workspace.json("diff", &[])["changed"], false);
        let out = home.path().join("out");
        let exported = workspace.json("export", &[".", "--output", text(&out)]);
        let counts = (&exported["artifact_type"], &exported["entry_count"], &exported["bytes_written"]);
        assert_eq!(counts, (&json!("directory"), &json!(ODD_ENTRIES), &json!(ODD_BYTES)));
        assert_eq!(tree(&out), expected, "{name}");
        assert!(fs::metadata(out.join("sparse")).unwrap().blocks() < 2048, "the hole is a hole again");
    }
    // A home complains about sockets.
    fs::remove_file(root.join("socket")).unwrap();
}

#[test]
fn links_of_a_seed_are_kept_wherever_they_lead() {
    let home = SUITE.with(DEBIAN);
    let root = directory(&home, "links");
    fs::write(root.join("file"), "x").unwrap();
    for (target, name) in
        [("/etc/passwd", "absolute"), ("../../../etc", "out"), ("self", "self"), ("file", "in")]
    {
        symlink(target, root.join(name)).unwrap();
    }
    fs::hard_link(root.join("file"), root.join("hard")).unwrap();
    let workspace = home.workspace_with(&["--seed-path", text(&root)]);
    let script = "find . -type l -printf '%f %l\n' | sort; stat -c %h file";
    assert_eq!(workspace.sh(script), "absolute /etc/passwd\nin file\nout ../../../etc\nself self\n2\n");
}
