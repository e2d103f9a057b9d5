//! `pyro host connect`.

use super::{HOSTS, Person, backup, words};
use pyro_testkit::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn every_host_shows_what_it_was_connected_with() {
    let person = Person::new();
    let project = person.at("project/sub");
    let expected = format!(
        "{} mcp serve --mode inspect --environment debian:13 --project-path {}",
        person.home.program(),
        project.display()
    );
    for host in HOSTS {
        let flags = ["--mode", "inspect", "--environment", "debian:13", "--project-path", "sub"];
        let result = person.pyro(&["connect", host, "--json"]).args(flags).run().expect(0).json();
        assert_eq!(
            (words(&result["command"]), &result["changed"]),
            (expected.clone(), &true.into()),
            "{host}"
        );
        assert_eq!(person.shown(host), expected, "{host}");
        // The second time there is nothing to do.
        let before = person.backups(host);
        let again = person.pyro(&["connect", host, "--json"]).args(flags).run().expect(0).json();
        assert_eq!((&again["changed"], person.backups(host)), (&false.into(), before), "{host}");
        // Other flags replace the entry.
        let plain = format!("{} mcp serve", person.home.program());
        let replaced = person.pyro(&["connect", host, "--json"]).run().expect(0).json();
        assert_eq!((words(&replaced["replaced"]), person.shown(host)), (expected.clone(), plain), "{host}");
    }
}

#[test]
fn the_hosts_reach_the_server_that_they_start() {
    let person = Person::new();
    for host in ["claude-code", "opencode"] {
        person.does(&["connect", host]);
    }
    let claude = person.host("claude", &["mcp", "get", "pyro"]).expect(0);
    assert!(
        claude.text().contains("Connected") && claude.text().contains("User config"),
        "{}",
        claude.text()
    );
    let opencode = person.host("opencode", &["mcp", "list"]).expect(0);
    assert!(format!("{}{}", opencode.text(), opencode.stderr).contains("connected"), "{}", opencode.text());
    let detail = person.diagnosis("claude-code", &[], 0)["detail"].clone();
    assert_eq!(detail, "the host starts it, and it answers");
}

#[test]
fn an_installed_package_is_registered_by_its_name() {
    let person = Person::new();
    for host in HOSTS {
        let run =
            person.pyro(&["connect", host, "--installed-package", "--profile", "vm-run"]).run().expect(0);
        assert!(run.stderr.contains("no `pyro` in PATH"), "{host}: {}", run.stderr);
        assert_eq!(person.shown(host), "pyro mcp serve --profile vm-run", "{host}");
    }
    let report =
        person.pyro(&["doctor", "--installed-package", "--profile", "vm-run", "--json"]).run().expect(0);
    assert!(report.json()["hosts"].as_array().unwrap().iter().all(|host| host["status"] == "ok"));
}

