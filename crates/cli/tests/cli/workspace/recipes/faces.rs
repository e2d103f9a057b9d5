//! The ways to use workspaces, as the recipes need them.

use super::super::text;
use crate::DEBIAN;
use crate::sdk::block_on;
use pyro::workspace::{
    CreateWorkspace, OpenShell, ReadShell, ServiceReadiness, ShellId, SnapshotName, StartService,
    WorkspaceExec, WorkspaceExportRequest, WorkspaceId, WorkspacePath,
};
use pyro::{OutputMode, PrepareRequest, Pyro};
use pyro_testkit::{Home, McpClient, PROTOCOL, Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

/// One of the ways to use workspaces. Every result is a document of the same shape.
pub trait Face {
    fn prepare(&self) -> Value;
    fn create_in(&self, environment: &str, seed: &Path, name: &str, label: (&str, &str)) -> String;
    /// Exit code and outputs of a script.
    fn exec(&self, id: &str, script: &str) -> (i64, String);
    fn read(&self, id: &str, path: &str) -> String;
    fn list_files(&self, id: &str, path: &str) -> Value;
    fn patch(&self, id: &str, patch: &str) -> Value;
    fn diff(&self, id: &str) -> Value;
    fn export(&self, id: &str, path: &str, output: &Path) -> Value;
    fn snapshot(&self, id: &str, name: &str);
    fn reset(&self, id: &str, snapshot: &str) -> Value;
    fn summary(&self, id: &str) -> Value;
    fn list(&self) -> Value;
    fn delete(&self, id: &str);
    /// Starts a service that is ready when it answers a GET of `url`.
    fn start_service(&self, id: &str, name: &str, url: &str, command: &[&str]) -> Value;
    fn service_logs(&self, id: &str, name: &str) -> Value;
    fn stop_service(&self, id: &str, name: &str) -> Value;
    fn open_shell(&self, id: &str) -> String;
    fn write_shell(&self, id: &str, shell: &str, line: &str);
    /// What a person sees once the shell has been quiet for a moment.
    fn read_shell(&self, id: &str, shell: &str) -> String;
    fn close_shell(&self, id: &str, shell: &str);

    fn create(&self, seed: &Path, name: &str, label: (&str, &str)) -> String {
        self.create_in(DEBIAN, seed, name, label)
    }
}

/// The command.
pub struct Binary<'a>(pub &'a Home);

impl Binary<'_> {
    pub fn json(&self, words: &[&str]) -> Value {
        self.0.pyro(["workspace"]).args(words).args(["--json"]).run().expect(0).json()
    }
}

impl Face for Binary<'_> {
    fn prepare(&self) -> Value {
        self.0.pyro(["prepare", DEBIAN, "--json"]).run().expect(0).json()
    }

    fn create_in(&self, environment: &str, seed: &Path, name: &str, (key, value): (&str, &str)) -> String {
        let label = format!("{key}={value}");
        let flags = ["create", environment, "--seed-path", text(seed), "--name", name, "--label", &label];
        let created = self.json(&flags);
        assert_eq!((&created["name"], &created["labels"][key]), (&json!(name), &json!(value)));
        created["workspace_id"].as_str().unwrap().to_owned()
    }

    fn exec(&self, id: &str, script: &str) -> (i64, String) {
        let words = ["workspace", "exec", id, "--json", "--", "sh", "-c", script];
        outcome(&self.0.pyro(words).run().json())
    }

    fn read(&self, id: &str, path: &str) -> String {
        let read = self.0.pyro(["workspace", "file", "read", id, path, "--content-only"]).run().expect(0);
        read.text().to_owned()
    }

    fn list_files(&self, id: &str, path: &str) -> Value {
        self.json(&["file", "list", id, path, "--recursive"])
    }

    fn patch(&self, id: &str, patch: &str) -> Value {
        self.json(&["patch", "apply", id, "--patch", patch])
    }

    fn diff(&self, id: &str) -> Value {
        self.json(&["diff", id])
    }

    fn export(&self, id: &str, path: &str, output: &Path) -> Value {
        self.json(&["export", id, path, "--output", text(output)])
    }

    fn snapshot(&self, id: &str, name: &str) {
        self.json(&["snapshot", "create", id, name]);
    }

    fn reset(&self, id: &str, snapshot: &str) -> Value {
        self.json(&["reset", id, "--snapshot", snapshot])
    }

    fn summary(&self, id: &str) -> Value {
        self.json(&["summary", id])
    }

    fn list(&self) -> Value {
        self.json(&["list"])
    }

    fn delete(&self, id: &str) {
        self.json(&["delete", id]);
    }

    fn start_service(&self, id: &str, name: &str, url: &str, command: &[&str]) -> Value {
        let flags =
            ["service", "start", id, name, "--ready-http", url, "--ready-interval-ms", "100", "--json", "--"];
        self.0.pyro(["workspace"]).args(flags).args(command).run().expect(0).json()
    }

    fn service_logs(&self, id: &str, name: &str) -> Value {
        self.json(&["service", "logs", id, name])
    }

    fn stop_service(&self, id: &str, name: &str) -> Value {
        self.json(&["service", "stop", id, name])
    }

    fn open_shell(&self, id: &str) -> String {
        self.json(&["shell", "open", id])["shell_id"].as_str().unwrap().to_owned()
    }

    fn write_shell(&self, id: &str, shell: &str, line: &str) {
        self.json(&["shell", "write", id, shell, "--input", line]);
    }

    fn read_shell(&self, id: &str, shell: &str) -> String {
        let read = self.json(&["shell", "read", id, shell, "--plain", "--wait-for-idle-ms", "100"]);
        read["output"].as_str().unwrap().to_owned()
    }

    fn close_shell(&self, id: &str, shell: &str) {
        self.json(&["shell", "close", id, shell]);
    }
}

