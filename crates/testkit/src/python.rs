//! The official Python SDK of MCP, installed once into the target directory and shared by all tests.

use crate::Suite;
use crate::installed::{Installed, run};
use std::path::PathBuf;
use std::process::Command;

const PACKAGES: &str = "mcp==2.3.0";

static INSTALLED: Installed = Installed::new();

impl Suite {
    /// The interpreter of an environment that has the SDK. Fails the test where it cannot be had: Python with its `venv`, and
    /// a registry of its packages are what it takes.
    pub fn python(self) -> PathBuf {
        INSTALLED.get("the Python SDK of MCP", &self.scratch().join("pyro-python"), PACKAGES, |directory| {
            let environment = directory.join("environment");
            run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment), directory)?;
            let mut pip = Command::new(environment.join("bin/pip"));
            run(pip.args(["install", "--quiet", "--disable-pip-version-check", PACKAGES]), directory)?;
            Ok(environment.join("bin/python"))
        })
    }
}
