//! The choice of an engine, and what is said where the chosen one cannot be had.

use crate::{DEBIAN, SUITE, run};
use pyro_testkit::{Home, Value};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

const EMULATION: &str = "qemu-emulation";
const BINARY: &str = "PYRO_FIRECRACKER_BIN";

/// Whether this user can open the device that Firecracker needs first of all.
fn has_kvm() -> bool {
    File::options().read(true).write(true).open("/dev/kvm").is_ok()
}

fn script(home: &Home, name: &str, lines: &str) -> PathBuf {
    let path = home.path().join(name);
    fs::write(&path, format!("#!/bin/sh\n{lines}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn an_engine_that_is_named_is_used_and_not_probed() {
    let home = SUITE.with(DEBIAN);
    let doctor = home.pyro(["doctor", "--json"]).env("PYRO_ENGINE", EMULATION).run().expect(0).json();
    let acceleration = &doctor["acceleration"];
    assert_eq!(
        (&acceleration["selected"], &acceleration["engine"]),
        (&"emulation".into(), &EMULATION.into())
    );
    assert_eq!(acceleration["reason"], "it was asked for by name");
    assert_eq!(acceleration["kvm"]["boots_guest"], Value::Null);
    let ran = run(&home, &["--json", "--engine", EMULATION], &["true"]).run().expect(0);
    assert!(!ran.stderr.contains("phase=probe"), "{}", ran.stderr);
    assert_eq!(ran.json()["engine"], EMULATION);
    // The supervisor of a workspace starts its guest.
    let created = home.pyro(["--engine", EMULATION, "workspace", "create", DEBIAN, "--json"]).run().expect(0);
    assert!(!created.stderr.contains("phase=probe"), "{}", created.stderr);
    let id = created.json()["workspace_id"].as_str().unwrap().to_owned();
    let status = home.pyro(["workspace", "status", &id, "--json"]).run().expect(0).json();
    assert_eq!(status["engine"], EMULATION);
    home.pyro(["workspace", "delete", &id]).run().expect(0).text();
}

#[test]
fn what_was_proven_on_one_engine_is_not_proven_on_another() {
    let home = SUITE.with(DEBIAN);
    let prepare = home.pyro(["prepare", "--engine", EMULATION]).env("PYRO_TEMPLATES", "off");
    prepare.run().expect(0).text();
    let look = |engine: &str, status| {
        let doctor = home.pyro(["doctor", "--json", "--engine", engine]);
        doctor.env("PYRO_TEMPLATES", "off").env(BINARY, "/missing").run().expect(status).json()
    };
    let there = look(EMULATION, 0);
    assert_eq!((&there["runtime"]["pass"], &there["capabilities"]["vm_boot"]), (&true.into(), &true.into()));
    assert_eq!(there["environment"]["daily_loop"], "WARM");
    let elsewhere = look("firecracker", 1);
    assert_eq!(elsewhere["runtime"]["pass"], false, "{elsewhere:#}");
    assert_eq!(elsewhere["capabilities"]["vm_boot"], false, "{elsewhere:#}");
    assert_eq!(elsewhere["environment"]["daily_loop"], "STALE");
    assert!(elsewhere["acceleration"].get("engine").is_none_or(Value::is_null), "{elsewhere:#}");
}

#[test]
fn prepare_by_force_probes_whatever_is_on_record() {
    let home = SUITE.with(DEBIAN);
    let prepare = |flags: &[&str]| {
        let prepare = home.pyro(["prepare", "--engine", "auto"]).args(flags);
        prepare.env("PYRO_TEMPLATES", "off").run().expect(0).stderr
    };
    prepare(&[]);
    assert!(!prepare(&[]).contains("phase=probe"));
    assert!(prepare(&["--force"]).contains("phase=probe"));
}

#[test]
fn doctor_fetches_nothing() {
    let home = SUITE.with(DEBIAN);
    let doctor = home.pyro(["doctor", "--json", "--engine", "firecracker"]).without(BINARY).run().expect(1);
    assert!(!doctor.stderr.contains("phase=download"), "{}", doctor.stderr);
    let report = doctor.json();
    let expected = if has_kvm() { "was not fetched yet" } else { "/dev/kvm" };
    assert!(report["runtime"]["detail"].as_str().unwrap().contains(expected), "{report:#}");
}

#[test]
fn the_command_line_goes_before_the_environment() {
    let home = SUITE.with(DEBIAN);
    let ran = run(&home, &["--json", "--engine", EMULATION], &["true"]).env("PYRO_ENGINE", "auto");
    assert_eq!(ran.run().expect(0).json()["engine"], EMULATION);
    let entry = home.pyro(["host", "print-config", "opencode", "--engine", EMULATION]).run().expect(0);
    assert!(entry.text().contains(&format!("\"--engine\", \"{EMULATION}\"")), "{}", entry.text());
}

#[test]
fn an_engine_that_there_is_not_is_refused_with_those_that_there_are() {
    let home = SUITE.bare();
    let refused = home.pyro(["env", "list", "--json"]).env("PYRO_ENGINE", "xen").run();
    let error = refused.refused((2, "invalid_input"));
    assert!(
        error["message"].as_str().unwrap().contains("auto, firecracker, qemu-kvm or qemu-emulation"),
        "{error}"
    );
    let usage = home.pyro(["env", "list", "--engine", "xen"]).run();
    assert!(usage.code == Some(2) && usage.stderr.contains("qemu-kvm"), "{}", usage.stderr);
}

#[test]
fn a_firecracker_that_is_no_use_is_named_and_gives_way_where_none_is_asked_for() {
    let home = SUITE.with(DEBIAN);
    let old = script(&home, "old", "echo Firecracker v1.7.0");
    let other = script(&home, "other", "echo something else");
    let missing = home.path().join("missing");
    // Nothing of the host's but the program is in a VMM's jail, so that this one's interpreter could not be found.
    let wrapper = script(&home, "wrapper", "[ \"$1\" = --version ] && echo Firecracker v1.16.1");
    for (program, expected) in [
        (&missing, "cannot run"),
        (&old, "is Firecracker 1.7.0"),
        (&other, "is no Firecracker"),
        (&wrapper, "is a script"),
    ] {
        let ran = run(&home, &["--json", "--engine", "firecracker"], &["true"]).env(BINARY, program).run();
        assert_eq!(ran.code, Some(125), "{}", ran.stderr);
        let error = ran.json()["error"].clone();
        let (message, hint) = (error["message"].as_str().unwrap(), error["hint"].as_str().unwrap());
        let (expected, way_out) = if has_kvm() { (expected, BINARY) } else { ("/dev/kvm", "--engine") };
        assert!(message.contains(expected) && hint.contains(way_out), "{error}");
    }
    // What is not asked for by name gives way to QEMU.
    let auto =
        run(&home, &["--json", "--engine", "auto"], &["true"]).env(BINARY, &wrapper).run().expect(0).json();
    assert!(auto["engine"].as_str().unwrap().starts_with("qemu-"), "{auto}");
}
