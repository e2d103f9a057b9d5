//! Workspaces of a project: a checkout with all that lies around in one, and a clean clone.

use super::trees::directory;
use crate::sdk::{self, block_on};
use crate::{DEBIAN, SUITE};
use pyro::workspace::{CreateWorkspace, SnapshotName, WorkspaceExec, WorkspaceId, WorkspaceStatus};
use pyro::{Diagnostic, ErrorKind, OutputMode, Project, ProjectOptions, Pyro};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

/// Runs the host's `git`; returns what it printed.
#[track_caller]
fn git(directory: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command
        .current_dir(directory)
        .args(["-c", "user.name=a", "-c", "user.email=a@example.org"])
        .args(arguments);
    let output =
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A checkout with everything that must not get into a workspace, and everything that has to.
fn checkout(root: &Path) {
    let write = |name: &str, content: &str| {
        fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        fs::write(root.join(name), content).unwrap();
    };
    git(root, &["init", "--quiet", "--initial-branch=main", "."]);
    write(".gitignore", "target/\n*.fifo\nlocked\nsecret\nlink-loop\n");
    write("src/main.rs", "fn main() {}\n");
    write("with space\nand line", "odd");
    write("gone", "");
    write("run.sh", "#!/bin/sh\necho ran\n");
    fs::set_permissions(root.join("run.sh"), Permissions::from_mode(0o755)).unwrap();
    symlink("/etc/hostname", root.join("outside")).unwrap();
    git(root, &["add", "--all"]);
    git(root, &["commit", "--quiet", "--message", "first"]);
    write("src/main.rs", "fn main() { todo!() }\n");
    write("new.rs", "staged");
    git(root, &["add", "new.rs"]);
    fs::remove_file(root.join("gone")).unwrap();
    write("untracked", "");
    write("target/debug/generated", "");
    write("secret", "");
    write("locked/inside", "");
    symlink("link-loop", root.join("link-loop")).unwrap();
    let made = Command::new("mkfifo").arg(root.join("a.fifo")).status().unwrap();
    assert!(made.success());
    for unreadable in ["secret", "locked"] {
        fs::set_permissions(root.join(unreadable), Permissions::from_mode(0o000)).unwrap();
    }
}

async fn create(pyro: &Pyro, options: &ProjectOptions, cwd: &Path) -> WorkspaceStatus {
    let project = Project::resolve(options, cwd).await.unwrap();
    pyro.create_workspace(CreateWorkspace { project, ..CreateWorkspace::new(DEBIAN) }).await.unwrap()
}

async fn sh(pyro: &Pyro, id: &WorkspaceId, script: &str) -> String {
    let command = ["sh", "-c", script].map(ToOwned::to_owned).to_vec();
    let result = pyro.exec_workspace(id, WorkspaceExec::new(command), OutputMode::Capture).await.unwrap();
    assert_eq!(result.exit_code, 0, "{script}: {}", result.stderr);
    result.stdout
}

/// The names of the files and links in a workspace, each with an end.
const NAMES: &str =
    r"find . -mindepth 1 \( -type f -o -type l \) -printf '%P\0' | LC_ALL=C sort -z | tr '\0' '\001'";

#[test]
fn a_workspace_of_a_checkout_has_what_git_tracks() {
    let home = SUITE.with(DEBIAN);
    let pyro = sdk::of(&home);
    let root = directory(&home, "project").canonicalize().unwrap();
    checkout(&root);
    let _listener = UnixListener::bind(root.join("target/socket")).unwrap();
    let tracked = git(&root, &["ls-files", "-z"]).replace("gone\0", "").replace('\0', "\u{1}");
    block_on(async {
        let status = create(&pyro, &ProjectOptions::default(), &root.join("src")).await;
        let (id, seed) = (status.workspace_id, status.workspace_seed);
        assert_eq!(seed.origin_kind, "project_path");
        assert_eq!(seed.origin_ref.as_deref(), root.to_str());
        assert_eq!(seed.seed_path.as_deref(), root.to_str());
        assert_eq!(seed.entry_count, 7, "six files and links, and a directory");
        assert_eq!(sh(&pyro, &id, NAMES).await, tracked);
        assert_eq!(
            sh(&pyro, &id, "cat src/main.rs; ./run.sh; readlink outside").await,
            "fn main() { todo!() }\nran\n/etc/hostname\n"
        );
        assert!(!pyro.diff_workspace(&id).await.unwrap().changed);
        sh(&pyro, &id, "rm -r src; echo x > new.rs; touch more").await;
        assert_eq!(pyro.diff_workspace(&id).await.unwrap().summary.total, 4);
        // What happens to the checkout meanwhile is of no matter.
        fs::write(root.join("run.sh"), "changed").unwrap();
        pyro.reset_workspace(&id, &SnapshotName::baseline()).await.unwrap();
        assert_eq!(sh(&pyro, &id, NAMES).await, tracked);
        assert!(!pyro.diff_workspace(&id).await.unwrap().changed);
        pyro.delete_workspace(&id).await.unwrap();
    });
    fs::remove_file(root.join("target/socket")).unwrap();
    for unreadable in ["secret", "locked"] {
        fs::set_permissions(root.join(unreadable), Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn a_workspace_of_a_repository_is_a_clean_clone_and_a_seed_path_goes_first() {
    let home = SUITE.with(DEBIAN);
    let pyro = sdk::of(&home);
    let root = directory(&home, "project").canonicalize().unwrap();
    checkout(&root);
    let commit = git(&root, &["rev-parse", "HEAD"]);
    let (commit, url) = (commit.trim(), format!("file://{}", root.display()));
    let (repo_url, repo_ref) = (Some(url.clone()), Some("main".to_owned()));
    let options = ProjectOptions { repo_url, repo_ref, ..ProjectOptions::default() };
    block_on(async {
        let status = create(&pyro, &options, Path::new("/")).await;
        let (id, seed) = (status.workspace_id, status.workspace_seed);
        assert_eq!(seed.origin_kind, "repo_url");
        assert_eq!(seed.origin_ref, Some(format!("{url}#main")));
        assert_eq!(seed.origin_commit.as_deref(), Some(commit));
        assert_eq!(seed.seed_path, None);
        assert_eq!(
            sh(&pyro, &id, "cat src/main.rs; ls -A").await,
            "fn main() {}\n.gitignore\ngone\noutside\nrun.sh\nsrc\nwith space\nand line\n"
        );
        assert!(!home.state().join("clones").read_dir().unwrap().any(|entry| entry.unwrap().path().is_dir()));
        pyro.delete_workspace(&id).await.unwrap();

        let project = Project::resolve(&options, Path::new("/")).await.unwrap();
        let seed_path = Some(root.join("target"));
        let request = CreateWorkspace { project, seed_path, ..CreateWorkspace::new(DEBIAN) };
        let status = pyro.create_workspace(request).await.unwrap();
        assert_eq!(status.workspace_seed.origin_kind, "manual_seed_path");
        assert_eq!(status.workspace_seed.origin_commit, None);
        assert_eq!(sh(&pyro, &status.workspace_id, NAMES).await, "debug/generated\u{1}");
        pyro.delete_workspace(&status.workspace_id).await.unwrap();
    });
    for unreadable in ["secret", "locked"] {
        fs::set_permissions(root.join(unreadable), Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn a_project_that_cannot_be_taken_leaves_no_workspace() {
    let home = SUITE.with(DEBIAN);
    let pyro = sdk::of(&home);
    let root = directory(&home, "empty").canonicalize().unwrap();
    git(&root, &["init", "--quiet", "."]);
    block_on(async {
        let project = Project::resolve(&ProjectOptions::default(), &root).await.unwrap();
        let request = CreateWorkspace { project, ..CreateWorkspace::new(DEBIAN) };
        let error = pyro.create_workspace(request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("--no-project-source")), "{error}");
        assert_eq!(pyro.list_workspaces().await.unwrap().count, 0);
    });
}
