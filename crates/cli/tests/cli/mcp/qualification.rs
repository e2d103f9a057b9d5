//! A project that nobody here wrote, taken on as an agent would: from a checkout with all that lies around in one, and from a
//! clean clone of it.

use super::{client, git, make_checkout};
use crate::SUITE;
use crate::workspace::network::install;
use pyro_testkit::{Home, McpClient, PROTOCOL, Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const ENVIRONMENT: &str = "debian:12-build";
const TEST: &str = "PYTHONDONTWRITEBYTECODE=1 python3 -m unittest";
/// What somebody has just broken in the checkout, without committing it.
const RIGHT: &str = ".replace('\"', '&quot;')";
/// An application of the project.
const APPLICATION: &str = "import bottle\n\napp = bottle.Bottle()\n\n@app.get('/say/<word>')\ndef say(word):\n    return bottle.html_escape(word)\n";
const UNREADABLE: [&str; 2] = [".env", ".venv"];

/// The project in a directory of the home's.
fn checkout(home: &Home) -> PathBuf {
    let root = home.path().join("checkout");
    let copied = Command::new("cp").arg("-r").args([&SUITE.public_project(), &root]).status().unwrap();
    assert!(copied.success());
    let write = |name: &str, text: &str| {
        fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        fs::write(root.join(name), text).unwrap();
    };
    write(".gitignore", "__pycache__\n.venv\n.env\n");
    make_checkout(&root);
    git(&root, &["commit", "--quiet", "--message", "as it was published"]);
    let source = fs::read_to_string(root.join("bottle.py")).unwrap();
    write("bottle.py", &source.replacen(RIGHT, "", 1));
    write("__pycache__/bottle.cpython-311.pyc", "generated");
    write(".venv/bin/python", "generated");
    write(".env", "KEY=of the host\n");
    write("notes", "untracked\n");
    for name in UNREADABLE {
        fs::set_permissions(root.join(name), Permissions::from_mode(0o000)).unwrap();
    }
    root
}

/// Lets the home be removed.
fn make_readable(root: &Path) {
    for name in UNREADABLE {
        fs::set_permissions(root.join(name), Permissions::from_mode(0o700)).unwrap();
    }
}

/// A workspace with the project, by an MCP server.
struct Agent {
    client: McpClient,
    id: String,
}

impl Agent {
    fn new(mut client: McpClient, arguments: &Value) -> Self {
        let created = client.tool("workspace_create", arguments);
        Self { client, id: created["workspace_id"].as_str().unwrap().to_owned() }
    }

    fn call(&mut self, tool: &str, mut arguments: Value) -> Value {
        arguments["workspace_id"] = json!(self.id);
        self.client.tool(tool, &arguments)
    }

    fn exec(&mut self, command: &str) -> Value {
        self.call("workspace_exec", json!({ "command": command, "timeout_seconds": 600 }))
    }

    /// Runs the project's tests: how they ended, and how many there were.
    fn test(&mut self) -> (bool, u32) {
        let tested = self.exec(TEST);
        let said = tested["stderr"].as_str().unwrap();
        let ran = said.split("\nRan ").nth(1).and_then(|rest| rest.split(' ').next());
        let ran = ran.and_then(|ran| ran.parse().ok());
        (tested["exit_code"] == 0, ran.unwrap_or_else(|| panic!("no tests ran: {tested:#}")))
    }

    fn delete(mut self) {
        self.call("workspace_delete", json!({}));
        assert!(self.client.close().success());
    }
}

#[test]
fn a_public_project_is_installed_tested_mended_served_and_exported() {
    let home = SUITE.with(ENVIRONMENT);
    let root = checkout(&home);
    let server = home.pyro(["mcp", "serve", "--profile", "workspace-full", "--environment", ENVIRONMENT]);
    let mut client = server.within(&root).mcp();
    let _server = client.initialize(PROTOCOL);
    let mut agent = Agent::new(client, &json!({ "network_policy": "egress" }));
    assert_eq!(agent.exec("ls -A")["stdout"], tracked());

    // Its tests of templates need a package.
    let (_, before) = agent.test();
    let installed = agent.exec(&install("python3-jinja2"));
    assert_eq!(installed["exit_code"], 0, "{installed:#}");
    let (passed, all) = agent.test();
    assert!(!passed && all > before, "{before} tests, then {all}");

    let found = agent.exec("grep -A 3 '^def html_escape' bottle.py");
    assert!(!found["stdout"].as_str().unwrap().contains("&quot;"), "{found:#}");
    let output = Command::new("git").args(["diff", "-R"]).current_dir(&root).output().unwrap();
    let patch = String::from_utf8(output.stdout).unwrap();
    assert_eq!(agent.call("workspace_patch_apply", json!({ "patch": patch }))["modified"], 1);
    assert_eq!(agent.test(), (true, all));

    agent.call("workspace_file_write", json!({ "path": "app.py", "text": APPLICATION }));
    let url = "http://127.0.0.1:8000/say/ready";
    let service = json!({
        "service_name": "app", "readiness": { "http": url }, "ready_interval_ms": 100,
        "command": ["env", "PYTHONDONTWRITEBYTECODE=1", "python3", "bottle.py", "-b", "127.0.0.1:8000", "app:app"],
    });
    assert_eq!(agent.call("service_start", service)["state"], "running");
    let said = agent.exec("curl -sS http://127.0.0.1:8000/say/%22 | tee report");
    assert_eq!(said["stdout"], "&quot;");
    let logs = agent.call("service_logs", json!({ "service_name": "app" }));
    assert!(logs["stderr"].as_str().unwrap().contains("\"GET /say/%22 HTTP/1.1\" 200"), "{logs:#}");

    let diff = agent.call("workspace_diff", json!({}));
    assert_eq!(
        diff["summary"],
        json!({ "total": 3, "added": 2, "modified": 1, "deleted": 0, "type_changed": 0, "text_patched": 3, "non_text": 0 }),
        "{diff:#}"
    );
    let exported = home.path().join("exported");
    agent.call("workspace_export", json!({ "path": ".", "output_path": exported }));
    let published = SUITE.public_project();
    for (name, expected) in
        [("bottle.py", published.join("bottle.py")), ("README.rst", root.join("README.rst"))]
    {
        assert!(fs::read(exported.join(name)).unwrap() == fs::read(expected).unwrap(), "{name}");
    }
    assert_eq!(fs::read_to_string(exported.join("report")).unwrap(), "&quot;");
    assert_eq!(agent.call("service_stop", json!({ "service_name": "app" }))["state"], "stopped");
    agent.delete();

    // What is committed is sound, and all of it is in a clean clone.
    let url = format!("file://{}", root.to_str().unwrap());
    let client =
        self::client(&home, &["--repo-url", &url, "--mode", "repro-fix", "--environment", ENVIRONMENT]);
    let mut agent = Agent::new(client, &json!({}));
    assert_eq!(agent.exec("ls -A")["stdout"], tracked());
    assert_eq!(agent.test(), (true, before));
    agent.delete();
    make_readable(&root);
}

/// What `ls -A` shows of the files that Git tracks.
fn tracked() -> String {
    let published = SUITE.public_project().read_dir().unwrap();
    let published = published.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = published.chain([".gitignore".to_owned()]).collect();
    names.sort();
    names.join("\n") + "\n"
}
