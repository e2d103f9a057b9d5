//! What tests need of the registry of Python packages, fetched once into the target directory and shared by all tests: the
//! official Python SDK of MCP, and a project that nobody here wrote.

use crate::Suite;
use crate::installed::{Installed, run};
use std::path::PathBuf;
use std::process::Command;

const PACKAGES: &str = "mcp==2.3.0";

/// A web framework that is one file, with tests, and needs no other package.
const PROJECT: &str = "bottle==0.13.4";
const PROJECT_DIRECTORY: &str = "bottle-0.13.4";

static INSTALLED: Installed = Installed::new();
static FETCHED: Installed = Installed::new();

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

    /// The source of a public project, as its authors published it. Fails the test where it cannot be had. Nobody may write there.
    pub fn public_project(self) -> PathBuf {
        let python = self.python();
        FETCHED.get("a public project", &self.scratch().join("pyro-project"), PROJECT, |directory| {
            let mut pip = Command::new(&python);
            pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
            run(pip.args(["--no-binary", ":all:", PROJECT]).current_dir(directory), directory)?;
            let mut unpack = Command::new(&python);
            let archive = format!("{PROJECT_DIRECTORY}.tar.gz");
            run(unpack.args(["-m", "tarfile", "-e", &archive, "."]).current_dir(directory), directory)?;
            Ok(directory.join(PROJECT_DIRECTORY))
        })
    }
}
