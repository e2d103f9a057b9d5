//! What is refused: with a code, a cause and a way out, and before anything is made.

use super::{INVALID, MISSING, Refusal, text};
use crate::{DEBIAN, SUITE};
use pyro_testkit::{GONE_DEADLINE, Home};
use std::fs;
use std::os::unix::fs::symlink;

fn refused(home: &Home, arguments: &[&str], (status, code): Refusal, said: &str) {
    let run = home.pyro(["workspace"]).args(arguments).run();
    assert!(run.code == Some(status) && run.stdout_bytes > 0, "{arguments:?}: {:?} {}", run.code, run.stderr);
    let error = run.json()["error"].clone();
    assert!(error["code"] == code, "{arguments:?}: not `{code}`: {error:#}");
    assert!(error["hint"].is_string(), "{arguments:?}: no way out: {error:#}");
    let text = format!("{} {}", error["message"], error["hint"]);
    assert!(text.contains(said), "{arguments:?}: no `{said}` in {error:#}");
}

#[test]
fn a_workspace_that_cannot_be_is_refused_before_anything_is_fetched() {
    let home = SUITE.bare();
    let (long, name) = ("x".repeat(129), "x".repeat(65));
    let (long_value, long_key) = (format!("a={long}"), format!("{name}=a"));
    let many: Vec<String> = (0..65).map(|number| format!("--label=l{number}=x")).collect();
    let (file, link, directory) =
        (home.path().join("file"), home.path().join("link"), home.path().join("dir.tar"));
    fs::write(&file, "text")
        .and_then(|()| symlink("/nowhere", &link))
        .and_then(|()| fs::create_dir(&directory))
        .unwrap();
    fs::write(home.path().join("broken.tar.gz"), "this is not compressed").unwrap();
    let broken = home.path().join("broken.tar.gz");
    let [file, link, broken] = [&file, &link, &broken].map(|path| text(path));
    let cases: [(&[&str], Refusal, &str); 19] = [
        (&["--ttl-seconds", "0"], INVALID, "ttl_seconds must be between 1 and 86400, not 0"),
        (&["--ttl-seconds", "86401"], INVALID, "ttl_seconds must be between 1 and 86400"),
        (&["--ttl-seconds", "18446744073709551615"], INVALID, "ttl_seconds"),
        (&["--vcpu-count", "0"], INVALID, "between 1 and 32"),
        (&["--vcpu-count", "33"], INVALID, "between 1 and 32"),
        (&["--mem-mib", "191"], INVALID, "between 192 and 65536"),
        (&["--mem-mib", "4294967295"], INVALID, "between 192 and 65536"),
        (&["--name", ""], INVALID, "name"),
        (&["--name", " "], INVALID, "name"),
        (&["--name", "two\nlines"], INVALID, r"two\\nlines"),
        (&["--name", &long], INVALID, "at most 128 characters"),
        (&["--label", "a b=c"], INVALID, "a b"),
        (&["--label", &long_value], INVALID, "at most 128 characters"),
        (&["--label", &long_key], INVALID, "up to 64"),
        (&["--allow-host", "example.org"], INVALID, "the network policy is `off`"),
        (&["--network-policy", "nonsense"], INVALID, "nonsense"),
        (&["--seed-path", "/nowhere/at/all"], MISSING, "/nowhere/at/all"),
        (&["--seed-path", file], INVALID, "file"),
        (&["--seed-path", link], MISSING, "link"),
    ];
    for (flags, expected, said) in cases {
        let arguments = [&["create", DEBIAN, "--json"], flags].concat();
        refused(&home, &arguments, expected, said);
    }
    refused(
        &home,
        &["create", DEBIAN, "--json", "--seed-path", broken, "--ttl-seconds", "0"],
        INVALID,
        "ttl_seconds",
    );
    let many: Vec<&str> =
        ["create", DEBIAN, "--json"].into_iter().chain(many.iter().map(String::as_str)).collect();
    refused(&home, &many, INVALID, "at most 64 labels, not 65");
    refused(&home, &["create", "debain:12", "--json"], MISSING, "did you mean debian:12");
    assert!(!home.cache().exists(), "nothing was fetched for any of them");
    assert_eq!(home.workspaces(), [] as [&str; 0]);
}

#[test]
fn an_operation_that_makes_no_sense_is_refused() {
    let home = SUITE.bare();
    let words = "x".repeat(60_000);
    for command in ["status", "logs", "summary", "diff", "start", "stop", "delete", "reset"] {
        refused(&home, &[command, "ws-none", "--json"], MISSING, "there is no workspace `ws-none`");
    }
    let cases: [(&[&str], Refusal, &str); 13] = [
        (&["exec", "ws-none", "--json", "--", "true"], (125, "not_found"), "ws-none"),
        (&["exec", "ws-none", "--json", "--", ""], INVALID, "no command"),
        (&["exec", "ws-none", "--json", "--timeout-seconds", "0", "--", "true"], INVALID, "timeout_seconds"),
        (
            &["exec", "ws-none", "--json", "--timeout-seconds", "86401", "--", "true"],
            INVALID,
            "timeout_seconds",
        ),
        (&["exec", "ws-none", "--json", "--", &words, &words, &words], INVALID, "long"),
        (&["update", "ws-none", "--json"], INVALID, "changes nothing"),
        (&["update", "ws-none", "--json", "--name", "a", "--clear-name"], INVALID, "takes it away"),
        (&["update", "ws-none", "--json", "--label", "a=b", "--clear-label", "a"], INVALID, "takes it away"),
        (&["update", "ws-none", "--json", "--name", "a"], MISSING, "ws-none"),
        (&["snapshot", "create", "ws-none", "a b", "--json"], INVALID, "a b"),
        (&["snapshot", "list", "ws-none", "--json"], MISSING, "ws-none"),
        (&["reset", "ws-none", "--json", "--snapshot", "a/b"], INVALID, "a/b"),
        (&["status", "../../etc", "--json"], MISSING, "../../etc"),
    ];
    for (arguments, expected, said) in cases {
        refused(&home, arguments, expected, said);
    }
    let usage: [&[&str]; 9] = [
        &["exec", "ws-none"],
        &["exec", "ws-none", "--"],
        &["exec", "ws-none", "true"],
        &["exec", "--", "true"],
        &["create"],
        &["create", DEBIAN, "--json", "--id-only"],
        &["create", DEBIAN, "--label", "no-value"],
        &["create", DEBIAN, "--ttl-seconds", "soon"],
        &["reset"],
    ];
    for arguments in usage {
        let run = home.pyro(["workspace"]).args(arguments).run().expect(2);
        assert!(run.stdout.is_empty() && run.stderr.contains("--help"), "{arguments:?}: {}", run.stderr);
    }
    assert!(!home.cache().exists(), "nothing was fetched for any of them");
    assert_eq!(home.workspaces(), [] as [&str; 0]);
}

#[test]
fn a_seed_that_turns_out_to_be_broken_leaves_no_workspace() {
    let home = SUITE.with(DEBIAN);
    let broken = home.path().join("broken.tar.gz");
    fs::write(&broken, "this is not compressed").unwrap();
    let run = home.pyro(["workspace", "create", DEBIAN, "--json", "--seed-path", text(&broken)]).run();
    let error = run.refused(INVALID);
    assert!(error["message"].as_str().unwrap().contains("broken.tar.gz"), "{error}");
    assert_eq!(home.workspaces(), [] as [&str; 0]);
    home.expect_no_process_within(GONE_DEADLINE);
}
