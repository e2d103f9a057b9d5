//! pyro ended from outside, in whatever phase: no VMM survives it, and the next call is not confused.

use crate::{DEBIAN, SUITE, run};
use pyro_testkit::{GONE_DEADLINE, Home, Running, Signal};
use std::time::{Duration, Instant};

/// A command that runs until it is ended, in `phase`.
fn in_phase(home: &Home, phase: &str) -> Running {
    let mut running = run(home, &["--timeout-seconds", "120"], &["sleep", "1000"]).spawn();
    running.wait_for_stderr(&format!("[run] phase={phase}"));
    running
}

#[test]
fn signals_end_it_in_order() {
    let home = SUITE.with(DEBIAN);
    for (signal, phase, status) in [
        (Signal::INT, "execute", 130),
        (Signal::TERM, "execute", 143),
        (Signal::HUP, "execute", 129),
        (Signal::INT, "start", 130),
        (Signal::INT, "create", 130),
    ] {
        let running = in_phase(&home, phase);
        // pyro and the VMM: what is looked for afterwards is seen while it is there.
        assert!(phase != "execute" || home.processes().len() > 1, "{:?}", home.processes());
        let signalled = Instant::now();
        running.signal(signal);
        let ended = running.wait().expect(status);
        assert!(signalled.elapsed() < GONE_DEADLINE, "{signal:?} in {phase}: {}", ended.stderr);
        home.expect_no_process_within(GONE_DEADLINE);
        assert_eq!(home.machines(), Vec::<std::path::PathBuf>::new(), "{signal:?} in {phase}");
    }
}

#[test]
fn killed_in_any_phase_it_leaves_nothing_that_lives_or_confuses() {
    let home = SUITE.with(DEBIAN);
    for phase in ["create", "start", "execute"] {
        let running = in_phase(&home, phase);
        running.signal(Signal::KILL);
        let ended = running.wait();
        assert_eq!(ended.signal, Some(9), "{phase}");
        home.expect_no_process_within(GONE_DEADLINE);
    }
    // The last one had a directory, which only a later call can remove.
    assert!(!home.machines().is_empty());
    let next = run(&home, &[], &["echo", "fine"]).run().expect(0);
    assert_eq!(next.text(), "fine\n");
    assert_eq!(home.machines(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_machine_is_gone_when_its_time_to_live_is_over() {
    let home = SUITE.with(DEBIAN);
    let flags = ["--ttl-seconds", "6", "--timeout-seconds", "100", "--json"];
    let run = run(&home, &flags, &["sleep", "1000"]).deadline(Duration::from_secs(30)).run();
    let error = run.refused((125, "timed_out"));
    assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("--ttl-seconds")), "{error}");
    home.expect_no_process_within(GONE_DEADLINE);
}
