//! `pyro host`, with the real programs of the chat hosts, each test with a home of its own.

mod connect;
mod doctor;
mod files;
mod print_config;

use crate::SUITE;
use pyro_testkit::{Home, Pyro, Run, Value};
use std::fs;
use std::path::{Path, PathBuf};

const HOSTS: [&str; 3] = ["claude-code", "codex", "opencode"];

/// Where hosts are told where their files are: a matter of the test.
const VARIABLES: [&str; 3] = ["CLAUDE_CONFIG_DIR", "CODEX_HOME", "OPENCODE_CONFIG"];
/// Hosts do nothing by themselves but what the test is about.
const QUIET: [&str; 4] = [
    "DISABLE_AUTOUPDATER",
    "DISABLE_TELEMETRY",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
    "OPENCODE_DISABLE_AUTOUPDATE",
];

/// A person with a project and the three hosts.
struct Person {
    home: Home,
    path: String,
}

impl Person {
    fn new() -> Self {
        let home = SUITE.bare();
        let others = std::env::var_os("PATH").unwrap();
        let others = std::env::split_paths(&others).filter(|directory| !directory.join("pyro").exists());
        let path = std::env::join_paths(std::iter::once(SUITE.node_programs()).chain(others)).unwrap();
        let path = path.into_string().unwrap();
        let person = Self { home, path };
        for directory in ["project/.git", "project/sub", "host-tmp", ".codex", ".config/opencode"] {
            fs::create_dir_all(person.at(directory)).unwrap();
        }
        person.write("opencode", "{}\n");
        person
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A call in the project.
    fn call(&self, call: Pyro) -> Pyro {
        let call = VARIABLES.into_iter().fold(call, Pyro::without);
        let call = QUIET.into_iter().fold(call, |call, name| call.env(name, "1"));
        // Hosts leave files behind in it.
        call.env("PATH", &self.path).env("TMPDIR", self.at("host-tmp")).within(&self.at("project"))
    }

    fn pyro(&self, arguments: &[&str]) -> Pyro {
        self.call(self.home.pyro(["host"])).args(arguments)
    }

    /// The same for one that has to succeed, of which nothing is read.
    fn does(&self, arguments: &[&str]) {
        let _done = self.pyro(arguments).run().expect(0);
    }

    fn host(&self, program: &str, arguments: &[&str]) -> Run {
        let program = SUITE.node_programs().join(program);
        self.call(self.home.call(program.to_str().unwrap())).args(arguments).run()
    }

    /// The configuration file of a host.
    fn config(&self, host: &str) -> PathBuf {
        self.at(match host {
            "claude-code" => ".claude.json",
            "codex" => ".codex/config.toml",
            _ => ".config/opencode/opencode.jsonc",
        })
    }

    fn text(&self, host: &str) -> String {
        fs::read_to_string(self.config(host)).unwrap()
    }

    fn write(&self, host: &str, text: &str) {
        fs::write(self.config(host), text).unwrap();
    }

    fn edit(&self, host: &str, from: &str, to: &str) {
        let text = self.text(host);
        assert!(text.contains(from), "{from} is not in {text}");
        self.write(host, &text.replace(from, to));
    }

    /// What `pyro host doctor` says of one.
    fn diagnosis(&self, host: &str, flags: &[&str], status: i32) -> Value {
        let report = self.pyro(&["doctor", "--json"]).args(flags).run().expect(status).json();
        let found = report["hosts"].as_array().unwrap().iter().find(|one| one["host"] == host);
        found.unwrap().clone()
    }

    /// The command that the host itself says that it has, as one line with spaces; nothing where it has none.
    fn shown(&self, host: &str) -> String {
        match host {
            "claude-code" => {
                let run = self.host("claude", &["mcp", "get", "pyro"]);
                let text = run.text();
                let value = |name| text.lines().find_map(|line| line.trim().strip_prefix(name));
                format!("{}{}", value("Command: ").unwrap_or_default(), value("Args:").unwrap_or_default())
            }
            "codex" => {
                let run = self.host("codex", &["mcp", "get", "pyro", "--json"]);
                if run.code != Some(0) {
                    return String::new();
                }
                let entry = run.json();
                format!(
                    "{} {}",
                    entry["transport"]["command"].as_str().unwrap(),
                    words(&entry["transport"]["args"])
                )
            }
            _ => {
                let run = self.host("opencode", &["debug", "config"]).expect(0);
                words(&run.json()["mcp"]["pyro"]["command"])
            }
        }
    }

    fn backups(&self, host: &str) -> Vec<PathBuf> {
        let config = self.config(host);
        let prefix = format!("{}.pyro-backup-", config.file_name().unwrap().to_str().unwrap());
        let entries = fs::read_dir(config.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
        let is_backup = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(&prefix);
        entries.filter(is_backup).collect()
    }
}

fn words(value: &Value) -> String {
    let words = value.as_array().map_or(&[][..], Vec::as_slice);
    words.iter().map(|word| word.as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

/// The path at which `result` says that the file as it was is.
fn backup(result: &Value) -> &Path {
    Path::new(result["backup_path"].as_str().unwrap())
}
