//! What the tests of one target directory share.

use crate::files::copy_files;
use crate::{Home, Pyro, Value};
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Building an environment includes fetching the bundle, and waiting for another test that is doing so.
const PREPARATION_DEADLINE: Duration = Duration::from_mins(30);

/// The environments that this process has prepared, or why it could not.
static PREPARED: Mutex<Option<HashMap<String, Result<(), String>>>> = Mutex::new(None);

/// The binary under test, and where its tests may keep files.
#[derive(Debug, Clone, Copy)]
pub struct Suite {
    program: &'static str,
    scratch: &'static str,
}

impl Suite {
    /// For the test crate of the binary: `Suite::new(env!("CARGO_BIN_EXE_pyro"), env!("CARGO_TARGET_TMPDIR"))`.
    pub const fn new(program: &'static str, scratch: &'static str) -> Self {
        Self { program, scratch }
    }

    /// A home with nothing in it, an empty cache of its own included.
    pub fn bare(self) -> Home {
        let home = Home::new(self);
        fs::create_dir_all(home.own_cache()).expect("the test's directory is writable");
        home
    }

    /// A home with the shared cache, in which the bundle, `environment` and its template are installed, on a host that was
    /// probed.
    pub fn with(self, environment: &str) -> Home {
        self.prepare(environment);
        let home = Home::new(self).with_cache(self.cache());
        self.copy_probe(&home);
        home
    }

    /// A home with a cache of its own, in which `environment` and the bundle are the shared ones, which must be left as
    /// they are, and there is no template.
    pub fn without_templates(self, environment: &str) -> Home {
        self.prepare(environment);
        let home = Home::new(self);
        fs::create_dir_all(home.templates()).expect("the test's directory is writable");
        for shared in ["runtime", "environments"] {
            let (from, to) = (self.cache().join("pyro").join(shared), home.cache().join(shared));
            symlink(from, to).expect("the test's directory is writable");
        }
        self.copy_probe(&home);
        home
    }

    /// The same with a copy of the shared templates, which may be damaged.
    pub fn with_own_templates(self, environment: &str) -> Home {
        let home = self.without_templates(environment);
        copy_files(&self.cache().join("pyro/templates"), &home.templates());
        home
    }

    /// What was found out about this host need not be found out again. An engine that is named is not probed.
    fn copy_probe(self, home: &Home) {
        fs::create_dir_all(home.state()).expect("the test's directory is writable");
        if std::env::var_os("PYRO_ENGINE").is_none() {
            let (from, to) = (self.state().join("pyro/engine.json"), home.state().join("engine.json"));
            fs::copy(from, to).expect("preparing probed the host");
        }
    }

    /// Where everything of this suite is.
    pub(crate) fn directory(self) -> PathBuf {
        PathBuf::from(self.scratch).join("pyro-test")
    }

    pub(crate) fn scratch(self) -> PathBuf {
        PathBuf::from(self.scratch)
    }

    pub(crate) fn program(self) -> &'static str {
        self.program
    }

    /// What `XDG_CACHE_HOME` is for homes with the shared cache.
    pub(crate) fn cache(self) -> PathBuf {
        self.directory().join("cache")
    }

    fn state(self) -> PathBuf {
        self.directory().join("state")
    }

    /// Once for each environment and process. A second thread waits here; a second process waits at the product's own
    /// locks, and finds the work done.
    fn prepare(self, environment: &str) {
        let mut prepared = PREPARED.lock().unwrap_or_else(PoisonError::into_inner);
        let outcomes = prepared.get_or_insert_with(HashMap::new);
        let outcome = outcomes.entry(environment.to_owned()).or_insert_with(|| self.install(environment));
        let failed = outcome.as_ref().err().cloned();
        drop(prepared);
        if let Some(why) = failed {
            panic!("{environment} could not be prepared for the tests: {why}");
        }
    }

    fn install(self, environment: &str) -> Result<(), String> {
        if self.is_ready(environment) {
            return Ok(());
        }
        let prepared = self.shared_pyro().args(["prepare", environment]).run();
        if prepared.code != Some(0) {
            return Err(prepared.stderr);
        }
        // Answers from the record, or probes this host and records what it found.
        if self.is_ready(environment) {
            Ok(())
        } else {
            Err("`pyro doctor` does not report it as ready".to_owned())
        }
    }

    fn is_ready(self, environment: &str) -> bool {
        let doctor = self.shared_pyro().args(["doctor", "--json", "--environment", environment]).run();
        let report: Value = serde_json::from_slice(&doctor.stdout).unwrap_or_default();
        report["runtime"]["pass"] == true && report["environment"]["daily_loop"] == "WARM"
    }

    /// A call with the shared cache and the shared state directory, for preparing alone.
    fn shared_pyro(self) -> Pyro {
        let mut pyro = Pyro::new(self.program);
        for (name, directory) in
            [("XDG_CACHE_HOME", self.cache()), ("XDG_STATE_HOME", self.state()), ("HOME", self.directory())]
        {
            fs::create_dir_all(&directory).expect("the target directory is writable");
            pyro = pyro.env(name, directory);
        }
        pyro.deadline(PREPARATION_DEADLINE)
    }
}
