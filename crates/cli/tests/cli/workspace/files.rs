//! Single files: list, read and write.

use super::{EXISTS, INVALID, MISSING, paths, text};
use crate::{DEBIAN, SUITE};
use pyro_testkit::{Value, json};
use std::fs;

const MIB: usize = 1 << 20;

#[test]
fn a_listing_is_sorted_and_tells_types_sizes_and_targets() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    workspace.sh(
        r#"mkdir -p dir/sub empty && printf 12345 > dir/five && : > dir/sub/none && : > dir.x && : > dir-x &&
           ln -s nowhere dangling && ln -s /etc etc && ln -s dir to-dir && mkfifo pipe &&
           : > 'a b' && : > "$(printf 'new\nline')" && : > "$(printf 'bad\377')" && : > "$(printf %0255d 0)""#,
    );
    let long = "0".repeat(255);
    let expected = [
        (&*long, "file", 0, None),
        ("a b", "file", 0, None),
        ("bad\u{fffd}", "file", 0, None),
        ("dangling", "symlink", 0, Some("nowhere")),
        ("dir", "directory", 0, None),
        ("dir/five", "file", 5, None),
        ("dir/sub", "directory", 0, None),
        ("dir/sub/none", "file", 0, None),
        ("dir-x", "file", 0, None),
        ("dir.x", "file", 0, None),
        ("empty", "directory", 0, None),
        ("etc", "symlink", 0, Some("/etc")),
        ("new\nline", "file", 0, None),
        ("pipe", "other", 0, None),
        ("to-dir", "symlink", 0, Some("dir")),
    ];
    let entry = |(path, artifact_type, size, target): (&str, &str, u64, Option<&str>)| {
        json!({ "path": format!("/workspace/{path}"), "artifact_type": artifact_type, "size_bytes": size,
                "link_target": target })
    };
    let all = workspace.json("file list", &["--recursive"]);
    assert_eq!(all["entries"], Value::from(expected.map(entry).to_vec()));
    assert_eq!((&all["count"], &all["path"]), (&json!(15), &json!("/workspace")));
    assert_eq!((&all["recursive"], &all["workspace_id"]), (&json!(true), &json!(workspace.id())));
    let top: Vec<_> = expected.into_iter().filter(|(path, ..)| !path.contains('/')).map(entry).collect();
    assert_eq!(workspace.json("file list", &[])["entries"], Value::from(top));
    for (path, listed) in [
        ("dir", &["dir/five", "dir/sub"][..]),
        ("/workspace/dir/", &["dir/five", "dir/sub"]),
        ("dir/five", &["dir/five"]),
        ("to-dir", &["to-dir"]),
        ("empty", &[]),
    ] {
        let result = workspace.json("file list", &[path]);
        assert_eq!(
            paths(&result),
            listed.iter().map(|path| format!("/workspace/{path}")).collect::<Vec<_>>()
        );
    }
    workspace.refused_saying("file list", &["nowhere"], MISSING, "nowhere");
    workspace.refused_saying("file list", &["etc/ssl"], INVALID, "symbolic link");
    workspace.refused_saying("file list", &["to-dir/sub"], INVALID, "symbolic link");

    let shown = workspace.call("file list", &["--recursive"]).run().expect(0);
    assert_eq!(shown.text().lines().count(), 15, "a line for each, whatever it is called");
}

