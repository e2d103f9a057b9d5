//! Environments beside the usual one. Each is built once for all runs of the tests; the build also has to repair.

use crate::{DEBIAN, SUITE};
use std::fs;
use std::time::Duration;

const BUILD_DEADLINE: Duration = Duration::from_mins(15);

/// Pulls `name` into the shared cache and runs `script` in it. Where it was never installed, what looks like a broken
/// install of it is put there first, which the pull has to repair.
fn pulled_and_run(name: &str, script: &str) -> String {
    let home = SUITE.with(DEBIAN);
    let manifest = home.cache().join("environments").join(format!("{}.json", name.replace(':', "-")));
    let state = || home.pyro(["env", "inspect", name, "--json"]).run().expect(0).json()["state"].clone();
    if state() == "absent" {
        fs::write(&manifest, "{").unwrap();
        assert_eq!(state(), "broken");
    }
    let pull = home.pyro(["env", "pull", name, "--json"]).deadline(BUILD_DEADLINE).run().expect(0);
    assert_eq!(pull.json()["state"], "installed", "{}", pull.stderr);
    let run = home.pyro(["run", name, "--", "sh", "-c", script]).run().expect(0);
    run.text().to_owned()
}

#[test]
fn debian_13_has_git_and_a_broken_install_of_it_is_repaired() {
    let said = pulled_and_run("debian:13", ". /etc/os-release; echo $VERSION_ID; git --version");
    assert!(said.starts_with("13\ngit version 2."), "{said}");
}

#[test]
fn debian_12_base_has_no_git() {
    let said =
        pulled_and_run("debian:12-base", ". /etc/os-release; echo $VERSION_ID; command -v git || echo none");
    assert_eq!(said, "12\nnone\n");
}

#[test]
fn debian_12_build_compiles() {
    let script = "printf '#include <stdio.h>\\nint main(void) { puts(\"compiled\"); }\\n' > a.c && \
                  cc -o a a.c && ./a && python3 -c 'print(6 * 7)' && git --version | cut -d' ' -f1";
    assert_eq!(pulled_and_run("debian:12-build", script), "compiled\n42\ngit\n");
}