/// The crate.
pub struct Sdk(pub Pyro);

impl Face for Sdk {
    fn prepare(&self) -> Value {
        document(block_on(self.0.prepare_environment(PrepareRequest {
            environment: DEBIAN.to_owned(),
            force: false,
            network: false,
        })))
    }

    fn create_in(&self, environment: &str, seed: &Path, name: &str, (key, value): (&str, &str)) -> String {
        let request = CreateWorkspace {
            seed_path: Some(seed.to_owned()),
            name: Some(name.to_owned()),
            labels: BTreeMap::from([(key.to_owned(), value.to_owned())]),
            ..CreateWorkspace::new(environment)
        };
        block_on(self.0.create_workspace(request)).unwrap().workspace_id.to_string()
    }

    fn exec(&self, id: &str, script: &str) -> (i64, String) {
        let exec = WorkspaceExec::new(["sh", "-c", script].map(str::to_owned).into());
        outcome(&document(block_on(self.0.exec_workspace(&known(id), exec, OutputMode::Capture))))
    }

    fn read(&self, id: &str, path: &str) -> String {
        block_on(self.0.read_workspace_file(&known(id), &inside(path), 1 << 20)).unwrap().content
    }

    fn list_files(&self, id: &str, path: &str) -> Value {
        document(block_on(self.0.list_workspace_files(&known(id), &inside(path), true)))
    }

    fn patch(&self, id: &str, patch: &str) -> Value {
        document(block_on(self.0.apply_workspace_patch(&known(id), patch)))
    }

    fn diff(&self, id: &str) -> Value {
        document(block_on(self.0.diff_workspace(&known(id))))
    }

    fn export(&self, id: &str, path: &str, output: &Path) -> Value {
        let request = WorkspaceExportRequest { path: inside(path), output_path: output.to_owned() };
        document(block_on(self.0.export_workspace(&known(id), request)))
    }

    fn snapshot(&self, id: &str, name: &str) {
        document(block_on(self.0.create_snapshot(&known(id), &SnapshotName::parse(name).unwrap())));
    }

    fn reset(&self, id: &str, snapshot: &str) -> Value {
        document(block_on(self.0.reset_workspace(&known(id), &SnapshotName::parse(snapshot).unwrap())))
    }

    fn summary(&self, id: &str) -> Value {
        document(block_on(self.0.summarize_workspace(&known(id))))
    }

    fn list(&self) -> Value {
        document(block_on(self.0.list_workspaces()))
    }

    fn delete(&self, id: &str) {
        document(block_on(self.0.delete_workspace(&known(id))));
    }

    fn start_service(&self, id: &str, name: &str, url: &str, command: &[&str]) -> Value {
        let command = command.iter().map(ToString::to_string).collect();
        let readiness = Some(ServiceReadiness::Http(url.to_owned()));
        let request = StartService { readiness, ready_interval_ms: 100, ..StartService::new(name, command) };
        document(block_on(self.0.start_service(&known(id), request)))
    }

    fn service_logs(&self, id: &str, name: &str) -> Value {
        document(block_on(self.0.logs_service(&known(id), name, None)))
    }

    fn stop_service(&self, id: &str, name: &str) -> Value {
        document(block_on(self.0.stop_service(&known(id), name)))
    }

    fn open_shell(&self, id: &str) -> String {
        block_on(self.0.open_shell(&known(id), OpenShell::default())).unwrap().shell_id.to_string()
    }

    fn write_shell(&self, id: &str, shell: &str, line: &str) {
        let typed = format!("{line}\n");
        document(block_on(self.0.write_shell(&known(id), &ShellId::parse(shell), typed.as_bytes())));
    }

    fn read_shell(&self, id: &str, shell: &str) -> String {
        let request = ReadShell { plain: true, wait_for_idle_ms: Some(100), ..ReadShell::default() };
        block_on(self.0.read_shell(&known(id), &ShellId::parse(shell), request)).unwrap().output
    }

    fn close_shell(&self, id: &str, shell: &str) {
        document(block_on(self.0.close_shell(&known(id), &ShellId::parse(shell))));
    }
}

fn document<T: serde::Serialize>(result: Result<T, pyro::PyroError>) -> Value {
    serde_json::to_value(result.unwrap()).unwrap()
}

fn known(id: &str) -> WorkspaceId {
    WorkspaceId::parse(id)
}

