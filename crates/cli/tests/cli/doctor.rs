//! `pyro doctor`.

use crate::{CLOSED_MIRROR, DEBIAN, SUITE, run};
use pyro_testkit::Value;

#[test]
fn a_host_that_is_ready_is_reported_with_its_proofs() {
    let home = SUITE.with(DEBIAN);
    let before = home.pyro(["doctor", "--json"]).run().expect(0).json();
    assert_eq!(before["capabilities"]["guest_exec"], false, "nothing has run for this home yet");
    run(&home, &[], &["true"]).run().expect(0).last_line();
    let report =
        home.pyro(["doctor", "--json"]).env("PYRO_DEBIAN_MIRROR", CLOSED_MIRROR).run().expect(0).json();
    assert_eq!(report["platform"], "linux-x86_64");
    assert_eq!(report["runtime"]["pass"], true);
    assert!(report["runtime"]["bundle"].as_str().is_some_and(|digest| digest.len() == 64));
    assert!(["kvm", "emulation"].contains(&report["acceleration"]["selected"].as_str().unwrap()), "{report}");
    for fact in ["exists", "readable", "writable"] {
        assert!(report["acceleration"]["kvm"][fact].is_boolean(), "{fact}");
    }
    let jail = &report["acceleration"]["jail"];
    assert!(jail["namespaces"].is_boolean() && jail["landlock"].is_string(), "{jail}");
    assert_eq!(jail["namespaces"] == false, jail["obstacle"].is_string(), "{jail}");
    assert_eq!(report["capabilities"]["vm_boot"], true);
    assert_eq!(report["capabilities"]["guest_exec"], true);
    assert_eq!(report["capabilities"]["guest_network"], false);
    assert_eq!(report["environment"]["name"], DEBIAN);
    assert_eq!(report["environment"]["state"], "installed");
    assert!(report["cache_dir"].as_str().is_some_and(|path| path.ends_with("pyro/environments")));
    assert!(report["catalog_version"].is_string() && report["networking"].is_array());
    assert_eq!(report["next_command"], "pyro prepare debian:12", "it was never prepared for this home");
}

#[test]
fn the_report_for_people_says_the_same() {
    let home = SUITE.with(DEBIAN);
    let text = home.pyro(["doctor"]).run().expect(0).text().to_owned();
    let fields: Vec<&str> =
        text.lines().filter_map(|line| line.split_once(':')).map(|(field, _)| field).collect();
    let expected = [
        "platform",
        "runtime",
        "kvm",
        "acceleration",
        "engine",
        "firecracker",
        "jail",
        "capabilities",
        "networking",
        "cache",
        "catalog",
        "environment",
        "daily loop",
        "starts",
        "project",
    ];
    for field in expected {
        assert!(fields.contains(&field), "{field} is missing:\n{text}");
    }
    assert!(text.contains("PASS") && text.lines().any(|line| line.starts_with("next:")), "{text}");
}

#[test]
fn a_host_with_nothing_on_it_is_told_what_to_do_and_nothing_is_fetched() {
    let home = SUITE.bare();
    let report = home.pyro(["doctor", "--json"]).run().expect(1).json();
    assert_eq!(report["runtime"]["pass"], false);
    for capability in ["vm_boot", "guest_exec", "guest_network"] {
        assert_eq!(report["capabilities"][capability], false, "{capability}");
    }
    assert_eq!(report["acceleration"]["selected"], Value::Null);
    assert_eq!(report["next_command"], "pyro runtime fetch");
    let issues = report["issues"].as_array().unwrap();
    assert!(!issues.is_empty(), "a failing runtime is an issue");
    assert!(issues.iter().all(|issue| issue["problem"].is_string() && issue["way_out"].is_string()));
    assert!(!home.cache().exists());
}

#[test]
fn another_platform_is_answered_from_what_is_known() {
    let home = SUITE.bare();
    let report = home.pyro(["doctor", "--json", "--platform", "linux-aarch64"]).run().expect(1).json();
    assert_eq!(report["platform"], "linux-aarch64");
    assert_eq!(report["runtime"]["pass"], false);
    assert!(report["issues"][0]["problem"].as_str().is_some_and(|problem| problem.contains("linux-aarch64")));
}

/// Boots guests: on a host whose /dev/kvm never boots one this takes ten seconds, and must not take more.
#[test]
fn a_host_is_probed_once_and_a_capability_is_what_was_seen() {
    let home = SUITE.with(DEBIAN);
    // A suite that runs on an engine of its own has no record.
    let _none = std::fs::remove_file(home.state().join("engine.json"));
    let doctor = || home.pyro(["doctor", "--json", "--engine", "auto"]).run().expect(0);
    let (probed, again) = (doctor(), doctor());
    assert_eq!(probed.json(), again.json());
    assert!(!again.stderr.contains("phase=probe"), "{}", again.stderr);
    let record = std::fs::read(home.state().join("engine.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    assert_eq!(record["engine"], probed.json()["acceleration"]["engine"]);
}

#[test]
fn the_project_of_the_working_directory_is_reported() {
    let home = SUITE.bare();
    // Homes of tests are inside of a checkout: this one's.
    let none = std::path::Path::new("/");
    let checkout = home.path().canonicalize().unwrap().join("checkout");
    std::fs::create_dir(&checkout).unwrap();
    let git = |arguments: &[&str]| {
        let mut git = std::process::Command::new("git");
        assert!(git.current_dir(&checkout).args(arguments).status().unwrap().success());
    };
    git(&["init", "--quiet", "."]);
    let doctor = |directory: &std::path::Path, flags: &[&str]| {
        let doctor = home.pyro(["doctor"]).args(flags);
        doctor.wrapped_in(["env", "-C", directory.to_str().unwrap()]).run().expect(1)
    };
    let project = |directory| doctor(directory, &["--json"]).json()["project"].clone();
    assert_eq!(project(none)["kind"], "none");
    assert_eq!(project(none)["ready"], true);
    let empty = project(&checkout);
    assert_eq!((&empty["kind"], &empty["ready"]), (&"project_path".into(), &false.into()));
    assert!(
        empty["way_out"].as_str().is_some_and(|way_out| way_out.contains("--no-project-source")),
        "{empty}"
    );
    std::fs::write(checkout.join("file"), "").unwrap();
    git(&["add", "file"]);
    let ready = project(&checkout);
    assert_eq!((&ready["ready"], &ready["detected"]), (&true.into(), &true.into()));
    assert_eq!(ready["path"], checkout.to_str().unwrap());
    assert_eq!(ready["tracked_files"], 1);
    let text = doctor(&checkout, &[]).text().to_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("project:")).unwrap().trim().to_owned();
    assert!(line.contains(checkout.to_str().unwrap()) && line.ends_with(", 1 file"), "{line}");
}
