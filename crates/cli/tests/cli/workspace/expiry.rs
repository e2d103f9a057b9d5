//! The time to live: what has expired is gone, whether or not anybody calls.

use super::{MISSING, list};
use crate::{DEBIAN, SUITE};
use pyro_testkit::{Home, Workspace, poll_until};
use std::time::{Duration, SystemTime};

/// Time to live of one workspace, and of several, which have to be there at the same time.
const TTL: Duration = Duration::from_secs(8);
const TTL_OF_SEVERAL: Duration = Duration::from_secs(15);
/// How long after it has expired everything of a workspace has to be gone.
const GONE_DEADLINE: Duration = Duration::from_secs(15);

fn short_lived(home: &Home, ttl: Duration) -> Workspace<'_> {
    home.workspace_with(&["--ttl-seconds", &ttl.as_secs().to_string()])
}

fn expect_nothing_left_within(home: &Home, deadline: Duration) {
    let gone =
        poll_until(deadline, || (home.workspaces().is_empty() && home.processes().is_empty()).then_some(()));
    assert!(gone.is_some(), "left: {:?} {:?}", home.workspaces(), home.processes());
}

#[test]
fn what_has_expired_is_gone_without_anyone_calling() {
    let home = SUITE.with(DEBIAN);
    let [running, stopped, crashed] = [(); 3].map(|()| short_lived(&home, TTL_OF_SEVERAL));
    stopped.call("stop", &[]).run().expect(0).text();
    crashed.vmm().unwrap().kill();
    assert!(home.workspaces().len() == 6, "{:?}", home.workspaces());
    expect_nothing_left_within(&home, TTL_OF_SEVERAL + GONE_DEADLINE);
    for workspace in [running, stopped, crashed] {
        for (command, status) in [("status", 1), ("start", 1), ("reset", 1), ("delete", 1)] {
            workspace.refused(command, &[], (status, "not_found"));
        }
        workspace.refused("exec", &["--", "true"], (125, "not_found"));
        workspace.forget();
    }
    assert_eq!(list(&home)["count"], 0);
}

#[test]
fn a_command_ends_with_its_workspace_and_is_told_why() {
    let home = SUITE.with(DEBIAN);
    let workspace = short_lived(&home, TTL);
    let run = workspace.exec(&["--timeout-seconds", "100", "--json"], "sleep 1000").run();
    assert!(run.elapsed < TTL + GONE_DEADLINE, "{:?}", run.elapsed);
    let error = run.refused((125, "not_found"));
    assert!(error["message"].as_str().unwrap().contains("its time to live of 8 s has passed"), "{error}");
    expect_nothing_left_within(&home, GONE_DEADLINE);
    workspace.forget();
}

#[test]
fn calls_at_the_moment_of_expiry_are_answered_at_once() {
    let home = SUITE.with(DEBIAN);
    let workspace = short_lived(&home, TTL);
    let gone = poll_until(TTL + GONE_DEADLINE, || {
        let status = workspace.call("status", &["--json"]).run();
        assert!(status.elapsed < Duration::from_secs(5), "{:?}: {:?}", status.elapsed, status.code);
        (status.code != Some(0)).then(|| status.refused(MISSING))
    });
    gone.expect("it expires");
    expect_nothing_left_within(&home, GONE_DEADLINE);
    workspace.forget();
}

#[test]
fn what_nobody_supervises_is_removed_by_the_next_call() {
    let home = SUITE.with(DEBIAN);
    let kept = home.workspace();
    let [named, listed] = [(); 2].map(|()| short_lived(&home, TTL_OF_SEVERAL));
    for workspace in [&named, &listed] {
        workspace.supervisor().unwrap().end();
    }
    assert_eq!(named.status()["state"], "stopped");
    let stopped = SystemTime::now();
    let expired =
        poll_until(TTL_OF_SEVERAL * 2, || (stopped.elapsed().unwrap() > TTL_OF_SEVERAL).then_some(()));
    assert!(expired.is_some());
    let error = named.refused("exec", &["--", "true"], (125, "not_found"));
    assert!(error["message"].as_str().unwrap().contains("its time to live of 15 s has passed"), "{error}");
    let left = list(&home);
    assert_eq!((&left["count"], &left["workspaces"][0]["workspace_id"]), (&1.into(), &kept.id().into()));
    assert_eq!(home.workspaces().len(), 2, "{:?}", home.workspaces());
    named.forget();
    listed.forget();
}
