//! The disk of a stopped workspace: what is seen without a guest is what the guest saw.

use super::{EXISTS, INVALID, MISSING, UNSUPPORTED, WRONG_STATE, paths, text};
use crate::{CLOSED_MIRROR, DEBIAN, SUITE};
use pyro_testkit::{GONE_DEADLINE, Home, Workspace, poll_until};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const DAMAGED: (i32, &str) = (1, "integrity");

/// Prints what there is below a directory: type, size of files, target, path, each ended by NUL.
const FIND: &str = r"find /workspace /etc /opt /usr/local -mindepth 1 -printf '%y %s %l\t%p\0'";

/// What happens to a tree that a workspace began with, and beside it.
const CHANGES: &str = r#"
cd /workspace
echo more >> modified && rm deleted && rm -r replaced && mkdir replaced && echo new > replaced/new
mv moved elsewhere && echo added > elsewhere/added && mkdir deep && mv inner deep/renamed
rm -r gone && echo file > gone && chmod 640 kept/file && chown 1000:70000 kept/file
ln -s /etc/shadow abs && ln -s loop loop && ln -s kept to-kept && ln -s ../../../../etc/passwd up
ln -s /run/pyro-secrets run && ln -s "$(printf %0200d 0)" long
truncate -s 300M sparse && printf end | dd of=sparse bs=1 seek=200000000 conv=notrunc 2>/dev/null
printf x > "$(printf 'bad\377name')" && printf y > 'new
line'
echo linked > one && ln one two && mkdir -p many && cd many && seq 1 2000 | xargs touch && cd ..
mkfifo pipe && mknod device c 1 3 && dd if=/dev/urandom of=random bs=1M count=3 2>/dev/null
rm /etc/debconf.conf && echo changed > /etc/issue && mkdir /opt/dir && mv /usr/local/share /usr/local/shared
mkdir -p /run/pyro-x && echo secret > /run/pyro-x/file && echo t > /tmp/t
setfattr -n user.a -v b kept/file 2>/dev/null || true
"#;

fn seeded(home: &Home) -> Workspace<'_> {
    let seed = home.path().join("seed");
    for directory in ["replaced", "moved", "inner/sub", "gone", "kept"] {
        fs::create_dir_all(seed.join(directory)).unwrap();
    }
    let files = [
        "modified",
        "deleted",
        "replaced/old",
        "moved/a",
        "moved/b",
        "inner/sub/c",
        "gone/d",
        "kept/file",
        "same",
    ];
    for file in files {
        fs::write(seed.join(file), format!("seed {file}\n")).unwrap();
    }
    home.workspace_with(&["--seed-path", text(&seed)])
}

/// What a guest says about its files: their type, and the size or target of some, by path.
fn seen(said: &[u8]) -> BTreeMap<String, String> {
    let lines = said.split(|byte| *byte == 0).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let line = String::from_utf8_lossy(line).into_owned();
            let (about, path) = line.rsplit_once('\t').unwrap();
            let mut about = about.splitn(3, ' ');
            let (kind, size, target) = (about.next().unwrap(), about.next().unwrap(), about.next().unwrap());
            let about = match kind {
                "f" => format!("file {size}"),
                "d" => "directory".to_owned(),
                "l" => format!("symlink {target}"),
                _ => "other".to_owned(),
            };
            (path.to_owned(), about)
        })
        .collect()
}

fn listed(workspace: &Workspace<'_>) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for directory in ["/workspace", "/etc", "/opt", "/usr/local"] {
        let list = workspace.json("disk list", &[directory, "--recursive"]);
        for entry in list["entries"].as_array().unwrap() {
            let kind = entry["artifact_type"].as_str().unwrap();
            let about = match kind {
                "file" => format!("file {}", entry["size_bytes"]),
                "symlink" => format!("symlink {}", entry["link_target"].as_str().unwrap()),
                _ => kind.to_owned(),
            };
            all.insert(entry["path"].as_str().unwrap().to_owned(), about);
        }
    }
    all
}

