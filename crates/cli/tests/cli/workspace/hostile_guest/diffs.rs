//! Diffs that lie.

use super::Impostor;
use super::line::zeros;
use crate::{DEBIAN, SUITE};
use pyro_protocol::v1::reply::Reply as Answer;
use pyro_protocol::v1::{Change, ChangeKind, FileKind, Side};

fn added(path: String, size: u64, has_content: bool) -> Change {
    let after = Side { size, mode: 0o644, has_content, content_bytes: size, ..side(FileKind::File) };
    Change { path: path.into(), kind: ChangeKind::Added.into(), before: None, after: Some(after) }
}

fn side(kind: FileKind) -> Side {
    Side { kind: kind.into(), mode: 0o644, ..Side::default() }
}

#[test]
fn a_diff_that_lies_is_refused() {
    let home = SUITE.with(DEBIAN);
    let impostor = Impostor::new(&home);
    let plain = |path: &str| added(path.to_owned(), 0, false);
    let kinds = |kind: ChangeKind, before, after| Change { kind: kind.into(), before, after, ..plain("x") };
    let (file, directory) = (side(FileKind::File), side(FileKind::Directory));
    for (what, changes) in [
        ("dots", vec![plain("../x")]),
        ("an absolute path", vec![plain("/etc/passwd")]),
        ("no path", vec![plain("")]),
        ("a path twice", vec![plain("a"), plain("a")]),
        ("changes out of order", vec![plain("b"), plain("a")]),
        (
            "an addition of what was there",
            vec![kinds(ChangeKind::Added, Some(file.clone()), Some(file.clone()))],
        ),
        (
            "a change of type without one",
            vec![kinds(ChangeKind::TypeChanged, Some(file.clone()), Some(file.clone()))],
        ),
        ("a modification of type", vec![kinds(ChangeKind::Modified, Some(file.clone()), Some(directory))]),
        ("a change of nothing", vec![kinds(ChangeKind::Modified, None, None)]),
        ("an unknown kind", vec![Change { kind: 99, ..plain("x") }]),
        ("content over the limit", vec![added("x".to_owned(), (1 << 20) + 1, true)]),
        ("content without an end", vec![added("x".to_owned(), u64::MAX, true)]),
        ("content that breaks off", vec![added("x".to_owned(), 10, true), plain("y")]),
    ] {
        impostor.lies(move |line, _| {
            for change in &changes {
                line.send(Answer::Change(change.clone()))?;
            }
            line.transferred()
        });
        impostor.refused("diff", &[], "guest_misbehaved", what);
    }
    impostor.lies(|line, _| {
        line.send(Answer::Change(added("x".to_owned(), 10, true)))?;
        line.endless(zeros(0))
    });
    impostor.refused("diff", &[], "guest_misbehaved", "content of nothing");
    impostor.lies(|line, _| {
        for number in 0_u32.. {
            line.send(Answer::Change(added(format!("{number:09}"), 1 << 20, true)))?;
            for _ in 0..16 {
                line.send(zeros(64 << 10))?;
            }
        }
        Ok(())
    });
    impostor.refused("diff", &[], "guest_misbehaved", "more content than asked for");
    impostor.lies(|line, _| {
        (0_u32..).try_for_each(|number| line.send(Answer::Change(added(format!("{number:09}"), 0, false))))
    });
    impostor.refused("diff", &[], "guest_misbehaved", "endless changes");
}

#[test]
fn the_longest_diff_takes_bounded_memory() {
    let home = SUITE.with(DEBIAN);
    let impostor = Impostor::new(&home);
    impostor.lies(|line, _| {
        for number in 0..40_000_u32 {
            let link =
                |target: &str| Side { link_target: target.repeat(4000).into(), ..side(FileKind::Symlink) };
            let kind = ChangeKind::Modified.into();
            let path = format!("{number:09}{}", "x".repeat(4000)).into();
            let change = Change { path, kind, before: Some(link("a")), after: Some(link("b")) };
            line.send(Answer::Change(change))?;
        }
        line.transferred()
    });
    let run = impostor.bounded("diff", &[], "the longest diff");
    assert!(run.code == Some(0) || run.json()["error"]["code"] == "guest_misbehaved", "{}", run.stderr);
}
