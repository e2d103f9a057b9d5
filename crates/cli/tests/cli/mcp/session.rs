//! Sessions: how they begin, what is offered in them, and what comes of messages that make no sense.

use super::{client, prepared};
use crate::SUITE;
use pyro_testkit::{PROTOCOL, Value, json};
use std::time::Duration;

/// The tools of every profile and mode.
const LISTS: &str = include_str!("../../../../mcp/tests/tools.json");
/// Longer than any line that a server reads.
const TOO_LONG: usize = 9 << 20;

#[test]
fn every_profile_and_mode_has_its_tools() {
    let home = SUITE.bare();
    let lists: Value = serde_json::from_str(LISTS).unwrap();
    for (kind, flag) in [("profiles", "--profile"), ("modes", "--mode")] {
        for (name, expected) in lists[kind].as_object().unwrap() {
            let mut client = client(&home, &[flag, name]);
            assert_eq!(json!(client.tool_names()), *expected, "{flag} {name}");
            assert!(client.close().success());
        }
    }
    assert_eq!(json!(client(&home, &[]).tool_names()), lists["profiles"]["workspace-core"]);
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    let home = SUITE.bare();
    let cases: [(&[&str], &str); 6] = [
        (&["--mode", "inspect", "--profile", "vm-run"], "--profile"),
        (&["--mode", "inspct"], "inspect"),
        (&["--project-path", ".", "--no-project-source"], "--no-project-source"),
        (&["--project-path", ".", "--repo-url", "https://example.org/r"], "--repo-url"),
        (&["--repo-ref", "main"], "--repo-url"),
        (&["--repo-url", "ext::sh -c true"], "--repo-url"),
    ];
    for (flags, named) in cases {
        let refused = home.pyro(["mcp", "serve"]).args(flags).run().expect(2);
        assert!(refused.stderr.contains(named), "{flags:?}: {}", refused.stderr);
    }
}

#[test]
fn both_revisions_of_the_protocol_are_spoken() {
    let home = SUITE.bare();
    for revision in ["2025-06-18", PROTOCOL] {
        let mut client = home.pyro(["mcp", "serve"]).mcp();
        let server = client.initialize(revision);
        assert_eq!(server["protocolVersion"], revision);
        assert!(server["instructions"].as_str().unwrap().contains("workspace_create"), "{server:#}");
        assert!(client.close().success());
    }
    // The current revision has no handshake: each request says who asks.
    let mut client = home.pyro(["mcp", "serve"]).mcp();
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "0" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let discovered = client.request("server/discover", &json!({ "_meta": meta }));
    let versions = discovered["result"]["supportedVersions"].as_array().unwrap();
    assert!(versions.contains(&json!("2026-07-28")) && versions.contains(&json!(PROTOCOL)), "{versions:?}");
    let listed = client.request("tools/list", &json!({ "_meta": meta }));
    assert_eq!(listed["result"]["tools"].as_array().unwrap().len(), 17, "{listed:#}");
    assert!(client.close().success());
}

#[test]
fn what_makes_no_sense_is_answered_and_the_session_goes_on() {
    let home = SUITE.bare();
    let mut client = client(&home, &[]);
    let too_long = format!("{{\"x\": \"{}\"}}", "y".repeat(TOO_LONG));
    for (line, code, id) in [
        ("{\"jsonrpc\": \"2.0\", \"id\": 7, \"method\": ", -32700, Value::Null),
        ("{\"jsonrpc\": \"2.0\", \"id\": 7}", -32600, json!(7)),
        ("{\"jsonrpc\": \"2.0\", \"id\": 1.5, \"method\": \"ping\"}", -32600, Value::Null),
        (&too_long, -32600, Value::Null),
    ] {
        client.send_line(line);
        let error = client.wait_for(|message| message["error"].is_object());
        assert_eq!((&error["error"]["code"], &error["id"]), (&json!(code), &id), "{error}");
    }
    assert_eq!(client.request("tools/brew", &json!({}))["error"]["code"], -32601);

    let unknown = client.request("tools/call", &json!({ "name": "workspace_exce", "arguments": {} }));
    assert_eq!(unknown["error"]["code"], -32602);
    let message = unknown["error"]["message"].as_str().unwrap();
    assert!(message.ends_with("did you mean `workspace_exec`?"), "{message}");
    let hidden = client.request("tools/call", &json!({ "name": "shell_open", "arguments": {} }));
    let message = hidden["error"]["message"].as_str().unwrap();
    assert!(message.contains("no tool `shell_open`: it is not offered here"), "{message}");
    let misshapen = client.request("tools/call", &json!({ "name": "workspace_list", "arguments": "{}" }));
    assert_eq!(misshapen["error"]["code"], -32602);
    let message = misshapen["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("the parameters of `tools/call`: invalid type: string"), "{message}");

    assert_eq!(client.request("ping", &json!({}))["result"], json!({}));
    assert!(client.close().success());
}

#[test]
fn a_model_learns_what_it_did_wrong_and_what_to_do() {
    let home = SUITE.bare();
    let mut client = client(&home, &[]);
    let cases = [
        ("workspace_exec", json!({ "command": "ls" }), "needs the argument `workspace_id`"),
        ("workspace_exec", json!({ "workspace": "x", "command": "ls" }), "did you mean `workspace_id`?"),
        (
            "workspace_exec",
            json!({ "workspace_id": "x", "comand": "ls", "command": "ls" }),
            "did you mean `command`?",
        ),
        (
            "workspace_exec",
            json!({ "workspace_id": "x", "command": { "a": 1 } }),
            "give it a string or a list",
        ),
        (
            "workspace_exec",
            json!({ "workspace_id": "x", "command": "ls", "secret_env": {} }),
            "no argument `secret_env`",
        ),
        ("workspace_create", json!({ "vcpu_count": "two" }), "give it a whole number"),
        ("workspace_create", json!({ "network_policy": "egress" }), "no argument `network_policy`"),
        ("workspace_create", json!({ "environment": "debian:21" }), "debian:12"),
        ("workspace_status", json!({ "workspace_id": "ws-0000000000000000" }), "not_found: "),
        ("workspace_status", json!({ "workspace_id": "ws-0000000000000000" }), "with `workspace_list`"),
        (
            "workspace_file_read",
            json!({ "workspace_id": "ws-0000000000000000", "path": "/etc/passwd" }),
            "outside /workspace",
        ),
        ("vm_run", json!({ "command": [] }), "there is no command"),
    ];
    for (tool, arguments, expected) in cases {
        let told = client.failure(tool, &arguments);
        assert!(told.contains(expected), "{tool} {arguments}: {told}");
    }
    assert!(client.close().success());
}

#[test]
fn a_server_is_small_and_quick_to_say_what_it_offers() {
    let home = prepared();
    let mut client = client(&home, &["--profile", "workspace-full"]);
    assert_eq!(client.tool_names().len(), 44);
    let status = std::fs::read_to_string(format!("/proc/{}/status", client.pid())).unwrap();
    // Its own memory: the rest is the program, which it shares with every other pyro.
    let own = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    let kib: u64 = own.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 10 << 10, "{kib} KiB");
    assert!(client.close().success());
    assert!(home.processes().is_empty());
    home.expect_no_process_within(Duration::ZERO);
}
