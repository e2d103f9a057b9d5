//! Secrets: commands have them, and nothing that leaves the guest, or is kept of it, shows them.

use super::{INVALID, MISSING, UNSUPPORTED, text};
use crate::{CLOSED_MIRROR, DEBIAN, SUITE};
use pyro_testkit::{Home, Value, Workspace, data_of, json, poll_until};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_mins(1);

const VALUE: &str = "tok/hunter2+9f8e 7d";
const URL: &str = "tok%2Fhunter2%2B9f8e%207d";
const BASE64: &str = "dG9rL2h1bnRlcjIrOWY4ZSA3ZA==";
/// It is in every other one, encoded or not.
const PART: &str = "hunter2";

/// A workspace with `TOKEN`, from a file that is gone, and `OTHER`.
fn workspace(home: &Home) -> Workspace<'_> {
    let file = home.path().join("token");
    fs::write(&file, VALUE).unwrap();
    let token = format!("TOKEN={}", text(&file));
    let workspace = home.workspace_with(&["--secret-file", &token, "--secret", "OTHER=another = value"]);
    fs::remove_file(file).unwrap();
    workspace
}

/// What a script with `TOKEN` prints.
#[track_caller]
fn with_token(workspace: &Workspace<'_>, script: &str) -> String {
    workspace.exec(&["--secret-env", "TOKEN"], script).run().expect(0).text().to_owned()
}

/// Asserts that no secret is in a document, nor a part or form of one.
#[track_caller]
fn assert_hidden(what: &str, shown: &str) {
    for part in [PART, "9f8e", "another = value", &BASE64[..20]] {
        assert!(!shown.contains(part), "{what} shows {part}: {shown}");
    }
}

/// The files below `directory` with `VALUE` in them.
fn holding(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        let holds = |(_, data): (u64, Vec<u8>)| {
            [VALUE, BASE64, "104,117,110,116,101,114,50"]
                .iter()
                .any(|form| data.windows(form.len()).any(|window| window == form.as_bytes()))
        };
        if kind.is_dir() {
            found.extend(holding(&path));
        } else if kind.is_file() && data_of(&path).into_iter().any(holds) {
            found.push(path);
        }
    }
    found
}

