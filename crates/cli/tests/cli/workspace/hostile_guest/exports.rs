//! Archives that lie to an export.

use super::Impostor;
use super::line::zeros;
use crate::workspace::text;
use crate::workspace::trees::{entry, names};
use crate::{DEBIAN, SUITE};
use pyro_protocol::v1::reply::Reply as Answer;
use pyro_protocol::v1::{Data, Done};
use pyro_testkit::Home;
use std::fs;
use std::path::{Path, PathBuf};
use tar::{EntryType, Header};

/// A directory to export to, beside something that must not be touched.
pub(super) fn destination(home: &Home) -> PathBuf {
    let root = home.path().join("out");
    fs::create_dir_all(&root).unwrap();
    fs::write(home.path().join("mine"), "mine").unwrap();
    root
}

/// Exports, which has to fail and to leave nothing.
#[track_caller]
fn refuses_export(impostor: &Impostor<'_>, code: &str, what: &str) {
    let out = destination(impostor.home);
    impostor.refused("export", &["x", "--output", text(&out.join("new"))], code, what);
    assert_nothing_left(&out, what);
}

#[track_caller]
pub(super) fn assert_nothing_left(out: &Path, what: &str) {
    assert_eq!(names(out), [""; 0], "{what}");
    let home = out.parent().unwrap();
    assert_eq!(fs::read_to_string(home.join("mine")).unwrap(), "mine", "{what}");
    assert!(!home.join("evil").exists() && !Path::new("/tmp/pyro-evil").exists(), "{what} came out");
}

fn file(name: &str) -> Vec<u8> {
    entry(EntryType::Regular, name, "", b"evil")
}

fn symlink(name: &str, target: &str) -> Vec<u8> {
    entry(EntryType::Symlink, name, target, b"")
}

fn hard_link(name: &str, target: &str) -> Vec<u8> {
    entry(EntryType::Link, name, target, b"")
}

/// What an archive must not bring to a home: what that is, the entries, and the code of the refusal.
fn hostile_entries(home: &str) -> [(&'static str, Vec<u8>, &'static str); 16] {
    let special = |kind, name: &str| entry(kind, name, "", b"");
    let outside = format!("{home}/evil");
    let through = [symlink("l", home), file("l/evil")].concat();
    let beside = [symlink("l", "../.."), file("l/evil")].concat();
    let replaced = [file("d/x"), symlink("d", home), file("d/evil")].concat();
    let swapped = [symlink("a", ".."), symlink("b", "a/..")].concat();
    let hard_to_link = [symlink("l", "/etc/passwd"), hard_link("h", "l")].concat();
    [
        ("dots", file("../evil"), "invalid_input"),
        ("dots within", file("a/../../evil"), "invalid_input"),
        ("an absolute name", file("/tmp/pyro-evil"), "invalid_input"),
        ("an absolute name of the host's", file(&outside), "invalid_input"),
        ("a write through an absolute link", through, "invalid_input"),
        ("a write through a relative link", beside, "invalid_input"),
        ("a directory replaced by a link", replaced, "already_exists"),
        ("links that lead out together", swapped, "invalid_input"),
        ("a second name of a link that leads out", hard_to_link, "invalid_input"),
        ("a hard link out", hard_link("h", "../../mine"), "invalid_input"),
        ("an absolute hard link", hard_link("h", "/etc/passwd"), "invalid_input"),
        ("a hard link to nothing", hard_link("h", "nothing"), "not_found"),
        ("a device", special(EntryType::Char, "null"), "invalid_input"),
        ("a pipe", special(EntryType::Fifo, "pipe"), "invalid_input"),
        ("a link in place of all", symlink(".", "/etc"), "invalid_input"),
        ("nothing", vec![], "invalid_input"),
    ]
}

/// What is no archive, or says that it is longer than it is; and the code of the refusal.
fn broken_archives() -> [(&'static str, Vec<u8>, &'static str); 4] {
    let huge = |size: u64| {
        let mut bytes = file("huge");
        let mut header = Header::new_gnu();
        header.as_mut_bytes().copy_from_slice(&bytes[..512]);
        header.set_size(size);
        header.set_cksum();
        bytes[..512].copy_from_slice(header.as_bytes());
        bytes
    };
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(1 << 30);
    header.set_cksum();
    let long = [&header.as_bytes()[..], &vec![b'x'; 4 << 20]].concat();
    [
        ("garbage", vec![b'x'; 1 << 20], "invalid_input"),
        ("a header of a huge file", huge(1 << 60), "exhausted"),
        ("a file that is shorter than announced", huge(1 << 20), "invalid_input"),
        ("a name of a gibibyte", long, "invalid_input"),
    ]
}

#[test]
fn an_archive_that_lies_leaves_nothing() {
    let home = SUITE.with(DEBIAN);
    let impostor = Impostor::new(&home);
    let whole = |entries: &[u8]| [entries, &[0; 1024]].concat();
    for (what, entries, code) in hostile_entries(text(home.path())) {
        let archive = whole(&entries);
        impostor.lies(move |line, _| line.archive(&archive));
        refuses_export(&impostor, code, what);
    }
    for (what, archive, code) in broken_archives() {
        impostor.lies(move |line, _| line.archive(&archive));
        refuses_export(&impostor, code, what);
    }
    for (what, announced, frame) in [
        ("a frame of four gibibytes", u32::MAX, vec![0; 1 << 20]),
        ("a frame that is no message", 1024, vec![0xff; 1024]),
        ("an empty frame", 0, vec![]),
    ] {
        impostor.lies(move |line, _| line.raw(&[&u32::to_be_bytes(announced), &frame[..]].concat()));
        refuses_export(&impostor, "guest_misbehaved", what);
    }
    impostor.lies(|line, _| line.send(Answer::Done(Done {})));
    refuses_export(&impostor, "guest_misbehaved", "another answer");
    // Whole as it is, nobody said so.
    let sound = whole(&file("x"));
    impostor.lies(move |line, _| line.data(&sound));
    refuses_export(&impostor, "guest_unavailable", "an end before the end");
    impostor.lies(|_, _| Ok(()));
    refuses_export(&impostor, "guest_unavailable", "no answer at all");
}

#[test]
fn an_archive_of_too_many_entries_is_refused() {
    let home = SUITE.with(DEBIAN);
    let impostor = Impostor::new(&home);
    let directories = entry(EntryType::Directory, &"d".repeat(90), "", b"").repeat(128);
    let links = symlink("link", "nowhere").repeat(128);
    for (what, entries) in [("a million directories", directories), ("a million links", links)] {
        impostor.lies(move |line, _| line.endless(Answer::Data(Data { data: entries.clone().into() })));
        refuses_export(&impostor, "exhausted", what);
    }
}

#[test]
fn what_follows_an_archive_does_not_go_on_for_ever() {
    let home = SUITE.with(DEBIAN);
    let impostor = Impostor::new(&home);
    let whole = [file("x"), vec![0; 1024]].concat();
    impostor.lies(move |line, _| line.data(&whole).and_then(|()| line.endless(zeros(64 << 10))));
    refuses_export(&impostor, "exhausted", "endless padding");
}

#[test]
fn an_archive_of_nothing_does_not_go_on_for_ever() {
    let home = SUITE.with(DEBIAN);
    let impostor = Impostor::new(&home);
    impostor.lies(|line, _| line.endless(zeros(0)));
    refuses_export(&impostor, "guest_misbehaved", "endless data without a byte");
}
