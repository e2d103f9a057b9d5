//! `pyro host doctor` and `pyro host repair`.

use super::{HOSTS, Person, backup, words};
use std::fs;

#[test]
fn what_has_drifted_or_is_missing_is_said_and_mended() {
    let person = Person::new();
    for host in HOSTS {
        assert_eq!(person.diagnosis(host, &[], 0)["status"], "missing", "{host}");
        let repaired = person.pyro(&["repair", host, "--json", "--mode", "inspect"]).run().expect(0).json();
        assert_eq!(repaired["changed"], true, "{host}");
        // Flags that it was registered with are no drift, unless others are asked for.
        let good = person.diagnosis(host, &[], 0);
        assert_eq!(
            (&good["status"], &good["installed"], &good["configured"]),
            (&"ok".into(), &true.into(), &true.into())
        );
        assert!(good["version"].as_str().unwrap().contains('.'), "{good}");
        assert_eq!(person.diagnosis(host, &["--mode", "inspect"], 0)["status"], "ok");
        let other = person.diagnosis(host, &["--mode", "cold-start"], 1);
        assert_eq!(
            (&other["status"], &other["repair"]),
            (&"drifted".into(), &format!("pyro host repair {host} --mode cold-start").into())
        );
        // What a person does to the entry is, and a repair keeps the flags.
        person.edit(host, person.home.program(), "/gone/pyro");
        let changed = person.text(host);
        let drifted = person.diagnosis(host, &[], 1);
        let command = format!("{} mcp serve --mode inspect", person.home.program());
        assert_eq!(
            (&drifted["status"], words(&drifted["registered"]), words(&drifted["expected"])),
            (&"drifted".into(), "/gone/pyro mcp serve --mode inspect".to_owned(), command.clone())
        );
        assert_eq!(drifted["repair"], format!("pyro host repair {host}"));
        let repaired = person.pyro(&["repair", host, "--json"]).run().expect(0).json();
        assert_eq!(fs::read_to_string(backup(&repaired)).unwrap(), changed, "{host}");
        assert_eq!((words(&repaired["command"]), person.shown(host)), (command.clone(), command));
        assert_eq!(person.diagnosis(host, &[], 0)["status"], "ok", "{host}");
        let backups = person.backups(host);
        let again = person.pyro(&["repair", host, "--json"]).run().expect(0).json();
        assert_eq!((&again["changed"], person.backups(host)), (&false.into(), backups), "{host}");
    }
}

#[test]
fn arguments_that_do_not_serve_and_entries_that_are_off_are_drift() {
    let person = Person::new();
    for host in HOSTS {
        person.does(&["connect", host, "--mode", "inspect"]);
        person.edit(host, "inspect", "no-such-mode");
        assert!(person.diagnosis(host, &[], 1)["detail"].as_str().unwrap().contains("do not serve"));
        let repaired = person.pyro(&["repair", host, "--json"]).run().expect(0).json();
        assert_eq!(words(&repaired["command"]), format!("{} mcp serve", person.home.program()));
    }
    person.edit("opencode", "\"enabled\": true", "\"enabled\": false");
    person.edit("codex", "[mcp_servers.pyro]", "[mcp_servers.pyro]\nenabled = false");
    for host in ["codex", "opencode"] {
        assert!(person.diagnosis(host, &[], 1)["detail"].as_str().unwrap().contains("turned off"));
        person.does(&["repair", host]);
        assert_eq!(person.diagnosis(host, &[], i32::from(host == "codex"))["status"], "ok");
    }
}

#[test]
fn a_host_that_is_not_there_is_unavailable() {
    let person = Person::new();
    let empty = person.at("empty");
    fs::create_dir(&empty).unwrap();
    let report = person.pyro(&["doctor", "--json"]).env("PATH", &empty).run().expect(0).json();
    for (diagnosis, host) in report["hosts"].as_array().unwrap().iter().zip(HOSTS) {
        assert_eq!((&diagnosis["host"], &diagnosis["status"]), (&host.into(), &"unavailable".into()));
        assert_eq!((&diagnosis["installed"], &diagnosis["version"]), (&false.into(), &().into()));
        assert!(diagnosis["repair"].as_str().unwrap().starts_with("npm install "), "{diagnosis}");
        for command in ["connect", "repair"] {
            let run = person.pyro(&[command, host, "--json"]).env("PATH", &empty).run();
            assert!(run.refused((1, "not_found"))["hint"].as_str().unwrap().contains("print-config"));
        }
    }
    assert!(HOSTS.iter().all(|host| person.backups(host).is_empty()));
    assert!(!person.config("claude-code").exists() && !person.config("codex").exists());
}

#[test]
fn a_malformed_file_is_reported_and_never_touched() {
    let person = Person::new();
    for (host, text) in
        [("claude-code", "{ \"mcpServers\": {"), ("codex", "a = = 1\n"), ("opencode", "{ // x\n")]
    {
        person.write(host, text);
        let diagnosis = person.diagnosis(host, &[], 1);
        assert_eq!(
            (&diagnosis["status"], &diagnosis["configured"]),
            (&"drifted".into(), &false.into()),
            "{host}"
        );
        assert!(diagnosis["detail"].as_str().unwrap().contains("malformed"), "{diagnosis}");
        for command in ["connect", "repair"] {
            person.pyro(&[command, host, "--json"]).run().refused((1, "integrity"));
        }
        assert_eq!(person.text(host), text, "{host}");
        assert!(person.backups(host).is_empty(), "{host}");
    }
}

#[test]
fn a_file_that_is_given_is_the_one_that_is_read_and_mended() {
    let person = Person::new();
    for (host, name) in [("claude-code", ".claude.json"), ("codex", "config.toml"), ("opencode", "mine.json")]
    {
        let directory = person.at("elsewhere").join(host);
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join(name);
        let path = file.to_str().unwrap();
        let missing = person.diagnosis(host, &["--config-path", path], 0);
        assert_eq!((&missing["status"], &missing["config_path"]), (&"missing".into(), &path.into()));
        assert_eq!(missing["repair"], format!("pyro host repair {host} --config-path {path}"));
        person.does(&["repair", host, "--config-path", path]);
        assert_eq!(person.diagnosis(host, &["--config-path", path], 0)["status"], "ok", "{host}");
        assert_eq!(person.diagnosis(host, &[], 0)["status"], "missing", "{host}");
        let other = HOSTS.into_iter().find(|other| *other != host).unwrap();
        person.pyro(&["repair", other, "--config-path", path, "--json"]).run().refused((2, "invalid_input"));
    }
}

#[test]
fn an_unknown_host_is_bad_usage() {
    let person = Person::new();
    let run = person.pyro(&["connect", "claud-code"]).run().expect(2);
    assert!(run.stderr.contains("did you mean claude-code?"), "{}", run.stderr);
}