#[track_caller]
fn expect_same(mut guest: BTreeMap<String, String>, mut disk: BTreeMap<String, String>) {
    // The names of the machine are in memory.
    for name in ["/etc/hostname", "/etc/hosts", "/etc/machine-id"] {
        guest.remove(name);
        disk.remove(name);
    }
    let differing: Vec<_> = guest.iter().filter(|(path, about)| disk.get(*path) != Some(about)).collect();
    let extra: Vec<_> = disk.keys().filter(|path| !guest.contains_key(*path)).collect();
    assert!(differing.is_empty() && extra.is_empty(), "guest: {differing:?}, disk alone: {extra:?}");
}

fn read(workspace: &Workspace<'_>, path: &str) -> String {
    workspace.call("disk read", &[path, "--content-only"]).run().expect(0).text().to_owned()
}

/// A program of the bundle that the tests have.
fn tool(home: &Home, name: &str, arguments: &[&str]) -> Output {
    let runtime = home.cache().join("runtime");
    let bundle = fs::read_dir(runtime).unwrap().map(|entry| entry.unwrap().path());
    let bundle = bundle.into_iter().find(|path| path.join("bin").join(name).exists()).unwrap();
    let lib = bundle.join("lib");
    Command::new(lib.join("ld-linux-x86-64.so.2"))
        .args(["--inhibit-cache", "--library-path", text(&lib)])
        .arg(bundle.join("bin").join(name))
        .args(arguments)
        .output()
        .unwrap()
}

/// What `debugfs` answers about an image.
fn asked(home: &Home, image: &Path, request: &str) -> String {
    String::from_utf8_lossy(&tool(home, "debugfs", &["-R", request, text(image)]).stdout).into_owned()
}

fn disk_of(home: &Home, workspace: &Workspace<'_>) -> PathBuf {
    home.workspace_directory(workspace.id()).join("disk.ext4")
}

#[test]
fn a_stopped_disk_shows_what_the_guest_saw() {
    let home = SUITE.with(DEBIAN);
    let workspace = seeded(&home);
    workspace.sh(CHANGES);
    let said = workspace.exec(&[], FIND).run().expect(0).stdout;
    let sum = workspace.sh("sha256sum random").split(' ').next().unwrap().to_owned();
    let error = workspace.refused_saying("disk list", &[], WRONG_STATE, "stopped");
    assert!(error["hint"].as_str().unwrap().contains("pyro workspace stop"), "{error}");
    workspace.refused("disk read", &["same"], WRONG_STATE);
    workspace.refused("disk export", &["--output", text(&home.path().join("x"))], WRONG_STATE);
    workspace.json("stop", &[]);

    expect_same(seen(&said), listed(&workspace));
    let top = workspace.json("disk list", &["/"]);
    for present in ["/etc", "/run", "/workspace", "/usr", "/bin"] {
        assert!(paths(&top).contains(&present), "{present}: {top}");
    }
    for empty in ["/run", "/proc", "/sys", "/dev"] {
        assert_eq!(workspace.json("disk list", &[empty, "--recursive"])["count"], 0, "{empty}");
    }
    assert_eq!(paths(&workspace.json("disk list", &["abs"])), ["/workspace/abs"]);
    assert_eq!(
        paths(&workspace.json("disk list", &["/workspace/to-kept/file"])),
        ["/workspace/to-kept/file"]
    );
    assert!(paths(&workspace.json("disk list", &["/bin/"])) == ["/bin"], "a link is listed itself");
    workspace.refused_saying("disk list", &["/run/pyro-x"], MISSING, "/run/pyro-x");

    for (path, content) in [
        ("modified", "seed modified\nmore\n"),
        ("/workspace/same", "seed same\n"),
        ("replaced/new", "new\n"),
        ("elsewhere/a", "seed moved/a\n"),
        ("deep/renamed/sub/c", "seed inner/sub/c\n"),
        ("to-kept/file", "seed kept/file\n"),
        ("gone", "file\n"),
        ("two", "linked\n"),
        ("/etc/issue", "changed\n"),
        ("/tmp/t", "t\n"),
    ] {
        assert_eq!(read(&workspace, path), content, "{path}");
    }
    assert!(read(&workspace, "up").starts_with("root:"), "a link leads into the guest's root");
    assert!(read(&workspace, "/etc/os-release").contains("Debian"));
    let cut = workspace.json("disk read", &["modified", "--max-bytes", "4"]);
    assert_eq!(
        (&cut["content"], &cut["truncated"], &cut["size_bytes"]),
        (&"seed".into(), &true.into(), &19.into())
    );
    assert_eq!(cut["path"], "/workspace/modified");
    for (path, refusal) in [
        ("deleted", MISSING),
        ("replaced/old", MISSING),
        ("moved/a", MISSING),
        ("run/x", MISSING),
        ("/run/pyro-secrets/A", MISSING),
        ("loop", INVALID),
        ("kept", INVALID),
        ("pipe", INVALID),
        ("device", INVALID),
        ("random", INVALID),
        ("same/below", INVALID),
        ("../etc/passwd", INVALID),
        ("", INVALID),
    ] {
        workspace.refused("disk read", &[path], refusal);
    }
    workspace.refused_saying("disk read", &["same", "--max-bytes", "0"], INVALID, "between 1 and 1048576");

    export_is_the_same(&home, &workspace, &sum);
    workspace.json("start", &[]);
    assert_eq!(workspace.sh("cat modified"), "seed modified\nmore\n", "looking has changed nothing");
}

