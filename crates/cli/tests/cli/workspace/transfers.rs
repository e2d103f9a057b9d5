//! Seed, sync push and export: trees into a workspace and out of it.

use super::live::{Live, text};
use crate::{DEBIAN, SUITE};
use flate2::{Compression, write::GzEncoder};
use pyro_testkit::{Home, Value, json};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use tar::{EntryType, Header};

const SPARSE_BYTES: u64 = 50 << 20;
/// What the process that transfers may grow by, however much it transfers.
const GROWTH_KIB: u64 = 32 << 10;

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

const ODD_ENTRIES: u64 = 14;
const ODD_BYTES: u64 = SPARSE_BYTES + 8 + 19 + 3 + 4 + 3 + 4;

/// Everything beneath `root`, by its name: type, permissions, links' targets and files' contents.
pub(super) fn tree(root: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut found = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let (path, metadata) = (entry.path(), entry.metadata().unwrap());
            let mode = metadata.mode() & 0o7777;
            let what = if metadata.is_dir() {
                pending.push(path.clone());
                format!("directory {mode:o}")
            } else if metadata.is_symlink() {
                format!("link to {}", fs::read_link(&path).unwrap().display())
            } else if metadata.len() > 1 << 20 {
                format!("file {mode:o} of {} bytes at {}", metadata.len(), metadata.mtime())
            } else if metadata.is_file() {
                let content = fs::read(&path).unwrap();
                format!("file {mode:o} at {} with {:?}", metadata.mtime(), String::from_utf8_lossy(&content))
            } else {
                continue;
            };
            found.insert(path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec(), what);
        }
    }
    found
}

/// An archive made by the host's `tar`, compressed as its name says.
fn archive(root: &Path, name: &str) -> PathBuf {
    let file = root.with_file_name(name);
    let mut tar = Command::new("tar");
    tar.args([
        "--create",
        "--auto-compress",
        "--sparse",
        "--format=gnu",
        "--exclude=./socket",
        "--exclude=./fifo",
    ]);
    let made = tar.arg("--file").arg(&file).arg("--directory").arg(root).arg(".").status();
    assert!(made.unwrap().success());
    file
}

fn made(home: &Home, name: &str) -> PathBuf {
    let root = home.path().join(name);
    fs::create_dir(&root).unwrap();
    root
}

