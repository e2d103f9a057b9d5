//! Programs that are published as node packages: the chat hosts that pyro registers with, and an inspector of MCP servers.
//!
//! They are installed once into the target directory, in these versions, by npm, and are shared by all tests. Scripts that
//! packages bring are not left to npm, which may be told not to run any: the two that put a program into its place are run
//! here. What cannot be had fails the test that needs it.

use crate::Suite;
use crate::installed::{Installed, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGES: [&str; 4] = [
    "@anthropic-ai/claude-code@2.1.197",
    "@openai/codex@0.169.0",
    "opencode-ai@1.18.33",
    "@modelcontextprotocol/inspector@0.15.0",
];
/// Directories of packages, and the script of theirs that puts their program into its place.
const SCRIPTS: [(&str, &str); 2] =
    [("@anthropic-ai/claude-code", "install.cjs"), ("opencode-ai", "postinstall.mjs")];

static INSTALLED: Installed = Installed::new();

impl Suite {
    /// The directory with `claude`, `codex`, `opencode` and `mcp-inspector`, as `PATH` needs it. Fails the test where they
    /// cannot be had: npm and a registry of its packages are what it takes.
    pub fn node_programs(self) -> PathBuf {
        let directory = self.scratch().join("pyro-hosts");
        INSTALLED.get("the programs of chat hosts", &directory, &PACKAGES.join("\n"), install)
    }
}

fn install(directory: &Path) -> Result<PathBuf, String> {
    // Without a manifest of its own npm installs into the next directory above that has one.
    fs::write(directory.join("package.json"), "{\"private\": true}\n").map_err(|error| error.to_string())?;
    let mut npm = Command::new("npm");
    npm.args([
        "install",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--no-package-lock",
        "--loglevel=error",
    ]);
    run(npm.arg("--prefix").arg(directory).args(PACKAGES), directory)?;
    for (package, script) in SCRIPTS {
        let package = directory.join("node_modules").join(package);
        run(Command::new("node").arg(script).current_dir(package), directory)?;
    }
    Ok(directory.join("node_modules/.bin"))
}
