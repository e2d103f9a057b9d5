//! Calls of tools that do what they say, with everything that a client gets beside the result.

use super::{client, make_checkout, prepared, workspace};
use crate::DEBIAN;
use pyro_testkit::{Value, json};
use std::fs;

#[test]
fn a_machine_is_run_in_one_call_and_step_by_step() {
    let home = prepared();
    let mut client = client(&home, &["--profile", "workspace-full"]);
    let run = client.tool("vm_run", &json!({ "command": ["git", "--version"] }));
    assert_eq!((&run["exit_code"], &run["cleanup"]["deleted"]), (&json!(0), &json!(true)));
    assert!(run["stdout"].as_str().unwrap().starts_with("git version "), "{run:#}");
    let created = client.tool("vm_create", &json!({}));
    let vm = json!({ "vm_id": created["vm_id"] });
    assert_eq!(client.tool("vm_start", &vm)["state"], "started");
    assert_eq!(client.tool("vm_network_info", &vm)["policy"], "off");
    let told = client.failure("vm_delete", &json!({ "vm_id": "vm-1" }));
    assert!(told.starts_with("not_found: "), "{told}");
    let done =
        client.tool("vm_exec", &json!({ "vm_id": created["vm_id"], "command": "echo $((6 * 7)); exit 3" }));
    assert_eq!((&done["stdout"], &done["exit_code"]), (&json!("42\n"), &json!(3)));
    assert!(client.failure("vm_status", &vm).starts_with("not_found: "));
    assert_eq!(client.tool("vm_reap_expired", &json!({}))["count"], 0);
    let environments = client.tool("vm_list_environments", &json!({}));
    assert_eq!(environments["environments"][0]["name"], DEBIAN);
    assert!(client.close().success());
}

#[test]
fn a_long_output_loses_its_middle_and_says_so() {
    let home = prepared();
    let mut client = client(&home, &[]);
    let id = workspace(&mut client);
    let exec = client.tool("workspace_exec", &json!({ "workspace_id": id, "command": "seq 100000" }));
    let stdout = exec["stdout"].as_str().unwrap();
    assert_eq!((&exec["truncated"], &exec["stdout_bytes"]), (&json!(true), &json!(588_895)));
    assert!(stdout.starts_with("1\n2\n") && stdout.ends_with("\n99999\n100000\n"), "{}", stdout.len());
    assert!(stdout.contains(" bytes left out") && stdout.len() < 33 << 10, "{}", stdout.len());
    let logs = client.tool("workspace_logs", &json!({ "workspace_id": id }));
    assert!(logs["entries"][0]["stdout"].as_str().unwrap().len() < 5 << 10);
    client.tool("workspace_delete", &json!({ "workspace_id": id }));
    assert!(client.close().success());
}

#[test]
fn a_client_that_asks_for_progress_gets_it() {
    let home = prepared();
    let mut client = client(&home, &[]);
    let params = |token: &str, tool: &str, arguments: Value| json!({ "name": tool, "arguments": arguments, "_meta": { "progressToken": token } });
    let creating =
        client.send("tools/call", &params("create", "workspace_create", json!({ "environment": DEBIAN })));
    let report = client.wait_for(|message| message["method"] == "notifications/progress");
    assert_eq!(report["params"]["progressToken"], "create");
    let message = report["params"]["message"].as_str().unwrap();
    assert!(!message.is_empty() && message != "running", "it names the phase: {message}");
    let id = client.answer(creating)["result"]["structuredContent"]["workspace_id"].clone();
    // Nothing is said by the command, and the client still hears that it goes on.
    let arguments = json!({ "workspace_id": id, "command": "sleep 5" });
    let sleeping = client.send("tools/call", &params("exec", "workspace_exec", arguments));
    let mut last = 0.0;
    for _ in 0..2 {
        let report = client.wait_for(|message| message["params"]["progressToken"] == "exec");
        let seconds = report["params"]["progress"].as_f64().unwrap();
        assert!(seconds > last, "{seconds} after {last}");
        last = seconds;
    }
    assert_eq!(client.answer(sleeping)["result"]["structuredContent"]["exit_code"], 0);
    client.tool("workspace_delete", &json!({ "workspace_id": id }));
    assert!(client.close().success());
}