#[test]
fn a_seed_of_any_form_comes_out_as_it_went_in() {
    let sources = SUITE.with(DEBIAN);
    let root = made(&sources, "odd");
    odd_tree(&root);
    let expected = tree(&root);
    assert_eq!(expected.len() as u64, ODD_ENTRIES);
    for name in ["", "odd.tar", "odd.tar.gz", "odd.tgz"] {
        let source = if name.is_empty() { root.clone() } else { archive(&root, name) };
        let live = Live::seeded(SUITE.with(DEBIAN), &source);
        let seed = live.json("status", &[])["workspace_seed"].clone();
        let mode = if name.is_empty() { "directory" } else { "tar_archive" };
        let expected_seed = json!({ "mode": mode, "seed_path": text(&source), "origin_kind": "manual_seed_path",
                                    "origin_ref": null, "entry_count": ODD_ENTRIES, "bytes_written": ODD_BYTES });
        assert_eq!(seed, expected_seed);
        assert_eq!(
            live.sh("find . ! -user root -o ! -group root; ./script; cat link dir/up | wc -l"),
            "ran\n3\n"
        );
        let sparse = live.sh("stat -c %s sparse; du -k sparse | cut -f1");
        let [size, used] = sparse.lines().map(|line| line.parse::<u64>().unwrap()).collect::<Vec<_>>()[..]
        else {
            panic!("{sparse}")
        };
        assert!(size == SPARSE_BYTES && used < 1024, "{used} KiB of {size} bytes");
        assert_eq!(live.json("diff", &[])["changed"], false);
        let out = live.home.path().join("out");
        let exported = live.json("export", &[".", "--output", text(&out)]);
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
    let root = made(&home, "links");
    fs::write(root.join("file"), "x").unwrap();
    for (target, name) in
        [("/etc/passwd", "absolute"), ("../../../etc", "out"), ("self", "self"), ("file", "in")]
    {
        symlink(target, root.join(name)).unwrap();
    }
    fs::hard_link(root.join("file"), root.join("hard")).unwrap();
    let live = Live::seeded(home, &root);
    let script = "find . -type l -printf '%f %l\n' | sort; stat -c %h file";
    assert_eq!(live.sh(script), "absolute /etc/passwd\nin file\nout ../../../etc\nself self\n2\n");
}

#[test]
fn an_import_goes_where_it_is_told_and_replaces_what_has_the_same_name() {
    let live = Live::empty();
    let root = made(&live.home, "source");
    fs::create_dir(root.join("dir")).unwrap();
    fs::write(root.join("file"), "new\n").unwrap();
    fs::write(root.join("dir/file"), "new\n").unwrap();
    live.sh("mkdir dir dest real; echo old > file; echo old > dir/other; ln -s real link; ln -s /etc etc; echo x > plain");
    let pushed = live.json("sync push", &[text(&root)]);
    let expected = json!({ "workspace_id": live.id, "source_path": text(&root), "destination": "/workspace",
                           "entry_count": 3, "bytes_written": 8 });
    assert_eq!(pushed, expected);
    assert_eq!(live.sh("cat file dir/file dir/other; stat -c '%U %a' file"), "new\nnew\nold\nroot 644\n");
    let archive = archive(&root, "source.tar.gz");
    assert_eq!(live.json("sync push", &[text(&archive), "--dest", "dest"])["destination"], "/workspace/dest");
    assert_eq!(live.sh("cd dest; find . -type f | sort"), "./dir/file\n./file\n");
    let before = live.sh("find . | sort; find /etc real | sort | sha256sum");
    for (dest, code, said) in [
        ("link", "invalid_input", "symbolic link"),
        ("link/new", "invalid_input", "symbolic link"),
        ("etc", "invalid_input", "symbolic link"),
        ("etc/new", "invalid_input", "symbolic link"),
        ("etc/ssl", "invalid_input", "symbolic link"),
        ("plain", "already_exists", "not a directory"),
    ] {
        live.refused("sync push", &[text(&root), "--dest", dest], code, said);
        assert_eq!(live.sh("find . | sort; find /etc real | sort | sha256sum"), before, "into {dest}");
    }
    live.refused("sync push", &["/nowhere"], "not_found", "/nowhere");
    assert_eq!(live.json("summary", &[])["edits"]["syncs"], 2);
}

#[test]
fn an_import_makes_the_directory_it_goes_to() {
    let live = Live::empty();
    let root = made(&live.home, "source");
    fs::write(root.join("file"), "new\n").unwrap();
    let pushed = live.json("sync push", &[text(&root), "--dest", "new/nested"]);
    assert_eq!(pushed["destination"], "/workspace/new/nested");
    assert_eq!(live.sh("cat new/nested/file; stat -c '%a %U' new new/nested"), "new\n755 root\n755 root\n");
}

#[test]
fn twenty_thousand_files_take_no_more_memory_than_a_few() {
    let home = SUITE.with(DEBIAN);
    let (few, many) = (made(&home, "few"), made(&home, "many"));
    for number in 0..20_000 {
        let directory = many.join(format!("{:03}", number / 100));
        if number % 100 == 0 {
            fs::create_dir(&directory).unwrap();
        }
        fs::write(directory.join(format!("file-{number}")), format!("this is file {number}\n")).unwrap();
    }
    fs::write(few.join("file"), "x").unwrap();
    let peak = |seed: &Path| {
        let flags = ["workspace", "create", DEBIAN, "--id-only", "--seed-path", text(seed)];
        let created = home.pyro(flags).run().expect(0);
        (created.text().trim().to_owned(), created.peak_memory_kib)
    };
    let (first, small) = peak(&few);
    home.pyro(["workspace", "delete", &first]).run().expect(0).text();
    let (id, large) = peak(&many);
    let live = Live { home, id };
    assert_eq!(live.json("status", &[])["workspace_seed"]["entry_count"], 20_200);
    let out = live.home.path().join("out");
    let exported = live.call("export", &[".", "--output", text(&out), "--json"]).run().expect(0);
    assert_eq!(exported.json()["entry_count"], 20_200);
    let listed = live.call("file list", &["--recursive", "--json"]).run().expect(0);
    assert_eq!(listed.json()["count"], 20_200);
    for peak in [large, exported.peak_memory_kib, listed.peak_memory_kib] {
        assert!(peak < small + GROWTH_KIB, "{peak} KiB, and {small} KiB for one file");
    }
}

/// One entry of a hostile archive, whose name and target no decent library would write.
pub(super) fn entry(kind: EntryType, name: &str, link: &str, content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn gzipped(content: &[u8], level: Compression) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), level);
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Archives that are refused: their names, what is in them, and words of the refusal. The first entry of most is sound.
fn hostile_archives() -> Vec<(&'static str, Vec<u8>, &'static str, &'static str)> {
    let sound = || entry(EntryType::Regular, "sound", "", b"sound\n");
    let with = |entries: &[Vec<u8>]| [sound(), entries.concat(), vec![0; 1024]].concat();
    let one = |kind, name, link| with(&[entry(kind, name, link, b"")]);
    let file = |name| with(&[entry(EntryType::Regular, name, "", b"evil")]);
    let whole = gzipped(&file("x"), Compression::default());
    let zeros = vec![0; 128 << 20];
    let bomb = with(&[entry(EntryType::Regular, "bomb", "", &zeros)]);
    let through =
        [entry(EntryType::Symlink, "l", "/etc", b""), entry(EntryType::Regular, "l/evil", "", b"evil")];
    let invalid = "invalid_input";
    vec![
        ("dots.tar", file("a/../../evil"), invalid, "a/../../evil"),
        ("absolute.tar", file("/etc/evil"), invalid, "/etc/evil"),
        ("absolute.tgz", gzipped(&file("/etc/evil"), Compression::fast()), invalid, "/etc/evil"),
        ("through.tar", with(&through), invalid, "l/evil"),
        ("character.tar", one(EntryType::Char, "null", ""), invalid, "null"),
        ("block.tar", one(EntryType::Block, "disk", ""), invalid, "disk"),
        ("fifo.tar", one(EntryType::Fifo, "pipe", ""), invalid, "pipe"),
        ("hard.tar", one(EntryType::Link, "hard", "../../etc/passwd"), invalid, "hard"),
        ("root.tar", one(EntryType::Link, "hard", "/etc/passwd"), invalid, "hard"),
        ("cut.tar", sound(), invalid, "cut off"),
        ("within.tar", file("x")[..1100].to_vec(), invalid, "malformed"),
        ("cut.tar.gz", whole[..whole.len() - 9].to_vec(), invalid, "malformed"),
        ("bomb.tar.gz", gzipped(&bomb, Compression::best()), "exhausted", "1000 times"),
        ("garbage.tar", vec![b'x'; 4096], invalid, "not a tar archive"),
        ("garbage.tar.gz", vec![b'x'; 4096], invalid, "does not"),
        ("gzip.tar", whole, invalid, "compressed with gzip"),
        ("sound.zip", with(&[]), invalid, "sound.zip"),
        ("empty.tar", vec![], invalid, "not a tar archive"),
    ]
}

