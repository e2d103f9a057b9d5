//! Calls that are given up, clients that go away, servers that are killed: nothing goes on behind anybody's back.

use super::{client, prepared, workspace};
use pyro_testkit::{Home, McpClient, Signal, json, poll_until};
use std::time::Duration;

/// No guest takes so long to end a command.
const DEADLINE: Duration = Duration::from_secs(20);

/// Starts a command that runs until it is ended, and waits until it does.
fn start_endless(home: &Home, client: &mut McpClient, id: &str) -> u64 {
    let arguments =
        json!({ "workspace_id": id, "command": "touch begun; exec sleep 4321", "timeout_seconds": 600 });
    let call = client.send("tools/call", &json!({ "name": "workspace_exec", "arguments": arguments }));
    let has_begun = || {
        let listed = home.pyro(["workspace", "file", "list", id, "--json"]).run().expect(0).json();
        (listed["count"] == 1).then_some(())
    };
    poll_until(DEADLINE, has_begun).unwrap();
    call
}

/// Fails the test unless the command ends soon.
fn expect_ended(home: &Home, id: &str) {
    let look = "grep -lsz 4321 /proc/[0-9]*/cmdline | grep -v self | xargs -r cat | tr '\\0' ' ' | grep -c '^sleep' || true";
    let seen = poll_until(DEADLINE, || {
        let seen = home.pyro(["workspace", "exec", id, "--", "sh", "-c", look]).run().expect(0);
        (seen.text() == "0\n").then_some(())
    });
    assert!(seen.is_some(), "the command runs on");
    let logs = home.pyro(["workspace", "logs", id, "--json"]).run().expect(0).json();
    assert_eq!(logs["entries"][0]["state"], "interrupted", "{logs:#}");
}

#[test]
fn a_call_that_is_cancelled_ends_its_command() {
    let home = prepared();
    let mut client = client(&home, &[]);
    let id = workspace(&mut client);
    let call = start_endless(&home, &mut client, &id);
    client.notify("notifications/cancelled", &json!({ "requestId": call, "reason": "enough" }));
    expect_ended(&home, &id);
    // The session goes on, and the call is not answered.
    client.tool("workspace_delete", &json!({ "workspace_id": id }));
    assert!(client.look_for(Duration::ZERO, |message| message["id"] == call).is_none());
    assert!(client.close().success());
}

#[test]
fn a_creation_that_is_cancelled_leaves_nothing() {
    let home = prepared();
    let mut client = client(&home, &[]);
    let meta = json!({ "progressToken": 1 });
    let call =
        client.send("tools/call", &json!({ "name": "workspace_create", "arguments": {}, "_meta": meta }));
    let _begun = client.wait_for(|message| message["method"] == "notifications/progress");
    client.notify("notifications/cancelled", &json!({ "requestId": call }));
    let gone = || {
        let listed = client.tool("workspace_list", &json!({}));
        (listed["count"] == 0 && home.workspaces().is_empty()).then_some(())
    };
    assert!(poll_until(DEADLINE, gone).is_some(), "{:?}", home.workspaces());
    assert!(client.close().success());
}

#[test]
fn a_client_that_goes_away_takes_its_calls_with_it() {
    let home = prepared();
    let mut first = client(&home, &[]);
    let id = workspace(&mut first);
    start_endless(&home, &mut first, &id);
    assert!(first.close().success());
    expect_ended(&home, &id);
    for signal in [Signal::TERM, Signal::KILL] {
        let _reset = home.pyro(["workspace", "reset", &id]).run().expect(0);
        let mut next = client(&home, &[]);
        start_endless(&home, &mut next, &id);
        assert!(!next.end_by(signal).success());
        expect_ended(&home, &id);
    }
    let _deleted = home.pyro(["workspace", "delete", &id]).run().expect(0);
}

#[test]
fn three_clients_share_a_workspace() {
    let home = prepared();
    let mut first = client(&home, &[]);
    let id = workspace(&mut first);
    let mut clients =
        vec![first, client(&home, &["--mode", "repro-fix"]), client(&home, &["--profile", "workspace-full"])];
    // All at once, several calls of each under way.
    let calls: Vec<Vec<u64>> = clients
        .iter_mut()
        .enumerate()
        .map(|(number, client)| {
            let call = |step| {
                let command = format!("echo {number} {step} | tee -a all{number}");
                let arguments = json!({ "workspace_id": id, "command": command });
                client.send("tools/call", &json!({ "name": "workspace_exec", "arguments": arguments }))
            };
            (0..4).map(call).collect()
        })
        .collect();
    for (number, (client, calls)) in clients.iter().zip(calls).enumerate() {
        for (step, call) in calls.into_iter().enumerate() {
            let result = client.answer(call)["result"]["structuredContent"].clone();
            assert_eq!(result["stdout"], format!("{number} {step}\n"), "{result:#}");
        }
    }
    let counted =
        clients[2].tool("workspace_exec", &json!({ "workspace_id": id, "command": "cat all? | wc -l" }));
    assert_eq!(counted["stdout"], "12\n");
    let logs = clients[1].tool("workspace_logs", &json!({ "workspace_id": id }));
    assert_eq!(logs["count"], 13);
    clients[0].tool("workspace_delete", &json!({ "workspace_id": id }));
    assert!(
        clients[1].failure("workspace_status", &json!({ "workspace_id": id })).starts_with("not_found: ")
    );
    for client in clients {
        assert!(client.close().success());
    }
}

#[test]
fn a_client_that_reads_no_more_is_one_that_has_gone() {
    let home = prepared();
    let mut client = client(&home, &[]);
    let id = workspace(&mut client);
    start_endless(&home, &mut client, &id);
    client.stop_reading();
    // Noticed when there is something to say.
    let _unanswered = client.send("ping", &json!({}));
    assert!(client.ended().success());
    expect_ended(&home, &id);
    let _deleted = home.pyro(["workspace", "delete", &id]).run().expect(0);
}