#[test]
fn workspaces_are_resources_and_recipes_are_prompts() {
    let home = prepared();
    let seed = home.path().join("seed");
    fs::create_dir(&seed).unwrap();
    fs::write(seed.join("a"), "one\n").unwrap();
    make_checkout(&seed);
    let mut client = client(&home, &["--profile", "workspace-full", "--project-path", "seed"]);
    let id = workspace(&mut client);
    client.tool("workspace_file_write", &json!({ "workspace_id": id, "path": "a", "text": "two\n" }));
    let start =
        json!({ "workspace_id": id, "service_name": "talk", "command": "echo said; exec sleep 1000" });
    client.tool("service_start", &start);
    let listed = client.request("resources/list", &json!({}));
    let uris: Vec<_> =
        listed["result"]["resources"].as_array().unwrap().iter().map(|one| one["uri"].clone()).collect();
    let address = |kind: &str| format!("pyro://workspace/{id}/{kind}");
    assert_eq!(uris, [json!(address("summary")), json!(address("diff"))]);
    let mut read = |uri: String| client.request("resources/read", &json!({ "uri": uri }));
    let text = |answer: &Value| answer["result"]["contents"][0]["text"].as_str().unwrap().to_owned();
    assert!(text(&read(address("diff"))).ends_with("-one\n+two\n"));
    assert!(text(&read(address("summary"))).contains("\"file_writes\": 1"));
    assert_eq!(text(&read(address("service/talk/log"))), "said\n");
    for wrong in ["pyro://workspace/ws-0000000000000000/diff", "file:///etc/passwd", "pyro://"] {
        assert_eq!(read(wrong.to_owned())["error"]["code"], -32002, "{wrong}");
    }
    let templates = client.request("resources/templates/list", &json!({}));
    assert_eq!(templates["result"]["resourceTemplates"].as_array().unwrap().len(), 3);

    let prompts = client.request("prompts/list", &json!({}));
    assert_eq!(prompts["result"]["prompts"].as_array().unwrap().len(), 5);
    let params = json!({ "name": "repro-fix", "arguments": { "failure": "issue 42" } });
    let prompt = client.request("prompts/get", &params);
    assert!(prompt["result"]["messages"][0]["content"]["text"].as_str().unwrap().contains("issue 42"));
    let unknown = client.request("prompts/get", &json!({ "name": "brew" }));
    assert!(unknown["error"]["message"].as_str().unwrap().contains("repro-fix"), "{unknown}");
    client.tool("workspace_delete", &json!({ "workspace_id": id }));
    assert!(client.close().success());
}

#[test]
fn lists_have_an_end() {
    let home = prepared();
    let mut client = client(&home, &[]);
    let id = workspace(&mut client);
    let many = json!({ "workspace_id": id, "command": "mkdir many; cd many; seq 1 5000 | xargs touch" });
    client.tool("workspace_exec", &many);
    let listed = client.tool("workspace_file_list", &json!({ "workspace_id": id, "path": "many" }));
    assert_eq!((&listed["count"], &listed["entries_truncated"]), (&json!(5000), &json!(true)));
    assert!(listed.to_string().len() < 80 << 10, "{}", listed.to_string().len());
    let diff = client.tool("workspace_diff", &json!({ "workspace_id": id }));
    assert_eq!((&diff["summary"]["added"], &diff["entries_truncated"]), (&json!(5001), &json!(true)));
    client.tool("workspace_delete", &json!({ "workspace_id": id }));
    assert!(client.close().success());
}