#[test]
fn after_a_hostile_seed_nothing_is_left() {
    let home = SUITE.with(DEBIAN);
    for (name, bytes, code, said) in hostile_archives() {
        let path = home.path().join(name);
        fs::write(&path, bytes).unwrap();
        let run = home.pyro(["workspace", "create", DEBIAN, "--json", "--seed-path", text(&path)]).run();
        let error = run.expect(if code == "invalid_input" { 2 } else { 1 }).json()["error"].clone();
        assert!(
            error["code"] == code && error["message"].as_str().unwrap().contains(said),
            "{name}: {error:#}"
        );
        assert!(error["hint"].is_string(), "{name}: {error:#}");
        assert_eq!(home.pyro(["workspace", "list", "--json"]).run().expect(0).json()["count"], 0, "{name}");
        let left = fs::read_dir(home.path().join("data/pyro/workspaces")).map_or(0, Iterator::count);
        assert_eq!((left, home.processes().len()), (0, 0), "after {name}");
    }
}

#[test]
fn after_a_hostile_import_the_way_out_is_a_reset() {
    let live = Live::empty();
    for (name, bytes, code, said) in hostile_archives() {
        let path = live.home.path().join(name);
        fs::write(&path, bytes).unwrap();
        let error = live.refused("sync push", &[text(&path)], code, said);
        let message = error["message"].as_str().unwrap();
        let recommends_reset = error["hint"].as_str().unwrap().contains("pyro workspace reset");
        assert_eq!(message.contains("stopped midway"), recommends_reset, "{name}: {error:#}");
        let imported = live.sh("cat sound 2>/dev/null; rm -f sound; ls /etc/evil /evil 2>/dev/null; true");
        assert!(imported.is_empty() || imported == "sound\n" && recommends_reset, "{name}: {imported}");
    }
    live.json("reset", &[]);
    assert_eq!(live.sh("ls -A"), "");
}

