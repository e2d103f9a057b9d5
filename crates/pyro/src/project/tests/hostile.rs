//! Repositories whose configuration, attributes or index are an attack on whoever looks at them.

use super::support::{Repo, Trap, diagnosed, found, try_git};
use crate::project::{Project, ProjectError, RepoUrl, checkout};
use crate::testing::{block_on, sdk};
use pyro_protocol::error::{Diagnostic, ErrorKind};
use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::Path;

/// Everything that a repository could have run.
fn arm(repo: &Repo, trap: &Trap) {
    let script = trap.text();
    let hooks = repo.beside("hooks");
    fs::create_dir(&hooks).unwrap();
    let names =
        ["post-checkout", "post-index-change", "reference-transaction", "pre-auto-gc", "fsmonitor-watchman"];
    for name in names {
        symlink(&trap.script, hooks.join(name)).unwrap();
        let _sample = fs::remove_file(repo.path(".git/hooks").join(name));
        fs::create_dir_all(repo.path(".git/hooks")).unwrap();
        symlink(&trap.script, repo.path(".git/hooks").join(name)).unwrap();
    }
    let shell = format!("!{script}");
    let remote = format!("ext::{script}");
    let settings: [(&str, &str); 24] = [
        ("core.fsmonitor", script),
        ("core.hooksPath", hooks.to_str().unwrap()),
        ("core.sshCommand", script),
        ("core.gitProxy", script),
        ("core.askPass", script),
        ("core.pager", script),
        ("core.editor", script),
        ("core.alternateRefsCommand", script),
        ("pager.ls-files", script),
        ("credential.helper", &shell),
        ("diff.external", script),
        ("filter.evil.clean", script),
        ("filter.evil.smudge", script),
        ("filter.evil.process", script),
        ("filter.evil.required", "true"),
        ("gpg.program", script),
        ("alias.ls-files", &shell),
        ("alias.rev-parse", &shell),
        ("uploadpack.packObjectsHook", script),
        ("protocol.ext.allow", "always"),
        ("protocol.allow", "always"),
        ("remote.origin.url", &remote),
        ("remote.origin.promisor", "true"),
        ("remote.origin.uploadpack", script),
    ];
    for (name, value) in settings {
        repo.git(&["-c", "core.fsmonitor=", "-c", "core.hooksPath=/dev/null", "config", name, value]);
    }
    repo.git(&["-c", "core.fsmonitor=", "config", "core.repositoryFormatVersion", "1"]);
    repo.git(&["-c", "core.fsmonitor=", "config", "extensions.partialClone", "origin"]);
}

#[test]
fn nothing_of_a_repository_is_executed() {
    let repo = Repo::with(&["a", "dir/b"]);
    repo.write(".gitattributes", "* filter=evil diff=evil\n");
    repo.commit();
    repo.git(&["sparse-checkout", "set", "--cone", "--sparse-index"]);
    let trap = repo.trap();
    arm(&repo, &trap);
    repo.write("a", "changed, so that its content would be looked at");
    let _sprung = try_git(&repo.root, &["status"]);
    assert!(trap.sprung().is_some(), "the trap works");

    assert_eq!(found(&repo.root), Project::Checkout { root: repo.root.clone(), is_detected: true });
    let report = diagnosed(&repo.root);
    assert!(report.ready && report.tracked_files == Some(3), "{report:?}");
    assert_eq!(trap.sprung(), None, "a checkout");

    let home = tempfile::tempdir().unwrap();
    let pyro = sdk(home.path());
    for address in [repo.root.display().to_string(), format!("file://{}", repo.root.display())] {
        let url = RepoUrl::parse(&address, Path::new("/")).unwrap();
        let clone = block_on(pyro.clone_project(&url, None)).unwrap();
        assert_eq!(fs::read_to_string(clone.tree().join("a")).unwrap(), "a", "as committed");
        assert_eq!(trap.sprung(), None, "a clone of {address}");
    }
}

/// Were it lazily fetched, its remote would be a program.
#[test]
fn what_a_partial_repository_lacks_is_not_fetched() {
    let repo = Repo::with(&["a", "dir/b"]);
    repo.git(&["sparse-checkout", "set", "--cone", "--sparse-index"]);
    let trap = repo.trap();
    arm(&repo, &trap);
    let tree = try_git(&repo.root, &["-c", "core.fsmonitor=", "rev-parse", "HEAD:dir"]);
    let id = String::from_utf8(tree.stdout).unwrap();
    let (folder, name) = id.trim().split_at(2);
    fs::remove_file(repo.path(".git/objects").join(folder).join(name)).unwrap();
    let _tried = try_git(&repo.root, &["-c", "core.fsmonitor=", "ls-files"]);
    assert!(trap.sprung().is_some(), "the trap works");
    let report = diagnosed(&repo.root);
    assert!(report.ready || report.way_out.is_some(), "{report:?}");
    assert_eq!(trap.sprung(), None);
}

