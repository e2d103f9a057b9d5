//! What bad input gets: cause and way out, and the right status.

use crate::{CLOSED_MIRROR, DEBIAN, SUITE};
use insta::assert_snapshot;
use pyro_testkit::Run;

/// The lines of an error, which has to have both a cause and a hint.
#[track_caller]
fn error_of(run: &Run) -> String {
    let lines: Vec<&str> = run.stderr.lines().filter(|line| !line.starts_with('[')).collect();
    assert!(lines.iter().any(|line| line.starts_with("error: ")), "no cause: {}", run.stderr);
    assert!(lines.iter().any(|line| line.starts_with(" hint: ")), "no way out: {}", run.stderr);
    lines.join("\n")
}

#[test]
fn an_unknown_environment_is_answered_with_the_near_ones() {
    let home = SUITE.bare();
    let run = home.pyro(["run", "debain:12", "--", "true"]).run().expect(125);
    assert_snapshot!(error_of(&run), @r"
    error: there is no environment `debain:12`
     hint: did you mean debian:12 or debian:13 or debian:12-base? `pyro env list` shows the catalog
    ");
    for command in ["pull", "inspect"] {
        let run = home.pyro(["env", command, "debain:12"]).run().expect(1);
        assert!(error_of(&run).contains("did you mean debian:12"));
    }
    let run = home.pyro(["run", "xyz", "--", "true"]).run().expect(125);
    assert!(!error_of(&run).contains("did you mean"));
    assert!(!home.cache().exists(), "nothing was fetched for it");
}

#[test]
fn a_failure_is_one_document_with_json() {
    let home = SUITE.bare();
    home.pyro(["run", "debain:12", "--json", "--", "true"]).run().refused((125, "not_found"));
}

#[test]
fn bad_usage_is_2_everywhere() {
    let home = SUITE.bare();
    let cases: [(&[&str], &str); 14] = [
        (&["run", DEBIAN], "CMD"),
        (&["run", DEBIAN, "--"], "CMD"),
        (&["run", DEBIAN, "--", ""], "no command"),
        (&["run", "--", "true"], "ENVIRONMENT"),
        (&["run", DEBIAN, "--vcpu-count", "0", "--", "true"], "between 1 and 32"),
        (&["run", DEBIAN, "--vcpu-count", "33", "--", "true"], "between 1 and 32"),
        (&["run", DEBIAN, "--mem-mib", "64", "--", "true"], "between 192 and 65536"),
        (&["run", DEBIAN, "--mem-mib", "65537", "--", "true"], "between 192 and 65536"),
        (&["run", DEBIAN, "--mem-mib", "much", "--", "true"], "much"),
        (&["run", DEBIAN, "--timeout-seconds", "0", "--", "true"], "timeout_seconds must be between 1 and"),
        (&["run", DEBIAN, "--ttl-seconds", "9999999", "--", "true"], "ttl_seconds must be between 1 and"),
        (&["env", "pull", DEBIAN, "--snapshot", "yesterday"], "YYYYMMDD"),
        (&["no-such-command"], "no-such-command"),
        (&["env"], "pull"),
    ];
    for (arguments, said) in cases {
        let run = home.pyro(arguments).run().expect(2);
        assert!(run.stderr.contains(said) && run.stdout.is_empty(), "{arguments:?}: {}", run.stderr);
    }
    assert!(!home.cache().exists(), "nothing was fetched for any of them");
}

#[test]
fn a_cache_that_cannot_be_written_is_named_with_a_way_out() {
    let home = SUITE.bare();
    for (arguments, status) in
        [(&["runtime", "fetch"][..], 1), (&["env", "pull", DEBIAN], 1), (&["run", DEBIAN, "--", "true"], 125)]
    {
        let run = home.pyro(arguments).env("PYRO_HOME", "/dev/null/pyro").run().expect(status);
        let error = error_of(&run);
        assert!(error.contains("/dev/null/pyro") && error.contains("PYRO_HOME"), "{arguments:?}: {error}");
    }
}

#[test]
fn a_relative_home_is_refused() {
    let home = SUITE.bare();
    let run = home.pyro(["env", "list"]).env("PYRO_HOME", "somewhere").run().expect(2);
    assert_snapshot!(error_of(&run), @r"
    error: PYRO_HOME is not an absolute path: somewhere
     hint: Set PYRO_HOME to an absolute path, or unset it.
    ");
}

#[test]
fn without_a_bundle_there_is_nothing_to_verify_and_nothing_runs() {
    let home = SUITE.bare();
    let run = home.pyro(["runtime", "verify"]).run().expect(1);
    assert!(error_of(&run).contains("pyro runtime fetch"));
    let status = home.pyro(["runtime", "status", "--json"]).run().expect(0).json();
    assert_eq!(status["state"], "missing");
    let run =
        home.pyro(["run", DEBIAN, "--", "touch", "/tmp/pyro-ran"]).env("PYRO_DEBIAN_MIRROR", CLOSED_MIRROR);
    let run = run.run().expect(125);
    assert!(error_of(&run).contains("nothing was run"));
}
