//! An installed environment that is not what was installed.

use crate::{CLOSED_MIRROR, DEBIAN, SUITE};
use pyro_testkit::{Home, Pyro, Value};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A home with a copy of the installed environment, which may be damaged. Templates are its own, too: pruning removes
/// those of an environment that is broken.
struct OwnCopy {
    home: Home,
    directory: PathBuf,
}

/// Copies the installed environment into a directory of `home`, for `PYRO_ENVIRONMENT_CACHE_DIR`.
pub fn copy_of_environment(home: &Home) -> PathBuf {
    let directory = home.path().join("environments");
    let installed = home.cache().join("environments");
    fs::create_dir(&directory).unwrap();
    let manifest = fs::read(installed.join("debian-12.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    for file in ["debian-12.json", manifest["image"].as_str().unwrap()] {
        fs::copy(installed.join(file), directory.join(file)).unwrap();
    }
    directory
}

impl OwnCopy {
    fn new() -> Self {
        let home = SUITE.without_templates(DEBIAN);
        let directory = copy_of_environment(&home);
        Self { home, directory }
    }

    fn pyro(&self, arguments: &[&str]) -> Pyro {
        self.home
            .pyro(arguments)
            .env("PYRO_ENVIRONMENT_CACHE_DIR", &self.directory)
            .env("PYRO_DEBIAN_MIRROR", CLOSED_MIRROR)
    }

    fn image(&self) -> PathBuf {
        let mut entries = fs::read_dir(&self.directory).unwrap().map(|entry| entry.unwrap().path());
        entries.find(|path| path.extension().is_some_and(|extension| extension == "erofs")).unwrap()
    }

    /// Every face has to say that it is broken, and what of it; nothing may run.
    fn expect_broken(&self, what: &str) {
        let inspected = self.pyro(&["env", "inspect", DEBIAN, "--json"]).run().expect(0).json();
        assert_eq!(
            (&inspected["state"], &inspected["installed"]),
            (&"broken".into(), &false.into()),
            "{inspected}"
        );
        assert!(inspected["problem"].as_str().is_some_and(|problem| problem.contains(what)), "{inspected}");
        let listed = self.pyro(&["env", "list", "--json"]).run().expect(0).json();
        assert_eq!(listed["environments"][0]["state"], "broken", "{listed}");
        let doctor = self.pyro(&["doctor", "--json"]).run().json();
        assert_eq!(doctor["environment"]["state"], "broken", "{doctor}");
        assert_eq!(doctor["next_command"], "pyro prepare debian:12");
        let issues = doctor["issues"].as_array().unwrap();
        let named =
            |issue: &pyro_testkit::Value| issue["problem"].as_str().is_some_and(|text| text.contains(what));
        assert!(issues.iter().any(named), "{doctor}");
        // The repair is a build, which has no mirror here.
        let run = self.pyro(&["run", DEBIAN, "--", "true"]).run().expect(125);
        assert!(run.stderr.contains(CLOSED_MIRROR), "{}", run.stderr);
        self.pyro(&["env", "pull", DEBIAN]).run().expect(1).last_line();
    }
}

fn flip_a_byte(file: &Path) {
    let length = fs::metadata(file).unwrap().len();
    let open = File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    open.read_exact_at(&mut byte, length / 2).unwrap();
    open.write_all_at(&[!byte[0]], length / 2).unwrap();
}

#[test]
fn a_copy_of_an_environment_is_as_good_as_the_original() {
    let sound = OwnCopy::new();
    let inspected = sound.pyro(&["env", "inspect", DEBIAN, "--json"]).run().expect(0).json();
    assert_eq!(inspected["state"], "installed", "{inspected}");
    sound.pyro(&["run", DEBIAN, "--", "true"]).run().expect(0).last_line();
}

#[test]
fn a_changed_byte_is_found() {
    let damaged = OwnCopy::new();
    flip_a_byte(&damaged.image());
    damaged.expect_broken("sha256");
}

#[test]
fn a_cut_image_is_found_and_pruned() {
    let damaged = OwnCopy::new();
    let image = damaged.image();
    File::options().write(true).open(&image).unwrap().set_len(4096).unwrap();
    damaged.expect_broken("4096 bytes instead of");
    let pruned = damaged.pyro(&["env", "prune", "--json"]).run().expect(0).json();
    let name = image.file_name().unwrap().to_str().unwrap();
    let removed = pruned["removed"].as_array().unwrap();
    assert!(removed.iter().any(|entry| entry["file"] == name), "{pruned}");
    assert!(removed.iter().any(|entry| entry["reason"] == "broken install"), "{pruned}");
    assert_eq!(pruned["count"], removed.len());
    let inspected = damaged.pyro(&["env", "inspect", DEBIAN, "--json"]).run().expect(0).json();
    assert_eq!(inspected["state"], "absent");
    assert!(!image.exists());
}

#[test]
fn a_missing_image_and_an_unreadable_manifest_are_found() {
    let damaged = OwnCopy::new();
    fs::remove_file(damaged.image()).unwrap();
    damaged.expect_broken("is missing");
    fs::write(damaged.directory.join("debian-12.json"), "{").unwrap();
    damaged.expect_broken("debian-12.json is unreadable");
}

#[test]
fn prune_leaves_what_is_installed() {
    let sound = OwnCopy::new();
    fs::write(sound.directory.join("debian-9.json"), "{}").unwrap();
    let prune = || sound.pyro(&["env", "prune", "--json"]).run().expect(0).json();
    let pruned = prune();
    assert_eq!(pruned["count"], 1, "{pruned}");
    assert_eq!(pruned["removed"][0]["file"], "debian-9.json");
    assert_eq!(pruned["removed"][0]["reason"], "not in the catalog");
    assert_eq!(prune()["count"], 0);
    let inspected = sound.pyro(&["env", "inspect", DEBIAN, "--json"]).run().expect(0).json();
    assert_eq!(inspected["state"], "installed");
}