/// Files of the user's that a repository declares to be its own.
#[test]
fn a_working_tree_that_is_elsewhere_is_not_followed() {
    for elsewhere in ["..", "../secrets", "/", "/etc"] {
        let repo = Repo::with(&["a"]);
        fs::create_dir(repo.beside("secrets")).unwrap();
        fs::write(repo.beside("secrets/a"), "secret").unwrap();
        repo.git(&["config", "core.worktree", &repo.root.join(elsewhere).display().to_string()]);
        let project = found(&repo.root);
        assert_eq!(project, Project::Checkout { root: repo.root.clone(), is_detected: true }, "{elsewhere}");
        let report = block_on(project.diagnose());
        assert!(
            report.problem.as_deref().is_some_and(|problem| problem.contains("somewhere else")),
            "{report:?}"
        );
    }
}

/// The same by way of what stands for a submodule.
#[test]
fn a_submodule_has_only_files_of_its_own_directory() {
    let (repo, other) = (Repo::with(&["a"]), Repo::with(&["private", "s"]));
    repo.git(&["submodule", "--quiet", "add", other.root.to_str().unwrap(), "sub"]);
    repo.commit();
    fs::remove_file(repo.path("sub/private")).unwrap();
    fs::write(repo.path("sub/.git"), format!("gitdir: {}/.git\n", other.root.display())).unwrap();
    let listed = block_on(checkout::list(&repo.root)).unwrap();
    assert!(listed.names.iter().all(|name| repo.root.join(name).exists()), "{:?}", listed.names);
    assert_eq!(listed.missing, 1, "a name that is only there, in the other");
    let module = repo.path(".git/modules/sub/config");
    fs::write(repo.path("sub/.git"), "gitdir: ../.git/modules/sub\n").unwrap();
    let config = fs::read_to_string(&module).unwrap();
    fs::write(&module, config.replace("worktree = ", &format!("worktree = {} #", other.root.display())))
        .unwrap();
    let error = block_on(checkout::list(&repo.root)).unwrap_err();
    assert!(matches!(error, ProjectError::Elsewhere { .. }), "{error}");
}

#[test]
fn names_that_git_does_not_track_are_refused() {
    for name in [".git/config", "sub/.git/config"] {
        let repo = Repo::with(&["a"]);
        // As long as the name that it takes the place of.
        let stand_in = name.replace(".git", "Xgit");
        repo.write(&stand_in, "");
        repo.commit();
        let mut index = fs::read(repo.path(".git/index")).unwrap();
        let place = index.windows(stand_in.len()).position(|part| part == stand_in.as_bytes()).unwrap();
        index[place..place + name.len()].copy_from_slice(name.as_bytes());
        // No checksum: Git takes zeros for that.
        let end = index.len();
        index[end - 20..].fill(0);
        fs::write(repo.path(".git/index"), index).unwrap();
        let error = block_on(checkout::list(&repo.root)).unwrap_err();
        let is_refused = matches!(
            error,
            ProjectError::UnsafeName { .. } | ProjectError::BadIndex { .. } | ProjectError::Git { .. }
        );
        assert!(is_refused, "{name}: {error:?}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn the_repository_of_another_user_is_left_to_its_owner() {
    let repo = Repo::with(&["a"]);
    if chown(&repo.root, Some(65_534), None)
        .and_then(|()| chown(repo.path(".git"), Some(65_534), None))
        .is_err()
    {
        // Only the administrator can make it so.
        return;
    }
    let project = found(&repo.root);
    let home = tempfile::tempdir().unwrap();
    let error = block_on(sdk(home.path()).open_project(&project)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    let hint = error.hint().unwrap();
    assert!(hint.contains("safe.directory") && hint.contains(repo.root.to_str().unwrap()), "{hint}");
    let project = Project::Repository {
        url: RepoUrl::parse(repo.root.to_str().unwrap(), Path::new("/")).unwrap(),
        reference: None,
    };
    let error = block_on(sdk(home.path()).open_project(&project)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
}
