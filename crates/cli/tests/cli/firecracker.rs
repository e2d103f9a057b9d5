//! What is there of Firecracker alone. Needs KVM that works, and a program that `PYRO_FIRECRACKER_BIN` names: `cargo xtask kvm-lab
//! --suite -- pyro-suite --ignored firecracker::`.

use crate::own_templates::OwnTemplates;
use crate::{DEBIAN, SUITE, run};
use std::fs;

const BINARY: &str = "PYRO_FIRECRACKER_BIN";

#[test]
#[ignore = "needs KVM and Firecracker"]
fn where_kvm_works_it_is_the_engine() {
    let home = SUITE.with(DEBIAN);
    let ran = run(&home, &["--json", "--engine", "auto"], &["true"]).run().expect(0).json();
    assert_eq!((&ran["engine"], &ran["execution_mode"]), (&"firecracker".into(), &"guest_vsock".into()));
    let doctor = home.pyro(["doctor", "--json", "--engine", "auto"]).run().expect(0).json();
    assert_eq!(doctor["acceleration"]["engine"], "firecracker");
    assert_eq!(doctor["acceleration"]["kvm"]["boots_guest"], true);
}

#[test]
#[ignore = "needs KVM and Firecracker"]
fn a_template_of_another_firecracker_is_not_restored() {
    let home = OwnTemplates::copied();
    home.expect_warm();
    let other = home.path().join("firecracker");
    fs::copy(std::env::var_os(BINARY).unwrap(), &other).unwrap();
    let ran = home.run(&["--engine", "firecracker"]).env(BINARY, &other).run().expect(0).json();
    assert_eq!(ran["start"], "cold");
    let why = ran["cold_start_reason"].as_str().unwrap();
    assert!(why.contains("another kind of machine"), "{why}");
}

#[test]
#[ignore = "needs KVM and Firecracker"]
fn a_template_of_another_engine_is_not_restored() {
    let home = OwnTemplates::copied();
    home.expect_warm();
    let ran = home.run(&["--engine", "qemu-kvm"]).run().expect(0).json();
    assert_eq!((&ran["start"], &ran["engine"]), (&"cold".into(), &"qemu-kvm".into()));
    home.expect_warm();
}