fn inside(path: &str) -> WorkspacePath {
    WorkspacePath::parse(path).unwrap()
}

/// An MCP server of a mode, started in the checkout that its workspaces begin with.
pub struct Mcp<'a> {
    home: &'a Home,
    mode: String,
    client: RefCell<Option<McpClient>>,
}

impl<'a> Mcp<'a> {
    pub fn new(home: &'a Home, mode: &str) -> Self {
        Self { home, mode: mode.to_owned(), client: RefCell::default() }
    }

    fn tool(&self, tool: &str, arguments: &Value) -> Value {
        let mut client = self.client.borrow_mut();
        client.as_mut().unwrap().tool(tool, arguments)
    }

    fn start_in(&self, checkout: &Path) {
        if self.client.borrow().is_none() {
            crate::mcp::make_checkout(checkout);
            let server = self.home.pyro(["mcp", "serve", "--mode", &self.mode]);
            let mut client = server.within(checkout).mcp();
            assert_eq!(client.initialize(PROTOCOL)["serverInfo"]["name"], "pyro");
            self.client.replace(Some(client));
        }
    }
}

impl Face for Mcp<'_> {
    fn prepare(&self) -> Value {
        Binary(self.home).prepare()
    }

    fn create_in(&self, environment: &str, seed: &Path, name: &str, (key, value): (&str, &str)) -> String {
        self.start_in(seed);
        let arguments = json!({ "environment": environment, "name": name, "labels": { key: value } });
        let created = self.tool("workspace_create", &arguments);
        assert_eq!(created["workspace_seed"]["origin_kind"], "project_path");
        created["workspace_id"].as_str().unwrap().to_owned()
    }

    fn exec(&self, id: &str, script: &str) -> (i64, String) {
        outcome(&self.tool("workspace_exec", &json!({ "workspace_id": id, "command": script })))
    }

    fn read(&self, id: &str, path: &str) -> String {
        let read = self.tool("workspace_file_read", &json!({ "workspace_id": id, "path": path }));
        read["content"].as_str().unwrap().to_owned()
    }

    fn list_files(&self, id: &str, path: &str) -> Value {
        self.tool("workspace_file_list", &json!({ "workspace_id": id, "path": path, "recursive": true }))
    }

    fn patch(&self, id: &str, patch: &str) -> Value {
        self.tool("workspace_patch_apply", &json!({ "workspace_id": id, "patch": patch }))
    }

    fn diff(&self, id: &str) -> Value {
        self.tool("workspace_diff", &json!({ "workspace_id": id }))
    }

    fn export(&self, id: &str, path: &str, output: &Path) -> Value {
        let output = text(output);
        self.tool("workspace_export", &json!({ "workspace_id": id, "path": path, "output_path": output }))
    }

    fn snapshot(&self, id: &str, name: &str) {
        self.tool("snapshot_create", &json!({ "workspace_id": id, "snapshot_name": name }));
    }

    fn reset(&self, id: &str, snapshot: &str) -> Value {
        self.tool("workspace_reset", &json!({ "workspace_id": id, "snapshot": snapshot }))
    }

    fn summary(&self, id: &str) -> Value {
        self.tool("workspace_summary", &json!({ "workspace_id": id }))
    }

    fn list(&self) -> Value {
        self.tool("workspace_list", &json!({}))
    }

    fn delete(&self, id: &str) {
        self.tool("workspace_delete", &json!({ "workspace_id": id }));
    }

    fn start_service(&self, id: &str, name: &str, url: &str, command: &[&str]) -> Value {
        let arguments = json!({
            "workspace_id": id, "service_name": name, "command": command,
            "readiness": { "http": url }, "ready_interval_ms": 100,
        });
        self.tool("service_start", &arguments)
    }

    fn service_logs(&self, id: &str, name: &str) -> Value {
        self.tool("service_logs", &json!({ "workspace_id": id, "service_name": name }))
    }

    fn stop_service(&self, id: &str, name: &str) -> Value {
        self.tool("service_stop", &json!({ "workspace_id": id, "service_name": name }))
    }

    fn open_shell(&self, id: &str) -> String {
        let opened = self.tool("shell_open", &json!({ "workspace_id": id }));
        opened["shell_id"].as_str().unwrap().to_owned()
    }

    fn write_shell(&self, id: &str, shell: &str, line: &str) {
        self.tool("shell_write", &json!({ "workspace_id": id, "shell_id": shell, "input": line }));
    }

    fn read_shell(&self, id: &str, shell: &str) -> String {
        let arguments =
            json!({ "workspace_id": id, "shell_id": shell, "plain": true, "wait_for_idle_ms": 100 });
        self.tool("shell_read", &arguments)["output"].as_str().unwrap().to_owned()
    }

    fn close_shell(&self, id: &str, shell: &str) {
        self.tool("shell_close", &json!({ "workspace_id": id, "shell_id": shell }));
    }
}

fn outcome(result: &Value) -> (i64, String) {
    let output = |name: &str| result[name].as_str().unwrap().to_owned();
    (result["exit_code"].as_i64().unwrap(), output("stdout") + &output("stderr"))
}
