//! A guest that says nothing before it is done.

use super::exports::{assert_nothing_left, destination};
use super::{DEADLINE, Impostor};
use crate::workspace::text;
use crate::workspace::trees::{entry, names};
use crate::{DEBIAN, SUITE};
use pyro_protocol::v1::request::Call;
use pyro_testkit::{Signal, poll_until};
use std::time::Duration;
use tar::EntryType;

/// As long as a guest may say nothing in the middle of a transfer, and some more.
const SILENCE_DEADLINE: Duration = Duration::from_secs(80);

#[test]
fn an_export_that_is_interrupted_leaves_nothing() {
    let home = SUITE.with(DEBIAN);
    let impostor = Impostor::new(&home);
    let beginning = entry(EntryType::Regular, "x", "", b"evil");
    impostor.lies(move |line, _| {
        line.data(&beginning)?;
        line.silence();
        Ok(())
    });
    let out = destination(&home);
    let exporting = impostor.workspace.call("export", &["x", "--output", text(&out.join("new"))]).spawn();
    let begun = poll_until(DEADLINE, || (!names(&out).is_empty()).then_some(()));
    assert!(begun.is_some(), "nothing was begun");
    exporting.signal(Signal::INT);
    exporting.wait().expect(130).text();
    assert_nothing_left(&out, "an interrupt");
}

#[test]
fn a_guest_that_says_nothing_is_given_up() {
    let home = SUITE.with(DEBIAN);
    let impostor = Impostor::new(&home);
    let evil = entry(EntryType::Regular, "../evil", "", b"evil");
    impostor.lies(move |line, call| {
        if let Call::Pack(_) = call {
            line.data(&evil)?;
        }
        line.silence();
        Ok(())
    });
    let out = destination(&home);
    let target = out.join("new");
    let calls: [(&str, &[&str], &str); 2] = [
        ("file read", &["x", "--json"], "timed_out"),
        // Why it is refused is known long before.
        ("export", &["x", "--output", text(&target), "--json"], "invalid_input"),
    ];
    let runs = calls.map(|(command, arguments, code)| {
        (command, impostor.workspace.call(command, arguments).deadline(SILENCE_DEADLINE).spawn(), code)
    });
    for (command, running, code) in runs {
        let run = running.wait();
        assert_eq!(run.json()["error"]["code"], code, "{command}");
    }
    assert_nothing_left(&out, "silence");
}
