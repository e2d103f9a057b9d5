//! What the user may not read, as an ordinary user: for the administrator there is nothing of that kind.

use super::support::{Repo, diagnosed};
use crate::project::{ProjectError, checkout};
use crate::testing::block_on;
use pyro_protocol::error::Diagnostic;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Says to this test where its repositories are, when it runs once more as another user.
const PREPARED: &str = "PYRO_TEST_UNREADABLE";
const THIS: &str = "project::tests::unreadable::an_unreadable_file_matters_only_where_it_is_tracked";
/// Whoever that is, it is not the administrator.
const NOBODY: u32 = 65_534;

#[test]
fn an_unreadable_file_matters_only_where_it_is_tracked() {
    if let Some(prepared) = std::env::var_os(PREPARED) {
        return look(Path::new(&prepared));
    }
    let ignored = Repo::with(&["a", ".gitignore"]);
    ignored.write(".gitignore", "secret\nlocked\n");
    ignored.commit();
    ignored.write("secret", "");
    ignored.write("locked/in", "");
    let tracked = Repo::with(&["a", "b", "dir/c"]);
    for path in [ignored.path("secret"), ignored.path("locked"), tracked.path("b"), tracked.path("dir")] {
        fs::set_permissions(path, Permissions::from_mode(0o000)).unwrap();
    }
    let place = tempfile::tempdir().unwrap();
    for (name, repo) in [("ignored", &ignored), ("tracked", &tracked)] {
        fs::rename(&repo.root, place.path().join(name)).unwrap();
    }
    if rustix::process::geteuid().is_root() {
        look_as_nobody(place.path());
    } else {
        look(place.path());
    }
    for path in ["ignored/locked", "tracked/dir"] {
        fs::set_permissions(place.path().join(path), Permissions::from_mode(0o700)).unwrap();
    }
}

fn look_as_nobody(place: &Path) {
    // The place of this program may not be open to others.
    let program = place.join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(place, Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    give_away(place);
    let arguments = ["--exact", THIS, "--nocapture"].map(OsString::from);
    let mut command = Command::new(program);
    command.args(arguments).env(PREPARED, place).env("HOME", place).current_dir(place);
    let output = command.uid(NOBODY).gid(NOBODY).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{said}");
}

fn give_away(path: &Path) {
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.symlink_metadata().unwrap().is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give_away(&entry.unwrap().path());
        }
    }
}

/// What an ordinary user sees.
fn look(place: &Path) {
    let place = place.canonicalize().unwrap();
    let (ignored, tracked) = (place.join("ignored"), place.join("tracked"));
    let listed = block_on(checkout::list(&ignored)).unwrap();
    assert_eq!(listed.names, [".gitignore", "a"].map(PathBuf::from));
    assert!(diagnosed(&ignored).ready);
    let report = diagnosed(&tracked);
    assert_eq!(report.skipped.unreadable_paths, ["b", "dir/c"], "{report:?}");
    let listed = block_on(checkout::list(&tracked)).unwrap();
    let error = listed.check(&tracked).unwrap_err();
    assert!(matches!(error, ProjectError::Unreadable { count: 2, .. }), "{error:?}");
    assert_eq!(error.to_string(), "b is tracked by Git and cannot be read, nor can 1 more");
    assert!(error.hint().is_some_and(|hint| hint.contains("--repo-url")));
    assert_eq!(report.problem, Some(error.to_string()));
}
