//! A template that is not what was made: no run fails for it, every face says what is wrong, and `prepare` mends it.

use crate::own_templates::{OwnTemplates, says, template_issue};
use pyro_testkit::{Value, json};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};

/// What is done to a template, and what is to be said of it.
type Damage = (fn(&OwnTemplates), &'static str);

#[test]
fn what_was_changed_or_cut_is_found_before_it_is_used() {
    let damages: [Damage; 4] = [
        (cut_ram, "4096 bytes instead of 1073741824"),
        (change_ram, "sha256 differs"),
        (change_state, "sha256 differs"),
        (|templates| fs::write(templates.manifest(), "{").unwrap(), "its manifest is unreadable"),
    ];
    expect_all_mended(&damages);
}

#[test]
fn what_only_the_vmm_can_tell_costs_a_boot_and_is_told_afterwards() {
    const LAST_WORDS: &str = "the virtual machine ended before its agent answered";
    expect_all_mended(&[(forge_state, LAST_WORDS), (|templates| forge_ram(templates, "ram"), LAST_WORDS)]);
}

#[test]
fn a_template_that_failed_is_not_made_anew_at_once_without_being_asked_for() {
    let templates = OwnTemplates::copied();
    forge_state(&templates);
    for _ in 0..2 {
        let failed = templates.run(&[]).env("PYRO_TEMPLATES", "auto").run().expect(0);
        // A process that makes a template is there before the run that started it ends.
        assert_eq!(templates.processes(), [], "{}", failed.stderr);
        assert!(says(&failed.json()["cold_start_reason"], "the template failed"), "{}", failed.stderr);
    }
}

#[test]
fn a_machine_starts_from_the_memory_that_its_disk_belongs_to() {
    let templates = OwnTemplates::copied();
    let used = templates.workspace();
    used.sh("echo kept >kept");
    used.json("stop", &[]);
    // Nothing is left but for machines that begin with a disk of their own.
    forge_ram(&templates, "ram");
    used.json("start", &[]);
    assert_eq!((&used.status()["start"], used.sh("cat kept").as_str()), (&"warm".into(), "kept\n"));
    templates.expect_cold("the virtual machine ended before its agent answered");

    templates.prepare(&[]);
    let unused = templates.workspace();
    // Nothing is left but for new machines, and those whose disk is new again.
    forge_ram(&templates, "apart_ram");
    templates.expect_warm();
    unused.json("reset", &[]);
    assert_eq!(unused.status()["start"], "warm");
    used.json("stop", &[]);
    used.json("start", &[]);
    let status = used.status();
    assert_eq!((&status["start"], used.sh("cat kept").as_str()), (&"cold".into(), "kept\n"));
    assert!(says(&status["cold_start_reason"], "the template failed"), "{status}");
}

#[test]
fn a_seed_is_joined_with_what_a_new_machine_begins_in() {
    let templates = OwnTemplates::copied();
    let seed = templates.path().join("seed");
    fs::create_dir_all(seed.join("kept")).unwrap();
    fs::write(seed.join("kept/file"), "of the seed\n").unwrap();
    let workspace = templates.workspace_with(&["--seed-path", seed.to_str().unwrap()]);
    // Nothing is left but for machines whose disk is new.
    forge_ram(&templates, "apart_ram");
    for _ in 0..2 {
        assert_eq!(workspace.status()["start"], "warm");
        assert_eq!(
            workspace.sh("cat kept/file; ls /workspace /tmp"),
            "of the seed\n/tmp:\n\n/workspace:\nkept\n"
        );
        assert_eq!(workspace.json("diff", &[])["changed"], false);
        assert_eq!(workspace.sh("mount | grep -c ' on / '; stat -c %s /etc/machine-id"), "1\n33\n");
        workspace.sh("rm -r kept && echo more >more");
        assert_eq!(workspace.json("diff", &[])["summary"]["total"], 3);
        workspace.json("reset", &[]);
    }
}

fn expect_all_mended(damages: &[Damage]) {
    let templates = OwnTemplates::copied();
    assert_eq!(templates.prepare(&[])["start"], "warm");
    for (inflict, said) in damages {
        inflict(&templates);
        templates.expect_cold(said);
        expect_reported(&templates.doctor(), said);
        let prepared = templates.prepare(&[]);
        assert_eq!((&prepared["reused"], &prepared["start"]), (&false.into(), &"warm".into()), "{prepared}");
        templates.expect_one_template();
        templates.expect_warm();
        assert_eq!(template_issue(&templates.doctor()), None, "{said}");
    }
}

#[track_caller]
fn expect_reported(doctor: &Value, said: &str) {
    let environment = &doctor["environment"];
    assert_eq!(environment["state"], "installed", "{doctor}");
    assert_eq!((&environment["daily_loop"], &environment["next_start"]), (&"STALE".into(), &"cold".into()));
    for reason in ["stale_reason", "cold_start_reason"] {
        assert!(says(&environment[reason], said), "{reason} without {said}: {doctor}");
    }
    let issue = template_issue(doctor).unwrap();
    assert!(says(&issue["problem"], said) && says(&issue["way_out"], "pyro prepare"), "{said}: {issue}");
    assert_eq!(doctor["next_command"], "pyro prepare debian:12");
}

fn cut_ram(templates: &OwnTemplates) {
    File::options().write(true).open(templates.file("ram")).unwrap().set_len(4096).unwrap();
}

/// Of the same length, and as old as it was.
fn change_ram(templates: &OwnTemplates) {
    let ram = templates.file("ram");
    let modified = fs::metadata(&ram).unwrap().modified().unwrap();
    flip_a_byte(&ram);
    File::options().write(true).open(&ram).unwrap().set_modified(modified).unwrap();
}

fn change_state(templates: &OwnTemplates) {
    flip_a_byte(&templates.file("state"));
}

/// Changes a byte in the middle of the file's data.
fn flip_a_byte(path: &Path) {
    let data = pyro_testkit::data_of(path);
    let (start, piece) = &data[data.len() / 2];
    let middle = piece.len() / 2;
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(&[!piece[middle]], start + middle as u64).unwrap();
}

/// A state that nobody ever saved, with a manifest that vouches for it.
fn forge_state(templates: &OwnTemplates) {
    let state = templates.file("state");
    let length = fs::metadata(&state).unwrap().len();
    let garbage: Vec<u8> = (0..length).map(|at| at.to_le_bytes()[0] ^ 0xa5).collect();
    fs::write(&state, &garbage).unwrap();
    // Where the data begins, the data, and where it ends: a file without holes.
    let digest = sha256(&[&0_u64.to_le_bytes(), &garbage[..], &length.to_le_bytes()].concat());
    templates.edit_manifest(|manifest| manifest["files"]["state"]["sha256"] = digest.into());
}

/// A memory in which there is nothing, with the stamp of one that was hashed.
fn forge_ram(templates: &OwnTemplates, kind: &str) {
    let ram = templates.file(kind);
    let file = File::options().write(true).open(&ram).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(0).and_then(|()| file.set_len(length)).unwrap();
    let metadata = file.metadata().unwrap();
    let nanoseconds = |seconds: i64, rest: i64| seconds * 1_000_000_000 + rest;
    let stamp = json!({
        "bytes": length,
        "mtime_ns": nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
        "ctime_ns": nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        "inode": metadata.ino(),
    });
    templates.edit_manifest(|manifest| manifest["files"][kind]["stamp"] = stamp);
}

/// In hexadecimal.
fn sha256(data: &[u8]) -> String {
    let hasher = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut hasher = hasher.unwrap();
    hasher.stdin.take().unwrap().write_all(data).unwrap();
    let printed = String::from_utf8(hasher.wait_with_output().unwrap().stdout).unwrap();
    printed.split_whitespace().next().unwrap().to_owned()
}