#[test]
fn an_older_entry_is_there_again_when_the_new_one_is_not_taken() {
    let person = Person::new();
    let old = "{\"mcpServers\": {\"pyro\": {\"type\": \"stdio\", \"command\": \"/old\", \"args\": [\"a b\"], \"env\": {\"K\": \"v\"}}}}";
    person.write("claude-code", old);
    // A Claude Code that takes no new server once, between removing the old one and putting it back.
    let fake = person.at("fake");
    fs::create_dir(&fake).unwrap();
    let mark = fake.join("failed");
    let real = crate::SUITE.node_programs().join("claude");
    let script = format!(
        "#!/bin/sh\nif [ \"$2\" = add-json ] && [ ! -e {mark} ]; then : > {mark}; echo no >&2; exit 1; fi\nexec {real} \"$@\"\n",
        mark = mark.display(),
        real = real.display()
    );
    fs::write(fake.join("claude"), script).unwrap();
    fs::set_permissions(fake.join("claude"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", fake.display(), person.path);
    let run = person.pyro(&["connect", "claude-code", "--json"]).env("PATH", path).run();
    assert!(run.refused((1, "host"))["message"].as_str().unwrap().contains("add-json"));
    assert!(mark.exists());
    assert_eq!(person.shown("claude-code"), "/old a b");
    assert!(person.text("claude-code").contains("\"K\": \"v\""));
    let [backup] = &person.backups("claude-code")[..] else { panic!("one backup") };
    // Claude Code makes notes of its own in the file whenever it runs.
    let [old, kept] = [old.to_owned(), fs::read_to_string(backup).unwrap()]
        .map(|text| serde_json::from_str::<Value>(&text).unwrap()["mcpServers"].clone());
    assert_eq!(old, kept);
}

#[test]
fn what_a_person_added_to_the_entry_is_kept() {
    let person = Person::new();
    person.write(
        "claude-code",
        "{\"mcpServers\": {\"pyro\": {\"command\": \"/old\", \"env\": {\"K\": \"v\"}, \"timeout\": 5000}}}",
    );
    person.write(
        "codex",
        "[mcp_servers.pyro]\ncommand = \"/old\"\ntool_timeout_sec = 600 # long\nenv = { K = \"v\" }\n",
    );
    person.write("opencode", "{\"mcp\": {\"pyro\": {\"type\": \"local\", \"command\": [\"/old\"], \"environment\": {\"K\": \"v\"}}}}\n");
    for (host, kept) in [
        ("claude-code", &["\"K\": \"v\"", "\"timeout\": 5000"][..]),
        ("codex", &["tool_timeout_sec = 600 # long", "env = { K = \"v\" }"]),
        ("opencode", &["\"environment\": {\"K\": \"v\"}"]),
    ] {
        let result = person.pyro(&["connect", host, "--json"]).run().expect(0).json();
        assert!(fs::read_to_string(backup(&result)).unwrap().contains("/old"));
        assert_eq!(person.shown(host), format!("{} mcp serve", person.home.program()));
        for kept in kept {
            assert!(person.text(host).contains(kept), "{kept} is not in {}", person.text(host));
        }
    }
}

#[test]
fn an_entry_for_one_project_gives_way_and_one_of_the_projects_does_not() {
    let person = Person::new();
    person.host("claude", &["mcp", "add", "pyro", "--", "/old", "mcp", "serve"]).expect(0).text();
    let result = person.pyro(&["connect", "claude-code", "--json"]).run().expect(0).json();
    assert_eq!(words(&result["replaced"]), "/old mcp serve");
    assert_eq!(person.shown("claude-code"), format!("{} mcp serve", person.home.program()));
    let file = person.at("project/opencode.json");
    let theirs = "{\"mcp\": {\"pyro\": {\"type\": \"local\", \"command\": [\"/theirs\"]}}}";
    fs::write(&file, theirs).unwrap();
    let diagnosis = person.diagnosis("opencode", &[], 1);
    assert_eq!((&diagnosis["status"], &diagnosis["config_path"]), (&"drifted".into(), &file.to_str().into()));
    let refused = person.pyro(&["repair", "opencode", "--json"]).run().refused((1, "wrong_state"));
    assert!(refused["hint"].as_str().unwrap().contains(file.to_str().unwrap()), "{refused}");
    let result = person.pyro(&["connect", "opencode", "--json"]).run().expect(0).json();
    assert_eq!(result["overridden_by"].as_str(), file.to_str());
    assert_eq!(fs::read_to_string(&file).unwrap(), theirs);
}

#[test]
fn a_projects_file_that_nobody_has_approved_gives_way_in_claude_code() {
    let person = Person::new();
    let file = person.at("project/.mcp.json");
    let theirs = "{\"mcpServers\": {\"pyro\": {\"command\": \"/theirs\"}}}";
    fs::write(&file, theirs).unwrap();
    let diagnosis = person.diagnosis("claude-code", &[], 1);
    assert_eq!((&diagnosis["status"], &diagnosis["config_path"]), (&"drifted".into(), &file.to_str().into()));
    person.does(&["repair", "claude-code"]);
    assert_eq!(person.diagnosis("claude-code", &[], 0)["status"], "ok");
    assert_eq!(fs::read_to_string(&file).unwrap(), theirs);
}