#[test]
fn a_text_is_read_up_to_the_limit_and_nothing_else_is_read() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    workspace.sh(
        r"printf 'aä€' > utf8 && printf 'no end' > open && : > empty && printf 'a\000b\n' > nul &&
           printf 'a\377b' > bad && printf 'ab\377cd' > late && ln -s utf8 link && mkdir dir && ln -s dir to-dir &&
           printf inside > dir/file && mkfifo pipe && yes | head -c 1048576 > mib && yes | head -c 1048577 > more",
    );
    for (path, limit, content, size, truncated) in [
        ("utf8", 6, "aä€", 6, false),
        ("utf8", 7, "aä€", 6, false),
        ("utf8", 5, "aä", 6, true),
        ("utf8", 4, "aä", 6, true),
        ("utf8", 2, "a", 6, true),
        ("/workspace/./utf8", 1, "a", 6, true),
        ("open", 100, "no end", 6, false),
        ("empty", 1, "", 0, false),
        ("nul", 100, "a\0b\n", 4, false),
        ("late", 2, "ab", 5, true),
    ] {
        let read = workspace.json("file read", &[path, "--max-bytes", &limit.to_string()]);
        let absolute = format!("/workspace/{}", path.rsplit('/').next().unwrap());
        let expected = json!({ "workspace_id": workspace.id(), "path": absolute, "size_bytes": size, "max_bytes": limit,
                               "content": content, "truncated": truncated });
        assert_eq!(read, expected);
        if limit >= size {
            let exact = workspace.call("file read", &[path, "--content-only"]).run().expect(0);
            assert_eq!((exact.text(), &*exact.stderr), (content, ""), "{path}");
        }
    }
    assert_eq!(workspace.json("file read", &["mib"])["content"].as_str().unwrap().len(), 65_536);
    let limit = MIB.to_string();
    for (path, truncated) in [("mib", false), ("more", true)] {
        let read = workspace.json("file read", &[path, "--max-bytes", &limit]);
        assert!(read["truncated"] == truncated && read["content"].as_str().unwrap().len() == MIB, "{path}");
    }
    let more = workspace.call("file read", &["more", "--content-only"]).run().expect(0);
    assert!(more.stdout.len() == 65_536 && more.stderr.contains("truncated=true"), "{}", more.stderr);

    for path in ["bad", "late"] {
        let error = workspace.refused_saying("file read", &[path], INVALID, "is not a UTF-8 text");
        assert!(error["hint"].as_str().unwrap().contains("pyro workspace export"), "{error}");
    }
    workspace.refused_saying("file read", &["dir"], INVALID, "dir");
    workspace.refused_saying("file read", &["."], INVALID, "");
    workspace.refused_saying("file read", &["link"], INVALID, "symbolic link");
    workspace.refused_saying("file read", &["to-dir/file"], INVALID, "symbolic link");
    workspace.refused_saying("file read", &["pipe"], INVALID, "pipe");
    workspace.refused_saying("file read", &["nowhere"], MISSING, "nowhere");
    for limit in ["0", "1048577"] {
        workspace.refused_saying(
            "file read",
            &["utf8", "--max-bytes", limit],
            INVALID,
            "between 1 and 1048576",
        );
    }
    workspace.call("file read", &["utf8", "--json", "--content-only"]).run().expect(2).text();
}

#[test]
fn a_written_file_takes_the_place_of_the_old_one() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    workspace.sh("printf old > script && chmod 755 script && printf old > private && chmod 600 private");
    let written = workspace.json("file write", &["new/deep/file", "--text", "one\n"]);
    let expected =
        json!({ "workspace_id": workspace.id(), "path": "/workspace/new/deep/file", "size_bytes": 4 });
    assert_eq!(written, expected);
    for (path, content) in [("script", "#!/bin/sh\necho new\n"), ("private", ""), ("-dash ü", "--text")] {
        workspace.call("file write", &["--json", "--text", content, "--", path]).run().expect(0).json();
        let read = workspace.call("file read", &["--content-only", "--", path]).run().expect(0);
        assert_eq!(read.text(), content);
    }
    let stat = workspace
        .sh("stat -c '%a %u %g %s' new new/deep new/deep/file script private; ./script; ls -A . new/deep");
    let expected = "755 0 0 4096\n755 0 0 4096\n644 0 0 4\n755 0 0 19\n600 0 0 0\nnew\n\
                    .:\n-dash ü\nnew\nprivate\nscript\n\nnew/deep:\nfile\n";
    assert_eq!(stat, expected);
    let status = workspace.status();
    assert_eq!(status["command_count"], 2, "writes are no commands");

    let file = home.path().join("text");
    for (bytes, fits) in [(MIB, true), (MIB + 1, false)] {
        fs::write(&file, "x".repeat(bytes)).unwrap();
        let arguments = ["large", "--text-file", text(&file)];
        if fits {
            assert_eq!(workspace.json("file write", &arguments)["size_bytes"], MIB);
        } else {
            workspace.refused_saying("file write", &arguments, INVALID, "1048577 bytes");
        }
    }
    fs::write(&file, b"a\xffb").unwrap();
    workspace.refused_saying(
        "file write",
        &["bad", "--text-file", text(&file)],
        INVALID,
        "is not a UTF-8 text",
    );
    workspace.refused_saying("file write", &["bad", "--text-file", "/nowhere"], MISSING, "/nowhere");
    assert_eq!(workspace.sh("ls bad* 2>/dev/null | wc -l; stat -c %s large"), "0\n1048576\n");
    for arguments in [&["x"][..], &["x", "--text", "a", "--text-file", "b"]] {
        let run = workspace.call("file write", arguments).args(["--json"]).run().expect(2);
        assert!(run.stdout.is_empty() && run.stderr.contains("Usage"), "{}", run.stderr);
    }
}

