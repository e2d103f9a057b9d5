//! The real binary, as its users call it: with real guests wherever one is of any matter.
//!
//! All tests share one cache, which the first of them fills (see `pyro_testkit`). Each has a home of its own, which
//! fails it when anything is left behind.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod bad_input;
mod broken_bundle;
mod broken_environment;
mod catalog;
mod concurrent;
mod docs;
mod doctor;
mod engines;
mod environments;
mod faces;
mod firecracker;
mod guest;
mod host;
mod host_compat;
mod interrupt;
mod jail;
mod lifecycle;
mod mcp;
mod mirror;
mod offline;
mod output;
mod own_templates;
mod prepare;
mod run;
mod runtime;
mod sdk;
mod templates;
mod workspace;

use pyro_testkit::{Home, Pyro, Suite};

const SUITE: Suite = Suite::new(env!("CARGO_BIN_EXE_pyro"), env!("CARGO_TARGET_TMPDIR"));

/// The environment that nearly all tests use.
const DEBIAN: &str = "debian:12";

/// A mirror that nobody can reach: connecting to this port is refused at once.
const CLOSED_MIRROR: &str = "http://127.0.0.1:1/debian";

/// The digest of nothing that there is.
const OTHER_DIGEST: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// How commands reach the guests of the engine that these tests run on.
fn execution_mode(home: &Home) -> &'static str {
    let report = home.pyro(["doctor", "--json"]).run().expect(0).json();
    match report["acceleration"]["engine"].as_str() {
        Some("firecracker") => "guest_vsock",
        Some(_) => "guest_virtio_serial",
        None => panic!("no guest runs here: {report}"),
    }
}

/// A call of `pyro run debian:12 FLAGS -- COMMAND`.
fn run(home: &Home, flags: &[&str], command: &[&str]) -> Pyro {
    home.pyro(["run", DEBIAN]).args(flags).args(["--"]).args(command)
}

/// The same for a script of the guest's shell.
fn sh(home: &Home, flags: &[&str], script: &str) -> Pyro {
    run(home, flags, &["sh", "-c", script])
}