#[test]
fn commands_have_them_and_their_outputs_do_not() {
    let home = SUITE.with(DEBIAN);
    let workspace = workspace(&home);
    assert_eq!(with_token(&workspace, r#"printf %s "$TOKEN" | wc -c; echo ${OTHER-none}"#), "19\nnone\n");
    let renamed =
        workspace.exec(&["--secret-env", "TOKEN=KEY", "--secret-env", "OTHER"], "echo ${#KEY} ${#OTHER}");
    assert_eq!(renamed.run().expect(0).text(), "19 15\n");
    let file = "stat -f -c %T /run/pyro-secrets; stat -c '%a %U' /run/pyro-secrets /run/pyro-secrets/TOKEN; \
                ls /run/pyro-secrets; wc -c < /run/pyro-secrets/TOKEN";
    assert_eq!(workspace.sh(file), "tmpfs\n700 root\n400 root\nOTHER\nTOKEN\n19\n");

    let script = format!(
        "cat /run/pyro-secrets/*; echo; printf %s \"$TOKEN\" | base64; echo 'q={URL}&x'; echo $TOKEN >&2"
    );
    let shown = workspace.exec(&["--secret-env", "TOKEN"], &script).run().expect(0);
    assert_eq!(shown.text(), "[REDACTED][REDACTED]\n[REDACTED]\nq=[REDACTED]&x\n");
    assert!(shown.stderr.starts_with("[REDACTED]\n"), "{}", shown.stderr);
    let slow = r#"for c in t o k / h u n t e r 2 + 9 f 8 e ' ' 7 d; do printf %s "$c"; sleep 0.05; done; echo .; printf tok/"#;
    assert_eq!(workspace.sh(slow), "[REDACTED].\ntok/");

    // Its own arguments, in the journal, the summary and the result.
    let told = workspace.json("exec", &["--", "echo", VALUE]);
    assert_eq!((&told["command"], &told["stdout"]), (&json!(["echo", "[REDACTED]"]), &json!("[REDACTED]\n")));
    let missing = workspace.call("exec", &["--", &format!("./{VALUE}")]).run().expect(127);
    assert_hidden("the error of exec", &missing.stderr);
    let unknown = workspace.refused("file read", &[VALUE], MISSING);
    assert_hidden("the error of a read", &unknown.to_string());
    let malformed = format!("--- a/x\n+++ b/x\n@@ {VALUE} @@\n");
    let refused = workspace.call("patch apply", &["--json", "--patch", &malformed]).run();
    assert_hidden("the error of a patch", &format!("{}{}", refused.json(), refused.stderr));
    for command in ["logs", "summary", "status"] {
        assert_hidden(command, &workspace.json(command, &[]).to_string());
    }
    let status = workspace.status();
    let expected =
        json!([{"name": "OTHER", "source_kind": "literal"}, {"name": "TOKEN", "source_kind": "file"}]);
    assert_eq!(status["secrets"], expected);

    // One file holds it, and no process was ever told.
    let kept = home.workspace_directory(workspace.id()).join("secrets.json");
    assert_eq!(holding(home.path()), [kept.as_path()]);
    assert_eq!(kept.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    for process in home.processes() {
        assert_hidden("a command line", &process.command_line);
        let environment = fs::read(format!("/proc/{}/environ", process.pid)).unwrap_or_default();
        assert_hidden("an environment", &String::from_utf8_lossy(&environment));
    }
}

#[test]
fn shells_and_services_have_them_and_what_is_kept_does_not() {
    let home = SUITE.with(DEBIAN);
    let workspace = workspace(&home);
    let shell = workspace.json("shell open", &["--secret-env", "TOKEN=T", "--cols", "300"]);
    let shell = shell["shell_id"].as_str().unwrap();
    let typed = format!("echo \"<$T>\" ${{#T}}; echo {BASE64}; echo '{VALUE}'");
    workspace.json("shell write", &[shell, "--input", &typed]);
    let read = |flags: &[&str]| workspace.json("shell read", &[&[shell], flags].concat());
    let seen = || {
        let read = read(&[]);
        let output = read["output"].as_str().unwrap_or_default();
        (output.contains("<[REDACTED]> 19\r\n[REDACTED]\r\n[REDACTED]\r\n")).then(|| output.to_owned())
    };
    let seen = poll_until(DEADLINE, seen).unwrap_or_else(|| panic!("{}", read(&[])));
    assert_hidden("a shell", &seen);
    assert_hidden("a plain shell", read(&["--plain"])["output"].as_str().unwrap());

    let script = r#"echo "$TOKEN."; echo "$TOKEN." >&2; touch up; exec sleep 1000"#;
    let probe = format!("test \"$TOKEN\" = '{VALUE}'");
    let flags = ["web", "--secret-env", "TOKEN", "--ready-command", &probe, "--", "sh", "-c", script, VALUE];
    let started = workspace.json("service start", &flags);
    assert_eq!(started["state"], "running");
    let logs = || {
        let logs = workspace.json("service logs", &["web"]);
        (logs["stdout"] == "[REDACTED].\n" && logs["stderr"] == "[REDACTED].\n").then_some(())
    };
    assert!(poll_until(DEADLINE, logs).is_some());
    for document in [started, workspace.json("service list", &[]), workspace.json("service logs", &["web"])] {
        assert_hidden("a service", &document.to_string());
    }
    let fails = ["bad", "--secret-env", "TOKEN", "--", "sh", "-c", "echo \"$TOKEN\"; exit 1"];
    let failed = workspace.call("service start", &["--json", "--ready-file", "never"]).args(fails).run();
    assert_hidden("a service that failed", &format!("{}{}", failed.json(), failed.stderr));
    assert_eq!(holding(home.path()).len(), 1);
}

#[test]
fn what_escape_sequences_stood_between_does_not_show_without_them() {
    let home = SUITE.with(DEBIAN);
    let workspace = workspace(&home);
    let shell = workspace.json("shell open", &["--secret-env", "TOKEN"]);
    let shell = shell["shell_id"].as_str().unwrap();
    let half = VALUE.len() / 2;
    let typed = format!(
        "printf '%s\\033[1m%s\\033[m\\n' \"${{TOKEN%${{TOKEN:{half}}}}}\" \"${{TOKEN:{half}}}\"; echo done"
    );
    workspace.json("shell write", &[shell, "--input", &typed]);
    let read = || workspace.json("shell read", &[shell, "--plain", "--wait-for-idle-ms", "100"]);
    let seen = || Some(read()).filter(|read| read["output"].as_str().unwrap_or_default().contains("\ndone"));
    let seen = poll_until(DEADLINE, seen).unwrap_or_else(|| panic!("{}", read()));
    let output = seen["output"].as_str().unwrap();
    assert!(output.contains("\n[REDACTED]\ndone") && !output.contains(VALUE), "{output}");
}

#[test]
fn files_diffs_and_exports_have_marks() {
    let home = SUITE.with(DEBIAN);
    let workspace = workspace(&home);
    let script = r#"mkdir -p out/sub; cd out; printf 'a %s b\n' "$TOKEN" > env; printf %s "$TOKEN" | base64 > sub/base64
                    head -c 100000 /dev/zero | cat - env > sub/binary; ln env twin; echo clean > clean; chmod 640 env"#;
    with_token(&workspace, script);
    let read = |flags: &[&str]| workspace.json("file read", &[&["out/env"], flags].concat());
    let whole = read(&[]);
    assert_eq!((&whole["content"], &whole["truncated"]), (&json!("a [REDACTED] b\n"), &json!(false)));
    for most in 1..20 {
        let part = read(&["--max-bytes", &most.to_string()]);
        let content = part["content"].as_str().unwrap();
        assert!("a [REDACTED] b\n".starts_with(content) && content.len() <= most, "{part}");
    }
    let diff = workspace.json("diff", &[]);
    assert!(diff["patch"].as_str().unwrap().contains("+a [REDACTED] b\n"), "{diff}");
    assert_hidden("a diff", &diff.to_string());
    // What spans lines is taken apart by a patch.
    let refused = workspace
        .call(
            "patch apply",
            &["--json", "--patch", &format!("--- a/out/env\n+++ b/out/env\n@@ -1 +1 @@\n-{VALUE}\n+x\n")],
        )
        .run();
    assert_hidden("a patch that does not fit", &format!("{}{}", refused.json(), refused.stderr));

    let to = home.path().join("exported");
    let exported = workspace.json("export", &["out", "--output", text(&to)]);
    assert_eq!(holding(&to), [] as [PathBuf; 0]);
    let content = |name: &str| fs::read_to_string(to.join(name)).unwrap();
    assert_eq!(
        (content("env"), content("twin"), content("clean")),
        ("a [REDACTED] b\n".into(), "a [REDACTED] b\n".into(), "clean\n".into())
    );
    assert_eq!(content("sub/base64"), "[REDACTED]\n");
    assert_eq!(fs::read(to.join("sub/binary")).unwrap()[100_000..], *b"a [REDACTED] b\n");
    assert_eq!(fs::metadata(to.join("env")).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(exported["bytes_written"].as_u64().unwrap() > 100_000, "{exported}");
    let one = home.path().join("one");
    workspace.json("export", &["out/env", "--output", text(&one)]);
    assert_eq!(fs::read_to_string(one).unwrap(), "a [REDACTED] b\n");
}

#[test]
fn they_are_there_again_after_a_reset_and_a_restart() {
    let home = SUITE.with(DEBIAN);
    let workspace = workspace(&home);
    workspace.json("snapshot create", &["named"]);
    let check =
        || assert_eq!(with_token(&workspace, "echo ${#TOKEN}; wc -c < /run/pyro-secrets/OTHER"), "19\n15\n");
    workspace.sh("rm /run/pyro-secrets/TOKEN");
    workspace.json("reset", &["--snapshot", "named"]);
    check();
    workspace.json("reset", &[]);
    check();
    workspace.json("stop", &[]);
    workspace.json("start", &[]);
    check();
    assert_eq!(workspace.status()["secrets"].as_array().map(Vec::len), Some(2));
    let kept = home.workspace_directory(workspace.id()).join("secrets.json");
    workspace.json("stop", &[]);
    fs::rename(&kept, kept.with_extension("away")).unwrap();
    let lost = workspace.refused("start", &[], (1, "integrity"));
    assert!(lost["message"].as_str().unwrap().contains("are lost"), "{lost}");
    fs::rename(kept.with_extension("away"), kept).unwrap();
    workspace.json("start", &[]);
    check();
    workspace.delete();
    assert_eq!(holding(home.path()), [] as [PathBuf; 0]);
}

#[test]
fn what_cannot_be_a_secret_is_refused_without_showing_it() {
    let home = SUITE.bare();
    let refused = |flags: &[&str], refusal: (i32, &str), said: &str| {
        let run = home.pyro(["workspace", "create", DEBIAN, "--json"]).args(flags).run();
        let shown = format!("{}{}", String::from_utf8_lossy(&run.stdout), run.stderr);
        assert_hidden("a refusal", &shown);
        let error: Value = run.refused(refusal);
        assert!(error["message"].as_str().unwrap().contains(said), "{flags:?}: no `{said}` in {error:#}");
    };
    let (long, directory) = (format!("A={PART}{}", "x".repeat(65_536)), format!("A={}", text(home.path())));
    refused(&["--secret", PART], INVALID, "name of a secret");
    refused(&["--secret", &format!("{PART}-={PART}")], INVALID, "name of a secret");
    refused(&["--secret", "A=abc"], INVALID, "secret A has 3 bytes");
    refused(&["--secret", &long], INVALID, "the limit is 65536");
    refused(&["--secret", "A=hunter2", "--secret", "A=hunter2"], INVALID, "given twice");
    refused(&["--secret-file", &directory], INVALID, "no regular file");
    refused(&["--secret-file", "A=/nowhere/at/all"], MISSING, "/nowhere/at/all");
    assert!(!home.cache().exists(), "nothing was fetched for any of them");

    // On the host nothing could be kept from anybody.
    let on_host = |flags: &[&str]| {
        let create = home.pyro(["workspace", "create", DEBIAN, "--allow-host-compat", "--json"]).args(flags);
        create.env("PYRO_DEBIAN_MIRROR", CLOSED_MIRROR).run()
    };
    on_host(&["--secret", "A=hunter2"]).refused(UNSUPPORTED);
    assert_eq!(home.workspaces(), [] as [&str; 0]);
    let id = on_host(&[]).expect(0).json()["workspace_id"].as_str().unwrap().to_owned();
    let workspace = Workspace::adopt(&home, &id);
    let flags = ["--secret-env", "A", "--", "true"];
    workspace.refused("exec", &flags, (125, "unsupported"));
    workspace.refused("shell open", &flags[..2], UNSUPPORTED);
}

#[test]
fn a_call_asks_for_what_there_is_and_once() {
    let home = SUITE.with(DEBIAN);
    let workspace = workspace(&home);
    let unknown = workspace.refused("exec", &["--secret-env", "NONE", "--", "true"], (125, "not_found"));
    assert!(unknown["message"].as_str().unwrap().contains("no secret NONE"), "{unknown}");
    assert!(unknown["hint"].as_str().unwrap().contains("OTHER, TOKEN"), "{unknown}");
    workspace.refused("shell open", &["--secret-env", "NONE"], MISSING);
    workspace.refused("service start", &["s", "--secret-env", "NONE", "--", "true"], MISSING);
    let twice = ["--secret-env", "TOKEN=A", "--secret-env", "OTHER=A", "--", "true"];
    workspace.refused("exec", &twice, INVALID);
    workspace.refused("exec", &["--secret-env", "TOKEN=a-b", "--", "true"], INVALID);
    assert_eq!(workspace.json("logs", &[])["count"], 0, "nothing of it was run");
}
