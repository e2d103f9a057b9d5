//! `pyro mcp serve` with clients at its other end.

mod calls;
mod clients;
mod ends;
mod http;
mod project;
mod qualification;
mod session;

use crate::{DEBIAN, SUITE};
use pyro_testkit::{Home, McpClient, PROTOCOL, json};
use std::path::Path;
use std::process::Command;

/// A client of a server with these flags, its session begun, in a home that is prepared.
fn client(home: &Home, flags: &[&str]) -> McpClient {
    let mut server = home.pyro(["mcp", "serve"]).args(flags).within(home.path());
    // Homes of tests are inside of a checkout: this one's.
    if !flags.iter().any(|flag| ["--project-path", "--repo-url"].contains(flag)) {
        server = server.args(["--no-project-source"]);
    }
    let mut client = server.mcp();
    let server = client.initialize(PROTOCOL);
    assert_eq!(server["serverInfo"]["name"], "pyro", "{server:#}");
    client
}

/// A new, empty workspace.
fn workspace(client: &mut McpClient) -> String {
    let created = client.tool("workspace_create", &json!({ "environment": DEBIAN }));
    created["workspace_id"].as_str().unwrap().to_owned()
}

fn prepared() -> Home {
    SUITE.with(DEBIAN)
}

/// Makes a Git checkout of a directory, with everything that is in it tracked.
pub fn make_checkout(directory: &Path) {
    git(directory, &["init", "--quiet", "."]);
    git(directory, &["add", "--all"]);
}

fn git(directory: &Path, arguments: &[&str]) {
    let mut git = Command::new("git");
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        git.env_remove(name);
    }
    let git = git.args(["-c", "user.name=test", "-c", "user.email=test@example.org"]);
    let done = git.args(arguments).current_dir(directory).status();
    assert!(done.unwrap().success(), "git {arguments:?}");
}
