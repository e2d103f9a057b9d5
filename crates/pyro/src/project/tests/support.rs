//! Repositories made for one test.

use crate::project::{Project, ProjectOptions, ProjectReport};
use crate::testing::block_on;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// A directory with a checkout in `root`, and room beside it.
pub struct Repo {
    directory: TempDir,
    pub root: PathBuf,
}

impl Repo {
    /// An empty repository without a commit.
    pub fn empty() -> Self {
        let repo = Self::plain();
        repo.git(&["init", "--quiet", "--initial-branch=main", "."]);
        repo
    }

    /// A directory that is none.
    pub fn plain() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap().join("root");
        fs::create_dir(&root).unwrap();
        Self { directory, root }
    }

    /// A repository whose one commit has `files`, each with its own name as content.
    pub fn with(files: &[&str]) -> Self {
        let repo = Self::empty();
        for file in files {
            repo.write(file, file);
        }
        repo.commit();
        repo
    }

    /// A path beside the checkout.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join(name)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn write(&self, name: impl AsRef<Path>, content: &str) {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Runs the user's own `git`, which must succeed, in the root.
    #[track_caller]
    pub fn git(&self, arguments: &[&str]) -> String {
        git(&self.root, arguments)
    }

    /// Commits everything; returns the commit's id.
    #[track_caller]
    pub fn commit(&self) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", "a commit"]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// A script that leaves a mark.
    pub fn trap(&self) -> Trap {
        let (script, mark) = (self.beside("trap.sh"), self.beside("mark"));
        fs::write(&script, format!("#!/bin/sh\necho \"$0 $*\" >> {}\n", mark.display())).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        Trap { script, mark }
    }
}

/// A script that nobody must run.
pub struct Trap {
    pub script: PathBuf,
    mark: PathBuf,
}

impl Trap {
    pub fn text(&self) -> &str {
        self.script.to_str().unwrap()
    }

    /// What ran it, and makes it ready again.
    pub fn sprung(&self) -> Option<String> {
        let mark = fs::read_to_string(&self.mark).ok();
        let _none = fs::remove_file(&self.mark);
        mark
    }
}

/// Runs `git` as a user does, without a configuration of theirs.
pub fn try_git(directory: &Path, arguments: &[&str]) -> Output {
    // What the traps of a test do to it must not hold that up.
    Command::new("timeout")
        .arg("30")
        .arg("git")
        .current_dir(directory)
        .args(["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always"])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("LC_ALL", "C")
        .output()
        .unwrap()
}

#[track_caller]
pub fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = try_git(directory, arguments);
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// The project that is found in a directory.
pub fn found(directory: &Path) -> Project {
    block_on(Project::resolve(&ProjectOptions::default(), directory)).unwrap()
}

/// The root of the checkout that is found in a directory.
pub fn found_root(directory: &Path) -> Option<PathBuf> {
    match found(directory) {
        Project::None => None,
        Project::Checkout { root, is_detected } => {
            assert!(is_detected);
            Some(root)
        }
        project @ Project::Repository { .. } => panic!("{project:?}"),
    }
}

pub fn diagnosed(root: &Path) -> ProjectReport {
    block_on(Project::Checkout { root: root.to_owned(), is_detected: false }.diagnose())
}

/// What Git itself lists as tracked in a directory.
pub fn tracked_by_git(directory: &Path) -> Vec<PathBuf> {
    let listed = try_git(directory, &["ls-files", "-z", "--recurse-submodules"]).stdout;
    let names = listed.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut names: Vec<_> = names.map(|name| PathBuf::from(OsStr::from_bytes(name))).collect();
    names.sort_unstable();
    names.dedup();
    names
}
