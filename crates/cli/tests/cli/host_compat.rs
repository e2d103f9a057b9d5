//! Where no guest can run: nothing, or the host itself where that was asked for.

use crate::{CLOSED_MIRROR, DEBIAN, SUITE};
use pyro_testkit::{GONE_DEADLINE, Home, Pyro, Signal};
use std::time::Duration;

/// A run on a host that has no bundle and cannot get one.
fn run_without_a_bundle(home: &Home, flags: &[&str], script: &str) -> Pyro {
    let call = home.pyro(["run", DEBIAN]).args(flags).args(["--", "sh", "-c", script]);
    call.env("PYRO_DEBIAN_MIRROR", CLOSED_MIRROR)
}

#[test]
fn nothing_runs_on_the_host_unless_it_was_allowed() {
    let home = SUITE.bare();
    let trace = home.path().join("trace");
    let script = format!("touch {}", trace.display());
    let run = run_without_a_bundle(&home, &[], &script).run().expect(125);
    assert!(run.stderr.contains("nothing was run") && run.stderr.contains(" hint: "), "{}", run.stderr);
    assert!(!trace.exists());
    run_without_a_bundle(&home, &["--allow-host-compat"], &script).run().expect(0).last_line();
    assert!(trace.exists());
}

#[test]
fn what_ran_on_the_host_says_so_and_why() {
    let home = SUITE.bare();
    let flags = ["--allow-host-compat", "--json"];
    let result = run_without_a_bundle(&home, &flags, "pwd; echo err >&2; exit 9").run().expect(9).json();
    assert_eq!(result["execution_mode"], "host_compat");
    assert!(result["fallback_reason"].as_str().is_some_and(|why| why.contains(CLOSED_MIRROR)), "{result}");
    assert!(result["stdout"].as_str().unwrap().starts_with(home.state().to_str().unwrap()), "{result}");
    assert_eq!(result["stderr"], "err\n");
    let run = run_without_a_bundle(&home, &["--allow-host-compat"], "true").run().expect(0);
    assert!(run.last_line().contains("execution_mode=host_compat exit_code=0"), "{}", run.stderr);
}

#[test]
fn on_the_host_a_timeout_kills_the_whole_group() {
    let home = SUITE.bare();
    let flags = ["--allow-host-compat", "--timeout-seconds", "1"];
    let run = run_without_a_bundle(&home, &flags, "sleep 1000 & sleep 1000 & wait").run().expect(124);
    assert!(run.last_line().contains("exit_code=124"), "{}", run.stderr);
    home.expect_no_process_within(Duration::from_secs(2));
}

#[test]
fn on_the_host_nothing_is_left_when_pyro_is_killed() {
    let home = SUITE.bare();
    let script = "echo running >&2; sleep 1000 & wait";
    let mut running = run_without_a_bundle(&home, &["--allow-host-compat"], script).spawn();
    running.wait_for_stderr("running");
    assert!(home.processes().len() > 2, "pyro, the agent, the shell and its child: {:?}", home.processes());
    running.signal(Signal::KILL);
    assert_eq!(running.wait().signal, Some(9));
    home.expect_no_process_within(GONE_DEADLINE);
    run_without_a_bundle(&home, &["--allow-host-compat"], "true").run().expect(0).last_line();
}
