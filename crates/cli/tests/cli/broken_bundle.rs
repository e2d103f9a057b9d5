//! A runtime bundle that is not what its manifest says, and a kernel that does not come up.

use crate::{CLOSED_MIRROR, DEBIAN, SUITE};
use pyro_testkit::{Home, link_tree};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// The directory of the bundle in use.
fn bundle(home: &Home) -> PathBuf {
    let status = home.pyro(["runtime", "status", "--json"]).run().expect(0).json();
    PathBuf::from(status["bundle"]["path"].as_str().unwrap())
}

/// Replaces a file by one of the same size and mode that `change` makes of its content.
fn replace(file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut content = fs::read(file).unwrap();
    let mode = fs::metadata(file).unwrap().permissions().mode();
    change(&mut content);
    fs::remove_file(file).unwrap();
    fs::write(file, content).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_bundle_of_ones_own_has_to_be_sound_and_nothing_runs_otherwise() {
    let home = SUITE.with(DEBIAN);
    let own = home.path().join("bundle");
    link_tree(&bundle(&home), &own).unwrap();
    let with_own = |arguments: &[&str]| home.pyro(arguments).env("PYRO_RUNTIME_BUNDLE_DIR", &own).run();
    let sound = with_own(&["run", DEBIAN, "--", "true"]).expect(0);
    assert!(sound.last_line().contains("execution_mode=guest_v"), "{}", sound.stderr);

    replace(&own.join("bin/mke2fs"), |content| *content.last_mut().unwrap() ^= 1);
    fs::write(own.join("stray"), "").unwrap();
    for (arguments, status) in
        [(&["runtime", "verify"][..], 1), (&["runtime", "fetch"], 1), (&["run", DEBIAN, "--", "true"], 125)]
    {
        let run = with_own(arguments).expect(status);
        for said in
            ["bin/mke2fs has changed (sha256", "stray does not belong", " hint: ", "PYRO_RUNTIME_BUNDLE_DIR"]
        {
            assert!(run.stderr.contains(said), "{arguments:?}: {}", run.stderr);
        }
    }
    let status = with_own(&["runtime", "status", "--json"]).expect(0).json();
    assert_eq!(status["state"], "damaged");
    let doctor = with_own(&["doctor", "--json"]).expect(1).json();
    assert_eq!(doctor["runtime"]["pass"], false);
    assert!(
        doctor["issues"][0]["problem"].as_str().is_some_and(|problem| problem.contains("bin/mke2fs")),
        "{doctor}"
    );

    // What was tampered with is no reason to run without isolation, even where that is allowed.
    let allowed = with_own(&["run", DEBIAN, "--allow-host-compat", "--", "true"]).expect(125);
    assert!(allowed.stderr.contains("nothing was run"), "{}", allowed.stderr);
}

/// A home whose cache is a copy of the shared one: the bundle may be damaged, the environments stay where they are.
fn with_own_bundle() -> (Home, PathBuf) {
    let shared = SUITE.with(DEBIAN);
    let home = SUITE.bare();
    let runtime = home.cache().join("runtime");
    link_tree(&shared.cache().join("runtime"), &runtime).unwrap();
    symlink(shared.cache().join("environments"), home.cache().join("environments")).unwrap();
    fs::create_dir_all(home.state()).unwrap();
    let record = "engine.json";
    fs::copy(shared.state().join(record), home.state().join(record)).unwrap();
    (home, runtime)
}

#[test]
fn a_kernel_that_does_not_come_up_is_a_failure_with_its_last_words() {
    const ELF_HEADERS: usize = 4096;
    let (home, _runtime) = with_own_bundle();
    // Of the same size, so that only hashing would tell: what is no longer a kernel is started.
    replace(&bundle(&home).join("kernel/vmlinux"), |content| content[ELF_HEADERS..].fill(0xf4));
    let run = home.pyro(["run", DEBIAN, "--json", "--", "true"]).run().expect(125);
    let error = &run.json()["error"];
    assert_eq!(error["code"], "guest_unavailable", "{error}");
    assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("pyro runtime verify")), "{error}");
    let verify = home.pyro(["runtime", "verify"]).run().expect(1);
    assert!(verify.stderr.contains("kernel/vmlinux has changed"), "{}", verify.stderr);
    assert!(home.machines().is_empty());
}

#[test]
fn a_damaged_bundle_is_fetched_again_before_anything_runs() {
    let (home, _runtime) = with_own_bundle();
    fs::remove_file(bundle(&home).join("bin/qemu-system-x86_64")).unwrap();
    let status = home.pyro(["runtime", "status", "--json"]).run().expect(0).json();
    assert_eq!(status["state"], "damaged");
    assert_eq!(status["problems"][0], "bin/qemu-system-x86_64 is missing");
    let run =
        home.pyro(["run", DEBIAN, "--", "true"]).env("PYRO_DEBIAN_MIRROR", CLOSED_MIRROR).run().expect(125);
    assert!(run.stderr.contains("nothing was run") && run.stderr.contains(CLOSED_MIRROR), "{}", run.stderr);
}

#[test]
fn what_is_derived_from_a_bundle_is_made_again() {
    let (home, runtime) = with_own_bundle();
    fs::remove_dir_all(runtime.join("derived")).unwrap();
    let run =
        home.pyro(["run", DEBIAN, "--", "true"]).env("PYRO_DEBIAN_MIRROR", CLOSED_MIRROR).run().expect(0);
    assert!(run.last_line().contains("exit_code=0"));
    home.pyro(["runtime", "verify"]).run().expect(0).last_line();
}

#[test]
fn a_removed_bundle_is_missing() {
    let (home, runtime) = with_own_bundle();
    let removed = home.pyro(["runtime", "remove", "--json"]).run().expect(0).json();
    assert_eq!(removed["removed"], true);
    let status = home.pyro(["runtime", "status", "--json"]).run().expect(0).json();
    assert_eq!(status["state"], "missing");
    let left: Vec<_> = fs::read_dir(&runtime).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"]);
}
