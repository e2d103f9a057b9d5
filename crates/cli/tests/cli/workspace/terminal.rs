//! What a guest says does nothing to a terminal but to be shown.

use super::hostile_guest::Impostor;
use super::{drives_terminal, text};
use crate::{DEBIAN, SUITE};
use pyro_protocol::v1::reply::Reply as Answer;
use pyro_protocol::v1::{Failure, FailureKind};
use pyro_testkit::Value;

#[test]
fn what_came_from_a_guest_drives_no_terminal() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    let evil = "a\x1b[2J\u{202e}b\nc";
    workspace.sh(&format!("echo x > '{evil}'; ln -s '{evil}' link"));
    workspace.json("file write", &[evil, "--text", "y"]);
    let out = home.path().join("out");
    let calls: [(&str, &[&str]); 6] = [
        ("file list", &[]),
        ("file read", &[evil]),
        ("diff", &[]),
        ("summary", &[]),
        ("export", &[evil, "--output", text(&out)]),
        ("export", &["link", "--output", text(&out)]),
    ];
    for (command, arguments) in calls {
        let run = workspace.call(command, arguments).run();
        let shown = String::from_utf8_lossy(&run.stdout).into_owned() + &run.stderr;
        assert!(!drives_terminal(&shown), "{command}: {shown:?}");
    }
    let value: Value = workspace.json("file list", &[]);
    assert_eq!(value["entries"][0]["path"], format!("/workspace/{evil}"), "documents tell it as it is");
}

#[test]
fn a_failure_in_the_guests_words_drives_no_terminal() {
    let home = SUITE.with(DEBIAN);
    let impostor = Impostor::new(&home);
    let message = "\x1b[2J\u{202e}\n".repeat(10_000);
    let path = "\x1b]0;evil\x07".repeat(100);
    impostor.lies(move |line, _| {
        let (message, path) = (message.clone(), path.clone().into());
        line.send(Answer::Failure(Failure { kind: FailureKind::NotFound.into(), message, path }))
    });
    let run = impostor.bounded("file list", &[], "a failure in many words");
    assert!(
        run.json()["error"]["code"] == "not_found" && run.stdout.len() < 64 << 10,
        "{} bytes",
        run.stdout.len()
    );
    assert!(!drives_terminal(&run.stderr), "{:?}", &run.stderr[..run.stderr.len().min(500)]);
}