/// What lies beside the destinations of a test.
pub(super) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    names
}

#[test]
fn an_export_is_a_file_or_a_directory_as_it_is_in_the_guest() {
    let live = Live::empty();
    live.sh(
        "mkdir -p empty one nested/dir/deep pipes real && echo only > one/only && echo deep > nested/dir/deep/file &&
         echo plain > file && chmod 4777 file && mkfifo pipes/pipe && mknod pipes/null c 1 3 && echo x > pipes/x &&
         chmod 2777 one && chmod 000 one/only && ln -s ../file nested/up && ln -s dir nested/in && ln nested/dir/deep/file nested/hard &&
         chown 1000:1000 nested/dir",
    );
    let out = made(&live.home, "out");
    for (path, artifact_type, entries, bytes, mode) in [
        ("file", "file", 1, 6, 0o755),
        ("nested/dir/deep/file", "file", 1, 5, 0o644),
        ("empty", "directory", 0, 0, 0o755),
        ("one", "directory", 1, 5, 0o755),
        ("nested/dir", "directory", 2, 5, 0o755),
        ("pipes", "directory", 1, 2, 0o755),
    ] {
        let target = out.join(path.replace('/', "-"));
        let exported = live.json("export", &[path, "--output", text(&target)]);
        let expected = json!({ "workspace_id": live.id, "path": format!("/workspace/{path}"),
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
    let summary = live.json("summary", &[]);
    assert_eq!(summary["artifacts"]["exports"].as_array().unwrap().len(), 6);
}

#[test]
fn what_is_not_to_be_exported_leaves_nothing() {
    let live = Live::empty();
    live.sh(
        "mkdir -p a/b c d/e f real && echo x > real/file && ln -s /etc/passwd a/absolute && ln -s ../../../etc c/out &&
         ln -s ../.. d/e/up && ln -s e/up/.. d/two && ln -s loop f/loop && ln -s real link && ln -s /etc etc && mkfifo pipe &&
         ln -s nowhere dangling",
    );
    let out = made(&live.home, "out");
    let there = |name: &str| text(&out.join(name)).to_owned();
    fs::write(out.join("file"), "mine").unwrap();
    fs::create_dir(out.join("directory")).unwrap();
    symlink("nothing", out.join("dangling")).unwrap();
    let before = tree(&out);
    for (path, target, code, said) in [
        ("real", there("file"), "already_exists", "exists"),
        ("real", there("directory"), "already_exists", "exists"),
        ("real/file", there("dangling"), "already_exists", "exists"),
        ("real", there("missing/parent"), "not_found", "missing"),
        ("real", there("file/below"), "invalid_input", "Not a directory"),
        ("nowhere", there("new"), "not_found", "nowhere"),
        (
            "a",
            there("new"),
            "invalid_input",
            "`absolute`: the symbolic link leads out of what is exported, to `/etc/passwd`",
        ),
        (
            "c",
            there("new"),
            "invalid_input",
            "`out`: the symbolic link leads out of what is exported, to `../../../etc`",
        ),
        ("d", there("new"), "invalid_input", "leads out"),
        ("d/e", there("new"), "invalid_input", "`up`"),
        ("link", there("new"), "invalid_input", "link"),
        ("etc", there("new"), "invalid_input", "etc"),
        ("dangling", there("new"), "invalid_input", "dangling"),
        ("pipe", there("new"), "invalid_input", "pipe"),
    ] {
        let error = live.refused("export", &[path, "--output", &target], code, said);
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
    assert_eq!(live.json("summary", &[])["artifacts"]["exports"], json!([]));
}

#[test]
fn an_export_never_goes_through_a_link_out_of_the_workspace() {
    let live = Live::empty();
    live.sh("mkdir d && echo x > d/file && ln -s /etc etc && ln -s d inside");
    let out = made(&live.home, "out");
    for path in ["etc/passwd", "etc/ssl", "inside/file"] {
        live.refused("export", &[path, "--output", text(&out.join("x"))], "invalid_input", "symbolic link");
        assert_eq!(names(&out), [""; 0]);
    }
}

#[test]
fn a_process_that_swaps_directories_gains_nothing_from_transfers() {
    let live = Live::empty();
    let root = made(&live.home, "evil");
    fs::write(root.join("evil"), "evil").unwrap();
    live.sh("find /etc | sort > /root/etc; mkdir d; ln -s /etc l");
    let swap = r#"$end = time + 20; until (time >= $end || -e "/root/enough") {
                  rename "d", "t"; rename "l", "d"; rename "d", "l"; rename "t", "d" }"#;
    let swapping = live.call("exec", &["--", "perl", "-e", swap]).spawn();
    for number in 0..15 {
        live.call("sync push", &[text(&root), "--dest", "d"]).run();
        let out = live.home.path().join(format!("out-{number}"));
        live.call("export", &["d/passwd", "--output", text(&out)]).run();
        assert!(!out.exists(), "a file of /etc was exported");
        live.call("export", &["d", "--output", text(&out)]).run();
        assert!(!out.join("passwd").exists(), "/etc was exported");
    }
    live.sh("touch /root/enough");
    swapping.wait().expect(0).text();
    assert_eq!(live.sh("find /etc | sort | diff - /root/etc; echo same"), "same\n");
}

#[test]
fn files_that_change_meanwhile_come_out_whole_or_cut() {
    let live = Live::empty();
    live.sh("mkdir d; for i in $(seq 50); do seq 1000 > d/$i; done");
    let change = "end=$(($(date +%s) + 15)); i=0
        while [ $(date +%s) -lt $end ] && ! [ -e /root/enough ]; do
            i=$((i % 50 + 1)); seq 3000 > d/new; mv d/new d/$i; : > d/$((i % 7 + 1)); echo more >> d/9; rm -f d/$((i % 3 + 20))
        done";
    let changing = live.exec(change).spawn();
    for number in 0..8 {
        let out = live.home.path().join(format!("out-{number}"));
        let exported = live.json("export", &["d", "--output", text(&out)]);
        let files = tree(&out);
        assert_eq!(exported["entry_count"], files.len());
        let bytes: u64 =
            fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        assert_eq!(exported["bytes_written"], bytes);
    }
    live.sh("touch /root/enough");
    changing.wait().expect(0).text();
}

#[test]
fn what_came_from_a_guest_drives_no_terminal() {
    let live = Live::empty();
    let evil = "a\x1b[2J\u{202e}b\nc";
    live.sh(&format!("echo x > '{evil}'; ln -s '{evil}' link"));
    live.json("file write", &[evil, "--text", "y"]);
    let out = live.home.path().join("out");
    let calls: [(&str, &[&str]); 6] = [
        ("file list", &[]),
        ("file read", &[evil]),
        ("diff", &[]),
        ("summary", &[]),
        ("export", &[evil, "--output", text(&out)]),
        ("export", &["link", "--output", text(&out)]),
    ];
    for (command, arguments) in calls {
        let run = live.call(command, arguments).run();
        let shown = String::from_utf8_lossy(&run.stdout).into_owned() + &run.stderr;
        let driving =
            |character: char| character.is_control() && character != '\n' || character == '\u{202e}';
        assert!(!shown.contains(driving), "{command}: {shown:?}");
    }
    let value: Value = live.json("file list", &[]);
    assert_eq!(value["entries"][0]["path"], format!("/workspace/{evil}"), "documents tell it as it is");
}
