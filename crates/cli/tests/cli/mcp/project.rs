//! Workspaces that begin with the project that the server was started in.

use super::{client, git, make_checkout, prepared, workspace};
use crate::DEBIAN;
use pyro_testkit::{Home, PROTOCOL, Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

/// A checkout with what a checkout has.
fn checkout(home: &Home) -> PathBuf {
    let root = home.path().join("checkout");
    fs::create_dir_all(root.join("src")).unwrap();
    fs::write(root.join("src/main.c"), "int main;\n").unwrap();
    fs::write(root.join(".gitignore"), "out\n").unwrap();
    make_checkout(&root);
    git(&root, &["commit", "--quiet", "--message", "one"]);
    fs::write(root.join("src/main.c"), "int main(void) { return 0; }\n").unwrap();
    fs::write(root.join("untracked"), "x").unwrap();
    fs::create_dir(root.join("out")).unwrap();
    symlink("/nowhere", root.join("out/dangling")).unwrap();
    root
}

fn description(listed: &Value) -> String {
    let tools = listed["result"]["tools"].as_array().unwrap();
    let create = tools.iter().find(|tool| tool["name"] == "workspace_create").unwrap();
    create["description"].as_str().unwrap().to_owned()
}

#[test]
fn a_workspace_begins_with_the_tracked_files_as_they_are() {
    let home = prepared();
    let root = checkout(&home);
    let mut client = home.pyro(["mcp", "serve"]).within(&root.join("src")).mcp();
    let _server = client.initialize(PROTOCOL);
    let told = description(&client.request("tools/list", &json!({})));
    assert!(told.contains(root.to_str().unwrap()) && told.contains("2 files"), "{told}");
    let id = workspace(&mut client);
    let seed = client.tool("workspace_status", &json!({ "workspace_id": id }))["workspace_seed"].clone();
    assert_eq!((&seed["origin_kind"], &seed["origin_ref"]), (&json!("project_path"), &json!(root)));
    let find = json!({ "workspace_id": id, "command": "find . -type f | sort; cat src/main.c" });
    let found = client.tool("workspace_exec", &find);
    assert_eq!(found["stdout"], "./.gitignore\n./src/main.c\nint main(void) { return 0; }\n");
    assert_eq!(client.tool("workspace_diff", &json!({ "workspace_id": id }))["changed"], false);
    client.tool("workspace_delete", &json!({ "workspace_id": id }));
    // What is named is taken whole.
    let whole = client.tool("workspace_create", &json!({ "seed_path": root.join("out") }));
    assert_eq!(whole["workspace_seed"]["origin_kind"], "manual_seed_path");
    client.tool("workspace_delete", &json!({ "workspace_id": whole["workspace_id"] }));
    assert!(client.close().success());
}

#[test]
fn a_workspace_begins_with_a_clean_clone_or_with_nothing() {
    let home = prepared();
    let root = checkout(&home);
    let url = format!("file://{}", root.to_str().unwrap());
    let mut cloned = client(&home, &["--repo-url", &url, "--mode", "inspect"]);
    let id = workspace(&mut cloned);
    let read = cloned.tool("workspace_file_read", &json!({ "workspace_id": id, "path": "src/main.c" }));
    assert_eq!(read["content"], "int main;\n", "as it was committed");
    let seed = cloned.tool("workspace_status", &json!({ "workspace_id": id }))["workspace_seed"].clone();
    assert_eq!(seed["origin_kind"], "repo_url");
    cloned.tool("workspace_delete", &json!({ "workspace_id": id }));
    assert!(cloned.close().success());

    let mut none = home.pyro(["mcp", "serve", "--no-project-source"]).within(&root).mcp();
    let _server = none.initialize(PROTOCOL);
    let created = none.tool("workspace_create", &json!({ "environment": DEBIAN }));
    assert_eq!(created["workspace_seed"]["origin_kind"], "empty");
    none.tool("workspace_delete", &json!({ "workspace_id": created["workspace_id"] }));
    assert!(none.close().success());
}

#[test]
fn a_project_that_cannot_be_read_is_told_with_the_way_out() {
    let home = prepared();
    let root = checkout(&home);
    fs::write(root.join(".git/index"), "no index").unwrap();
    let mut client = home.pyro(["mcp", "serve"]).within(&root).mcp();
    let _server = client.initialize(PROTOCOL);
    let told = description(&client.request("tools/list", &json!({})));
    assert!(told.contains("not ready"), "{told}");
    let failed = client.failure("workspace_create", &json!({}));
    assert!(failed.contains("--no-project-source"), "{failed}");
    let seeded = client.tool("workspace_create", &json!({ "seed_path": root.join("src") }));
    client.tool("workspace_delete", &json!({ "workspace_id": seeded["workspace_id"] }));
    assert!(client.close().success());
    let named = home.pyro(["mcp", "serve", "--project-path", "/nowhere"]).run();
    assert!(named.code != Some(0) && named.stderr.contains("/nowhere"), "{}", named.stderr);
}

#[test]
fn a_checkout_that_does_not_answer_does_not_hold_up_the_server() {
    let home = prepared();
    let root = checkout(&home);
    assert!(Command::new("mkfifo").arg(root.join(".git/fifo")).status().unwrap().success());
    git(&root, &["config", "include.path", "fifo"]);
    let mut client = home.pyro(["mcp", "serve"]).within(&root).mcp();
    let _server = client.initialize(PROTOCOL);
    let told = description(&client.request("tools/list", &json!({})));
    assert!(told.contains("was not done within 2 s"), "{told}");
    assert!(client.close().success());
}
