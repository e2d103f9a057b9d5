//! Builds the guest agent as a static executable, for embedding.
//!
//! Cargo cannot yet depend on a binary of another crate on stable, so the agent is built by a second cargo, in a target
//! directory of its own (the outer one's lock is held while this runs), shared by all profiles and by clippy. What the
//! outer cargo set for this script must not reach the inner one, or it would build for clippy, or with other flags.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The one target pyro supports; naming it keeps the static flags away from build scripts and proc-macros.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Settings of the user's that the inner cargo still needs: where registries are and how to reach them, and the
/// jobserver, so that both together stay within the user's `--jobs`.
const KEPT: &[&str] = &[
    "CARGO_HOME",
    "CARGO_MAKEFLAGS",
    "CARGO_NET_",
    "CARGO_HTTP_",
    "CARGO_REGISTR",
    "CARGO_SOURCE_",
    "CARGO_TERM_",
];

/// Set by the outer cargo, by clippy, or by a user for the outer build alone.
const REMOVED: &[&str] = &[
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTFLAGS",
    "RUSTDOCFLAGS",
    "CLIPPY_ARGS",
    "CLIPPY_CONF_DIR",
    "RUSTC_LINKER",
];

fn main() {
    let manifest_dir = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let out_dir = PathBuf::from(variable("OUT_DIR"));
    let workspace = manifest_dir.ancestors().nth(2).map_or_else(|| manifest_dir.clone(), Path::to_path_buf);
    for member in ["agent", "protocol", "redact", "tree"] {
        let member = workspace.join("crates").join(member);
        println!("cargo::rerun-if-changed={}", member.join("src").display());
        println!("cargo::rerun-if-changed={}", member.join("Cargo.toml").display());
    }
    println!("cargo::rerun-if-changed={}", workspace.join("Cargo.toml").display());
    println!("cargo::rerun-if-changed={}", workspace.join("Cargo.lock").display());
    println!("cargo::rerun-if-changed=build.rs");

    let target_dir = target_root(&out_dir).join("agent");
    build_agent(&workspace, &target_dir);
    let built = target_dir.join(TARGET).join("agent").join("pyro-agent");
    install(&built, &out_dir.join("pyro-agent"));
}

/// The target directory the outer cargo builds in: the one it marked as a cache.
fn target_root(out_dir: &Path) -> PathBuf {
    out_dir
        .ancestors()
        .find(|dir| dir.join("CACHEDIR.TAG").is_file())
        .map_or_else(|| out_dir.to_path_buf(), Path::to_path_buf)
}

fn build_agent(workspace: &Path, target_dir: &Path) {
    let mut cargo = Command::new(variable("CARGO"));
    for (name, _) in env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        let foreign = text.starts_with("CARGO") && !KEPT.iter().any(|kept| text.starts_with(kept));
        if foreign || REMOVED.contains(&text) {
            cargo.env_remove(&name);
        }
    }
    cargo
        .current_dir(workspace)
        .args(["build", "--quiet", "--package", "pyro-agent", "--profile", "agent", "--target", TARGET])
        .arg("--target-dir")
        .arg(target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    if workspace.join("Cargo.lock").is_file() {
        cargo.arg("--locked");
    }
    let status = cargo.status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "building the guest agent failed ({status:?}): see cargo's messages above"
    );
}

/// Copies `built` to `installed` unless that is what it holds already: an agent that came out the same must not make
/// everything that embeds it build again.
fn install(built: &Path, installed: &Path) {
    let agent = fs::read(built).unwrap_or_else(|error| panic!("cannot read {}: {error}", built.display()));
    if fs::read(installed).is_ok_and(|present| present == agent) {
        return;
    }
    fs::write(installed, agent)
        .unwrap_or_else(|error| panic!("cannot write {}: {error}", installed.display()));
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for build scripts"))
}
