//! Listings that lie.

use super::Impostor;
use super::line::zeros;
use crate::{DEBIAN, SUITE};
use pyro_protocol::v1::reply::Reply as Answer;
use pyro_protocol::v1::{Entries, Entry, FileKind};

fn listed(path: &str) -> Entry {
    Entry { path: path.to_owned().into(), kind: FileKind::File.into(), mode: 0o644, ..Entry::default() }
}

#[test]
fn a_listing_that_lies_is_refused() {
    let home = SUITE.with(DEBIAN);
    let impostor = Impostor::new(&home);
    let link = |target: &str| Entry {
        kind: FileKind::Symlink.into(),
        link_target: target.to_owned().into(),
        ..listed("d/l")
    };
    for (what, entries) in [
        ("dots", vec![listed("d/../../x")]),
        ("an absolute path", vec![listed("/etc/passwd")]),
        ("a path that is not in normal form", vec![listed("d//x")]),
        ("another directory", vec![listed("e/x")]),
        ("a directory with the same beginning", vec![listed("dd/x")]),
        ("what is deeper", vec![listed("d/x/y")]),
        ("NUL", vec![listed("d/\0")]),
        ("a long path", vec![listed(&format!("d/{}", "x".repeat(4096)))]),
        ("a path twice", vec![listed("d/x"), listed("d/x")]),
        ("no entries", vec![]),
        ("an unknown kind", vec![Entry { kind: 77, ..listed("d/x") }]),
        ("a file with a target", vec![Entry { link_target: "x".into(), ..listed("d/x") }]),
        ("a link without a target", vec![link("")]),
        ("a link with a target that is too long", vec![link(&"x".repeat(5000))]),
        ("a mode that is none", vec![Entry { mode: 0o10_0644, ..listed("d/x") }]),
    ] {
        impostor.lies(move |line, _| {
            line.send(Answer::Entries(Entries { entries: entries.clone() }))?;
            line.transferred()
        });
        impostor.refused("file list", &["d"], "guest_misbehaved", what);
    }
    impostor.lies(|line, _| line.endless(Answer::Entries(Entries { entries: vec![listed("d/x"); 1000] })));
    impostor.refused("file list", &["d"], "guest_misbehaved", "endless entries");
    impostor.lies(|line, _| line.endless(zeros(100)));
    impostor.refused("file list", &["d"], "guest_misbehaved", "another answer");
}

#[test]
fn the_longest_listing_takes_bounded_memory() {
    let home = SUITE.with(DEBIAN);
    let impostor = Impostor::new(&home);
    // Each byte takes six in a document.
    impostor.lies(|line, _| {
        for number in 0..16_000 {
            let path = format!("d/{number:05}{}", "\u{1}".repeat(4000));
            line.send(Answer::Entries(Entries { entries: vec![listed(&path)] }))?;
        }
        line.transferred()
    });
    let run = impostor.bounded("file list", &["d"], "the longest listing");
    assert!(run.code == Some(0) || run.json()["error"]["code"] == "guest_misbehaved", "{}", run.stderr);
}
