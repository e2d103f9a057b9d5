//! A tree into a workspace that is there.

use crate::workspace::trees::{archive, directory};
use crate::workspace::{EXISTS, INVALID, MISSING, text};
use crate::{DEBIAN, SUITE};
use pyro_testkit::json;
use std::fs;

#[test]
fn an_import_goes_where_it_is_told_and_replaces_what_has_the_same_name() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    let root = directory(&home, "source");
    fs::create_dir(root.join("dir")).unwrap();
    fs::write(root.join("file"), "new\n").unwrap();
    fs::write(root.join("dir/file"), "new\n").unwrap();
    workspace.sh("mkdir dir dest real; echo old > file; echo old > dir/other; ln -s real link; ln -s /etc etc; echo x > plain");
    let pushed = workspace.json("sync push", &[text(&root)]);
    let expected = json!({ "workspace_id": workspace.id(), "source_path": text(&root), "destination": "/workspace",
                           "entry_count": 3, "bytes_written": 8 });
    assert_eq!(pushed, expected);
    assert_eq!(
        workspace.sh("cat file dir/file dir/other; stat -c '%U %a' file"),
        "new\nnew\nold\nroot 644\n"
    );
    let archive = archive(&root, "source.tar.gz");
    assert_eq!(
        workspace.json("sync push", &[text(&archive), "--dest", "dest"])["destination"],
        "/workspace/dest"
    );
    assert_eq!(workspace.sh("cd dest; find . -type f | sort"), "./dir/file\n./file\n");
    let before = workspace.sh("find . | sort; find /etc real | sort | sha256sum");
    for (dest, code, said) in [
        ("link", INVALID, "symbolic link"),
        ("link/new", INVALID, "symbolic link"),
        ("etc", INVALID, "symbolic link"),
        ("etc/new", INVALID, "symbolic link"),
        ("etc/ssl", INVALID, "symbolic link"),
        ("plain", EXISTS, "not a directory"),
    ] {
        workspace.refused_saying("sync push", &[text(&root), "--dest", dest], code, said);
        assert_eq!(workspace.sh("find . | sort; find /etc real | sort | sha256sum"), before, "into {dest}");
    }
    workspace.refused_saying("sync push", &["/nowhere"], MISSING, "/nowhere");
    assert_eq!(workspace.json("summary", &[])["edits"]["syncs"], 2);
}

#[test]
fn an_import_makes_the_directory_it_goes_to() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    let root = directory(&home, "source");
    fs::write(root.join("file"), "new\n").unwrap();
    let pushed = workspace.json("sync push", &[text(&root), "--dest", "new/nested"]);
    assert_eq!(pushed["destination"], "/workspace/new/nested");
    assert_eq!(
        workspace.sh("cat new/nested/file; stat -c '%a %U' new new/nested"),
        "new\n755 root\n755 root\n"
    );
}
