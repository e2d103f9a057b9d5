//! Files that lie when they are read, and lies about what was written.

use super::Impostor;
use super::line::zeros;
use crate::workspace::text;
use crate::workspace::trees::directory;
use crate::{DEBIAN, SUITE};
use pyro_protocol::v1::reply::Reply as Answer;
use pyro_protocol::v1::{Done, Failure, FailureKind, Stamp, Transferred};
use std::fs;

#[test]
fn a_file_that_lies_is_refused() {
    let home = SUITE.with(DEBIAN);
    let impostor = Impostor::new(&home);
    let stamp = Some(Stamp { inode: 1, bytes: 4, mtime_ns: 0, ctime_ns: 0 });
    let honest = Transferred { bytes: 4, total_bytes: 4, mode: 0o644, stamp, entries: 0 };
    for (what, data, end) in [
        ("more than was asked for", &b"12345"[..], Transferred { total_bytes: 5, ..honest }),
        ("nothing as data", b"", honest),
        ("a mode that is none", b"1234", Transferred { mode: 0o10_0644, ..honest }),
        ("no stamp", b"1234", Transferred { stamp: None, ..honest }),
    ] {
        impostor.lies(move |line, _| {
            line.data(data)?;
            line.send(Answer::Transferred(end))
        });
        impostor.refused("file read", &["x", "--max-bytes", "4"], "guest_misbehaved", what);
    }
    impostor.lies(|line, _| line.endless(zeros(100)));
    impostor.refused("file read", &["x", "--max-bytes", "1048576"], "guest_misbehaved", "endless content");
    impostor.lies(|line, _| line.endless(zeros(0)));
    impostor.refused("file read", &["x"], "guest_misbehaved", "endless nothing");
    let patch = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n";
    impostor.lies(|line, _| line.endless(zeros(64 << 10)));
    impostor.refused(
        "patch apply",
        &["--patch", patch],
        "guest_misbehaved",
        "a file without an end to patch",
    );
}

#[test]
fn a_lie_about_what_was_written_is_refused() {
    let home = SUITE.with(DEBIAN);
    let impostor = Impostor::new(&home);
    impostor.lies(|line, _| line.send(Answer::Done(Done {})).map(|()| line.silence()));
    impostor.refused("file write", &["x", "--text", "x"], "guest_misbehaved", "another end");
    impostor.lies(|_, _| Ok(()));
    impostor.refused("file write", &["x", "--text", "x"], "guest_unavailable", "no end");
    let source = directory(&home, "source");
    fs::write(source.join("x"), vec![7; 8 << 20]).unwrap();
    let failure = |kind: i32| Answer::Failure(Failure { kind, ..Failure::default() });
    for (what, answer) in [
        ("data for data", zeros(10)),
        ("a failure midway", failure(FailureKind::Io.into())),
        ("an unknown failure", failure(99)),
    ] {
        impostor.lies(move |line, _| line.send(answer.clone()).map(|()| line.silence()));
        impostor.refused("sync push", &[text(&source)], "guest_misbehaved", what);
    }
}
