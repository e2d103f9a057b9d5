//! A home whose templates are its own, so that they may be damaged, replaced and removed.

use crate::{CLOSED_MIRROR, DEBIAN, SUITE};
use pyro_testkit::{Home, Pyro, Value, edit_json, poll_until};
use std::fs;
use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

/// What the files of the template that machines of the default shape start from begin with.
pub const DEFAULT_SHAPE: &str = "debian-12-1x1024";

/// Making a template takes seconds on an idle host.
const BUILD_DEADLINE: Duration = Duration::from_mins(2);

pub struct OwnTemplates {
    home: Home,
}

impl Deref for OwnTemplates {
    type Target = Home;

    fn deref(&self) -> &Home {
        &self.home
    }
}

impl OwnTemplates {
    /// With a template of the default shape.
    pub fn copied() -> Self {
        let own = Self { home: SUITE.with_own_templates(DEBIAN) };
        // Tests of other environments leave theirs in the shared cache.
        for file in own.files().iter().filter(|file| !file.starts_with(DEFAULT_SHAPE)) {
            fs::remove_file(own.templates().join(file)).unwrap();
        }
        own
    }

    /// With none.
    pub fn none() -> Self {
        Self { home: SUITE.without_templates(DEBIAN) }
    }

    /// A call that has everything it needs.
    pub fn pyro(&self, arguments: &[&str]) -> Pyro {
        self.home.pyro(arguments).env("PYRO_DEBIAN_MIRROR", CLOSED_MIRROR)
    }

    /// `run FLAGS --json -- true`.
    pub fn run(&self, flags: &[&str]) -> Pyro {
        self.pyro(&["run", DEBIAN, "--json"]).args(flags).args(["--", "true"])
    }

    #[track_caller]
    pub fn expect_warm(&self) {
        let result = self.run(&[]).run().expect(0).json();
        assert_eq!((&result["start"], &result["cold_start_reason"]), (&"warm".into(), &Value::Null));
    }

    /// A run has to boot, whatever is the matter with the template, and to say `why`.
    #[track_caller]
    pub fn expect_cold(&self, why: &str) {
        let run = self.run(&[]).run().expect(0);
        let result = run.json();
        assert_eq!(result["start"], "cold", "{why}: {result}");
        assert!(says(&result["cold_start_reason"], why), "{why}: {result}");
    }

    pub fn prepare(&self, flags: &[&str]) -> Value {
        self.pyro(&["prepare", DEBIAN, "--json"]).args(flags).run().expect(0).json()
    }

    pub fn doctor(&self) -> Value {
        self.pyro(&["doctor", "--json"]).run().expect(0).json()
    }

    /// The names of all files in the cache of templates, in order.
    pub fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.templates()).unwrap();
        let mut files: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        files
    }

    /// There has to be one template, of the default shape, and nothing else.
    #[track_caller]
    pub fn expect_one_template(&self) {
        let files = self.files();
        let kinds: Vec<&str> = files.iter().filter_map(|file| file.rsplit('.').next()).collect();
        assert_eq!(kinds, ["ram", "state", "disk", "ram", "state", "json", "lock"], "{files:?}");
        assert!(files.iter().all(|file| file.starts_with(DEFAULT_SHAPE)), "{files:?}");
    }

    pub fn manifest(&self) -> PathBuf {
        self.templates().join(DEFAULT_SHAPE).with_extension("json")
    }

    pub fn edit_manifest(&self, change: impl FnOnce(&mut Value)) {
        edit_json(&self.manifest(), change);
    }

    /// The file of the template that the manifest has under `kind`: `ram`, `state` and `disk` of new machines, `apart_ram` and
    /// `apart_state` of others.
    pub fn file(&self, kind: &str) -> PathBuf {
        let manifest: Value = serde_json::from_slice(&fs::read(self.manifest()).unwrap()).unwrap();
        self.templates().join(manifest["files"][kind]["name"].as_str().unwrap())
    }

    /// Where the template of the default shape is being made.
    pub fn build_directory(&self) -> PathBuf {
        self.templates().join(format!(".build-{DEFAULT_SHAPE}"))
    }

    /// Waits until there is a file of this name in the cache of templates.
    #[track_caller]
    pub fn expect_soon(&self, file: &str) {
        let path = self.templates().join(file);
        let there = poll_until(BUILD_DEADLINE, || path.exists().then_some(()));
        assert!(
            there.is_some(),
            "there is no {file} after {} s: {:?}",
            BUILD_DEADLINE.as_secs(),
            self.files()
        );
    }
}

/// The issue that `doctor` takes with a template. The host may give it others.
pub fn template_issue(doctor: &Value) -> Option<&Value> {
    doctor["issues"].as_array()?.iter().find(|issue| says(&issue["problem"], "machines boot their kernel"))
}

/// Whether a text of a document contains `words`.
pub fn says(text: &Value, words: &str) -> bool {
    text.as_str().is_some_and(|text| text.contains(words))
}