#[track_caller]
fn export_is_the_same(home: &Home, workspace: &Workspace<'_>, sum: &str) {
    let output = home.path().join("disk.img");
    fs::write(&output, "mine").unwrap();
    workspace.refused_saying("disk export", &["--output", text(&output)], EXISTS, "disk.img");
    assert_eq!(fs::read_to_string(&output).unwrap(), "mine");
    workspace.refused("disk export", &["--output", text(&home.path().join("no/x"))], MISSING);
    let image = home.path().join("root.ext4");
    let exported = workspace.json("disk export", &["--output", text(&image)]);
    let metadata = fs::metadata(&image).unwrap();
    assert_eq!(metadata.mode() & 0o777, 0o600);
    assert_eq!((&exported["format"], &exported["size_bytes"]), (&"ext4".into(), &metadata.len().into()));
    assert_eq!(exported["allocated_bytes"], metadata.blocks() * 512);
    assert_eq!(
        (&exported["workspace_id"], &exported["attributes_left_out"]),
        (&workspace.id().into(), &0.into())
    );

    let check = tool(home, "e2fsck", &["-fn", text(&image)]);
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
    assert_eq!(asked(home, &image, "cat /workspace/elsewhere/b"), "seed moved/b\n");
    assert_eq!(asked(home, &image, "cat /etc/issue"), "changed\n");
    assert_eq!(asked(home, &image, "ls /workspace/replaced").matches("old").count(), 0);
    let stat = asked(home, &image, "stat /workspace/kept/file");
    assert!(stat.contains("Mode:  0640") && stat.contains("User:  1000   Group: 70000"), "{stat}");
    let (one, two) = (asked(home, &image, "stat /workspace/one"), asked(home, &image, "stat /workspace/two"));
    assert!(one == two && one.contains("Links: 2"), "{one}{two}");
    let sparse = asked(home, &image, "stat /workspace/sparse");
    assert!(sparse.contains("Size: 314572800") && sparse.contains("Blockcount: 8\n"), "{sparse}");
    assert!(asked(home, &image, "stat /workspace/abs").contains("/etc/shadow"));
    assert!(asked(home, &image, "stat /workspace/device").contains("01:03"));
    assert_eq!(asked(home, &image, "ls -p /run").lines().filter(|line| line.len() > 1).count(), 2);
    let random = home.path().join("random");
    asked(home, &image, &format!("dump /workspace/random {}", text(&random)));
    let summed = Command::new("sha256sum").arg(&random).output().unwrap();
    assert!(summed.stdout.starts_with(sum.as_bytes()));
    let summary = workspace.json("summary", &[]);
    assert!(summary["artifacts"]["exports"].to_string().contains("root.ext4"), "{summary}");
}

