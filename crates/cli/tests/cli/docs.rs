//! The documents: every command in them can be typed, and the use cases do what they say.

use crate::{DEBIAN, SUITE};
use pyro_testkit::Home;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The documents that have commands.
fn documents() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut documents: Vec<_> = docs.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    documents.extend(["README.md", "SECURITY.md", "CONTRIBUTING.md"].map(|name| root().join(name)));
    documents
}

/// The scripts of a document: its blocks for a shell, and what is typed in its sessions.
fn scripts(document: &Path) -> Vec<String> {
    let text = fs::read_to_string(document).unwrap();
    let mut scripts = Vec::new();
    let mut language = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), language) {
            (Some(name), None) => {
                language = Some(name);
                scripts.push(String::new());
            }
            (Some(_), Some(_)) => language = None,
            (None, Some("sh")) => scripts.last_mut().unwrap().extend([line, "\n"]),
            (None, Some("console")) => {
                if let Some(typed) = line.strip_prefix("$ ") {
                    scripts.last_mut().unwrap().extend([typed, "\n"]);
                }
            }
            _ => {}
        }
    }
    scripts.retain(|script| !script.is_empty());
    scripts
}

/// Runs a script with a `pyro` of its own in the path, in `directory`.
fn bash(home: &Home, directory: &Path, pyro: &str, script: &str) -> std::process::Output {
    let programs = home.path().join("programs");
    fs::create_dir_all(&programs).unwrap();
    fs::write(programs.join("pyro"), pyro).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(programs.join("pyro"), executable).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", script]).current_dir(directory).env("PATH", path);
    bash.env("HOME", home.path()).output().unwrap()
}

/// Every call of `pyro` in every document is one that the program takes: its arguments are parsed by the program itself, as
/// the shell that the document is for passes them on.
#[test]
fn every_command_can_be_typed() {
    let home = SUITE.bare();
    let said = home.path().join("said");
    let checks = format!(
        "#!/bin/sh\n\"{}\" check-arguments -- \"$@\" >> \"{}\" 2>&1 || printf 'in: pyro %s\\n' \"$*\" >> \"{}\"\necho ws-0123456789abcdef\n",
        env!("CARGO_BIN_EXE_pyro"),
        said.display(),
        said.display(),
    );
    let mut calls = 0;
    for document in documents() {
        for script in scripts(&document) {
            // Only what is pyro's is run, and of that only the check.
            let joined = script.replace("\\\n", " ");
            for line in joined.lines().filter(|line| line.contains("pyro ") && !line.starts_with("cargo ")) {
                let ran = bash(&home, home.path(), &checks, &format!("set +eu; {}", only_pyro(line)));
                assert!(ran.status.code().is_some(), "{}: {line}", document.display());
                calls += 1;
            }
        }
    }
    assert!(calls > 80, "{calls} calls were found");
    let complaints = fs::read_to_string(&said).unwrap_or_default();
    assert!(complaints.is_empty(), "{complaints}");
}

/// The line without what it does with the outside: files that it writes, programs other than the shell's own.
fn only_pyro(line: &str) -> String {
    let begin = line.find("pyro ").unwrap_or_default();
    let assigned = &line[..begin];
    let call = line[begin..].split(" | ").next().unwrap_or_default();
    let call = call.split(" > ").next().unwrap_or_default().trim_end();
    let closes = assigned.contains("$(") && !call.ends_with(')');
    format!("{}{call}{}", if assigned.contains("$(") { "X=$(" } else { "" }, if closes { ")" } else { "" })
}

/// The project that the use cases speak of.
fn project(directory: &Path) {
    let project = directory.join("project");
    fs::create_dir_all(project.join("src")).unwrap();
    let files = [
        ("src/add.sh", "add() {\n    echo $(($1 - $2))\n}\n"),
        ("test.sh", ". src/add.sh\n[ \"$(add 2 3)\" = 5 ] || exit 1\necho passed | tee report\n"),
        ("install.sh", "echo installed > /usr/local/share/app\n"),
        ("serve.sh", "touch /tmp/ready\necho serving\nexec sleep 1000\n"),
        ("probe.sh", "test -e /usr/local/share/app && test -e /tmp/ready && echo up > report\n"),
        ("CHECKLIST", "1. sums are right\n"),
    ];
    for (name, text) in files {
        fs::write(project.join(name), text).unwrap();
    }
    let fix = "--- a/src/add.sh\n+++ b/src/add.sh\n@@ -1,3 +1,3 @@\n add() {\n-    echo $(($1 - $2))\n+    echo $(($1 + $2))\n }\n";
    fs::write(directory.join("fix.diff"), fix).unwrap();
}

#[test]
fn the_use_cases_do_what_they_say() {
    let home = SUITE.with(DEBIAN);
    let directory = home.path().join("work");
    fs::create_dir(&directory).unwrap();
    project(&directory);
    let cache = home.cache().parent().unwrap().to_owned();
    let variable = |name: &str, value: &Path| format!("export {name}=\"{}\"\n", value.display());
    let pyro = format!(
        "#!/bin/sh\n{}{}{}{}export PYRO_TEMPLATES=manual\nexec \"{}\" \"$@\"\n",
        variable("XDG_CACHE_HOME", &cache),
        variable("XDG_STATE_HOME", &home.path().join("state")),
        variable("XDG_DATA_HOME", &home.path().join("data")),
        variable("XDG_RUNTIME_DIR", &home.path().join("run")),
        env!("CARGO_BIN_EXE_pyro"),
    );
    let scripts = scripts(&root().join("docs/use-cases.md"));
    assert_eq!(scripts.len(), 7);
    for script in scripts {
        let ran = bash(&home, &directory, &pyro, &script);
        let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert!(ran.status.success(), "{script}\n{out}\n{err}");
    }
    let text = |name: &str| fs::read_to_string(directory.join(name)).unwrap();
    assert_eq!((text("report"), text("cold-start-report")), ("passed\n".to_owned(), "up\n".to_owned()));
    assert!(text("add.sh").contains("$1 + $2") && directory.join("inspection.md").exists());
    assert_eq!(text("checked"), "1. sums are right\n");
}