#[test]
fn nothing_is_written_through_a_link_or_over_a_directory() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    workspace.sh(
        "mkdir dir real && ln -s /etc etc && ln -s real inside && ln -s /etc/hostname name && ln -s nowhere dangling &&
         printf file > file && mkfifo pipe",
    );
    let before =
        workspace.sh("ls -lR --time-style=full-iso /etc | sha256sum; find . -printf '%p %y %l\n' | sort");
    for (path, code, said) in [
        ("etc/evil", INVALID, "symbolic link"),
        ("etc/deep/evil", INVALID, "symbolic link"),
        ("inside/evil", INVALID, "symbolic link"),
        ("name", INVALID, "symbolic link"),
        ("dangling", INVALID, "symbolic link"),
        ("dir", INVALID, "not a regular file (dir)"),
        ("file/below", EXISTS, "not a directory"),
        (".", INVALID, "the workspace itself"),
    ] {
        workspace.refused_saying("file write", &[path, "--text", "evil"], code, said);
    }
    let after =
        workspace.sh("ls -lR --time-style=full-iso /etc | sha256sum; find . -printf '%p %y %l\n' | sort");
    assert_eq!(before, after);
}

#[test]
fn paths_stay_inside_the_workspace() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    let long = "a/".repeat(2048);
    let outside = [
        ("", "it is empty"),
        ("..", "`..`"),
        ("a/../../etc/passwd", "`..`"),
        ("/workspace/../etc/passwd", "`..`"),
        ("/etc/passwd", "outside /workspace"),
        ("/workspacex", "outside /workspace"),
        ("/", "outside /workspace"),
        (&*long, "longer than paths can be"),
    ];
    for (path, why) in outside {
        let commands: [(&str, &[&str]); 5] = [
            ("file list", &[path]),
            ("file read", &[path]),
            ("file write", &[path, "--text", "x"]),
            ("export", &[path, "--output", "/nowhere/at/all"]),
            ("sync push", &["/nowhere/at/all", "--dest", path]),
        ];
        for (command, arguments) in commands {
            let error = workspace.refused_saying(command, arguments, INVALID, why);
            assert!(error["hint"].as_str().unwrap().contains("inside /workspace"), "{error}");
        }
    }
    // A name that no file system takes is found out in the guest, which says so.
    let name = "n".repeat(256);
    workspace.refused_saying("file write", &[&name, "--text", "x"], INVALID, "255");
    assert_eq!(workspace.sh("ls -A"), "");
}

#[test]
fn a_process_that_swaps_a_directory_for_a_link_gains_nothing() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    workspace.sh("ls -lR --time-style=full-iso /etc | sha256sum > /root/etc; mkdir d; ln -s /etc l");
    let swap = r#"$end = time + 20; $| = 1; print "swapping\n"; until (time >= $end || -e "/root/enough") {
                  rename "d", "t"; rename "l", "d"; rename "d", "l"; rename "t", "d" }"#;
    let swapping = workspace.call("exec", &["--", "perl", "-e", swap]).spawn();
    let mut outcomes = [0, 0];
    for number in 0..25 {
        let name = format!("d/evil-{number}");
        let run = workspace.call("file write", &[&name, "--text", "evil"]).run();
        outcomes[usize::from(run.code == Some(0))] += 1;
        assert!(matches!(run.code, Some(0..=2)), "{}", run.stderr);
        let read = workspace.call("file read", &["d/passwd"]).run();
        assert!(read.code != Some(0) && !read.stderr.contains("root:"), "{}", read.stderr);
        let listed = workspace.call("file list", &["d", "--json"]).run();
        assert!(!String::from_utf8_lossy(&listed.stdout).contains("passwd"), "a listing of /etc");
    }
    workspace.sh("touch /root/enough");
    swapping.wait().expect(0).text();
    let after = workspace.sh("ls -lR --time-style=full-iso /etc | sha256sum | cmp - /root/etc && echo same");
    assert_eq!(after, "same\n", "{} writes failed, {} did not", outcomes[0], outcomes[1]);
}

#[test]
fn a_reader_in_the_guest_sees_the_old_text_or_the_new_one() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    let texts = ["a", "b"].map(|line| {
        let path = home.path().join(line);
        fs::write(&path, format!("{line}\n").repeat(100_000)).unwrap();
        path
    });
    workspace.json("file write", &["file", "--text-file", text(&texts[0])]);
    let watch = "for i in $(seq 40); do sort -u file; stat -c %s file; done | sort -u; touch /root/seen";
    let watching = workspace.exec(&["--timeout-seconds", "120"], watch).spawn();
    for turn in 1..=12 {
        workspace.json("file write", &["file", "--text-file", text(&texts[turn % 2])]);
    }
    let seen = watching.wait().expect(0);
    let lines: Vec<_> = seen.text().lines().collect();
    assert!(lines.iter().all(|line| ["a", "b", "200000"].contains(line)), "{lines:?}");
    assert_eq!(workspace.sh("ls -A"), "file\n", "no temporary file is left");
}