#[test]
fn what_a_crash_left_in_the_journal_counts() {
    let home = SUITE.with(DEBIAN);
    let workspace = seeded(&home);
    workspace.sh("for n in $(seq 200); do mkdir -p d$n && echo $n > d$n/file; done; rm -r d1 kept; echo last > last; sync");
    let said = workspace.exec(&[], FIND).run().expect(0).stdout;
    let vmm = workspace.vmm().unwrap();
    vmm.kill();
    let stopped =
        poll_until(GONE_DEADLINE, || Some(workspace.status()).filter(|status| status["state"] == "stopped"));
    assert!(stopped.is_some(), "the end of the guest is noticed");
    let features = asked(&home, &disk_of(&home, &workspace), "features");
    assert!(features.contains("needs_recovery"), "{features}");
    expect_same(seen(&said), listed(&workspace));
    assert_eq!(read(&workspace, "d200/file"), "200\n");
    assert_eq!(read(&workspace, "last"), "last\n");
    let image = home.path().join("root.ext4");
    workspace.json("disk export", &["--output", text(&image)]);
    assert!(tool(&home, "e2fsck", &["-fn", text(&image)]).status.success());
    assert_eq!(asked(&home, &image, "cat /workspace/d200/file"), "200\n");
}

#[test]
fn a_damaged_disk_is_an_error_and_no_more() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    workspace.sh("mkdir -p a/b && echo text > a/b/file");
    workspace.json("stop", &[]);
    let path = disk_of(&home, &workspace);
    let disk = File::options().read(true).write(true).open(&path).unwrap();
    let stat = asked(&home, &path, "imap /upper");
    let table: u64 =
        stat.split("at block ").nth(1).and_then(|rest| rest.split(',').next()).unwrap().parse().unwrap();
    let output = home.path().join("image");
    for (at, len) in [(1024, 1024), (1024 + 0x20, 4), (4096, 64), (table * 4096, 4096), (0, 1 << 20)] {
        let mut bytes = vec![0; len];
        disk.read_exact_at(&mut bytes, at).unwrap();
        let flipped: Vec<u8> = bytes.iter().map(|byte| byte ^ 0x5a).collect();
        disk.write_all_at(&flipped, at).unwrap();
        for (command, arguments) in [
            ("disk list", vec!["/", "--recursive"]),
            ("disk read", vec!["a/b/file"]),
            ("disk export", vec!["--output", text(&output)]),
        ] {
            workspace.refused(command, &arguments, DAMAGED);
        }
        assert!(!output.exists(), "nothing is left");
        disk.write_all_at(&bytes, at).unwrap();
    }
    assert_eq!(read(&workspace, "a/b/file"), "text\n");
    let left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".pyro-")), "{left:?}");
}

#[test]
fn secrets_do_not_show_in_files_that_are_read_or_exported() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace_with(&["--secret", "TOKEN=hunter2-and-more"]);
    let script = r#"printf 'see %s here\n' "$TOKEN" > leak && ln -s "$TOKEN" link && rm -f old
        printf %s "$TOKEN" > deleted && sync && rm deleted && head -c 100000 /dev/zero > zeros && printf %s "$TOKEN" >> zeros"#;
    workspace.exec(&["--secret-env", "TOKEN"], script).run().expect(0).text();
    workspace.json("stop", &[]);
    assert_eq!(read(&workspace, "leak"), "see [REDACTED] here\n");
    assert_eq!(workspace.json("disk list", &["/run", "--recursive"])["count"], 0);
    let image = home.path().join("root.ext4");
    workspace.json("disk export", &["--output", text(&image)]);
    assert!(tool(&home, "e2fsck", &["-fn", text(&image)]).status.success());
    assert_eq!(asked(&home, &image, "cat /workspace/leak"), "see [REDACTED] here\n");
    for (_, data) in pyro_testkit::data_of(&image) {
        assert!(!data.windows(15).any(|window| window == b"hunter2-and-mor"), "a value shows in the image");
    }
}

#[test]
fn a_workspace_without_a_guest_has_no_disk() {
    let home = SUITE.bare();
    let flags = ["workspace", "create", DEBIAN, "--allow-host-compat", "--id-only"];
    let created = home.pyro(flags).env("PYRO_DEBIAN_MIRROR", CLOSED_MIRROR).run().expect(0);
    let workspace = Workspace::adopt(&home, created.text().trim());
    workspace.refused("disk list", &[], UNSUPPORTED);
}
