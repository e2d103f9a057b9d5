//! Chores of the project: `cargo xtask generate [--check]`, `cargo xtask bench [SERIES…] [--runs N]`,
//! `cargo xtask kvm-lab [--suite] -- COMMAND`.

#[cfg(feature = "bench")]
mod bench;
mod generate;
mod kvm_lab;

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["generate"] => generate::write()?,
        ["generate", "--check"] => generate::check()?,
        #[cfg(feature = "bench")]
        ["bench", arguments @ ..] => bench::bench(arguments)?,
        ["kvm-lab", "--", command @ ..] => return kvm_lab::kvm_lab(command, false),
        ["kvm-lab", "--suite", "--", command @ ..] => return kvm_lab::kvm_lab(command, true),
        _ => bail!("usage: {}", usage()),
    }
    Ok(ExitCode::SUCCESS)
}

fn usage() -> String {
    let usage = format!("cargo xtask generate [--check]\n       {}", kvm_lab::usage());
    #[cfg(feature = "bench")]
    let usage = format!("{usage}\n       {}", bench::usage());
    usage
}

fn root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")
}

/// The release build of `pyro`, made; or one that is there already, by the name that `pyro` itself goes by.
fn built(root: &Path) -> Result<PathBuf> {
    if let Some(program) = std::env::var_os("PYRO_PROGRAM") {
        return Ok(program.into());
    }
    if !cargo(root).args(["build", "--release"]).status()?.success() {
        bail!("the release build failed");
    }
    Ok(root.join("target/release/pyro"))
}

/// A cargo that finds nothing of what the cargo that runs this program has told it about its own package: to some build
/// scripts that is a change, and much would be built again each time.
fn cargo(root: &Path) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root);
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            cargo.env_remove(&name);
        }
    }
    cargo
}
