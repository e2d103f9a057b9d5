//! What is taken of a checkout.

use super::support::{Repo, diagnosed, found, tracked_by_git};
use crate::project::{Project, ProjectReport, checkout};
use crate::testing::{block_on, sdk};
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Instant;

/// Names to be taken, and counts of what is not: missing, replaced, submodules.
type Expected = (&'static [&'static str], [u64; 3]);

/// A name, what is done to a repository, and what is taken of it then.
type Case = (&'static str, fn(&Repo), Expected);

/// What is taken of a repository.
fn taken(repo: &Repo) -> Vec<PathBuf> {
    block_on(checkout::list(&repo.root)).unwrap().names
}

#[track_caller]
fn expect(name: &str, repo: &Repo, (names, counts): Expected) -> ProjectReport {
    let names: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
    assert_eq!(taken(repo), names, "{name}");
    let report = diagnosed(&repo.root);
    let skipped = &report.skipped;
    assert_eq!([skipped.missing, skipped.replaced, skipped.submodules], counts, "{name}");
    assert!(report.ready && report.problem.is_none(), "{name}: {report:?}");
    report
}

#[test]
fn tracked_files_are_taken_and_nothing_else() {
    let cases: [Case; 12] = [
        ("as committed", |_| {}, (&["a", "dir/b"], [0, 0, 0])),
        ("modified", |repo| repo.write("a", "changed"), (&["a", "dir/b"], [0, 0, 0])),
        ("deleted", |repo| fs::remove_file(repo.path("a")).unwrap(), (&["dir/b"], [1, 0, 0])),
        (
            "untracked, ignored and added",
            |repo| {
                repo.write(".gitignore", "ignored\n*.o\n");
                repo.write("ignored/x", "");
                repo.write("dir/x.o", "");
                repo.write("untracked", "");
                repo.write("added", "");
                repo.git(&["add", ".gitignore", "added"]);
            },
            (&[".gitignore", "a", "added", "dir/b"], [0, 0, 0]),
        ),
        (
            "tracked although ignored",
            |repo| {
                repo.write(".git/info/exclude", "*\n");
                repo.write("kept", "");
                repo.git(&["add", "--force", "kept"]);
            },
            (&["a", "dir/b", "kept"], [0, 0, 0]),
        ),
        (
            "intended to be added",
            |repo| {
                repo.write("soon", "not in any object");
                repo.git(&["add", "--intent-to-add", "soon"]);
            },
            (&["a", "dir/b", "soon"], [0, 0, 0]),
        ),
        (
            "a sparse checkout",
            |repo| {
                repo.git(&["sparse-checkout", "set", "--cone"]);
            },
            (&["a"], [1, 0, 0]),
        ),
        (
            "a sparse index",
            |repo| {
                repo.git(&["sparse-checkout", "set", "--cone", "--sparse-index"]);
            },
            (&["a"], [1, 0, 0]),
        ),
        (
            "marked in the index",
            |repo| {
                repo.git(&["update-index", "--assume-unchanged", "a"]);
                repo.git(&["update-index", "--skip-worktree", "dir/b"]);
                repo.write("a", "changed");
            },
            (&["a", "dir/b"], [0, 0, 0]),
        ),
        (
            "other forms of the index",
            |repo| {
                repo.git(&["update-index", "--index-version=4", "--split-index", "--untracked-cache"]);
                repo.write("c", "");
                repo.git(&["add", "c"]);
            },
            (&["a", "c", "dir/b"], [0, 0, 0]),
        ),
        ("a locked index", |repo| repo.write(".git/index.lock", ""), (&["a", "dir/b"], [0, 0, 0])),
        (
            "replaced by something else",
            |repo| {
                fs::remove_file(repo.path("a")).unwrap();
                fs::create_dir(repo.path("a")).unwrap();
                repo.write("a/untracked", "");
            },
            (&["dir/b"], [0, 1, 0]),
        ),
    ];
    for (name, change, expected) in cases {
        let repo = Repo::with(&["a", "dir/b"]);
        change(&repo);
        expect(name, &repo, expected);
    }
}

#[test]
fn what_is_no_file_is_left_out() {
    let repo = Repo::with(&["a", "dir/b", "fifo", "socket"]);
    for name in ["fifo", "socket"] {
        fs::remove_file(repo.path(name)).unwrap();
    }
    rustix::fs::mknodat(rustix::fs::CWD, repo.path("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    let _listener = UnixListener::bind(repo.path("socket")).unwrap();
    // A directory that became a link: what is behind it is not what Git tracks.
    fs::rename(repo.path("dir"), repo.path("moved")).unwrap();
    symlink("moved", repo.path("dir")).unwrap();
    expect("no files", &repo, (&["a"], [1, 2, 0]));
}

#[test]
fn any_name_is_taken_as_it_is() {
    let repo = Repo::empty();
    let names: [&[u8]; 8] = [
        b" leading",
        b"-dash",
        b"Case",
        b"case",
        b"new\nline",
        b"quo\"te",
        b"tab\there",
        b"\xff\xfe not utf-8",
    ];
    for name in names {
        repo.write(OsStr::from_bytes(name), "x");
    }
    repo.write("run", "");
    fs::set_permissions(repo.path("run"), Permissions::from_mode(0o755)).unwrap();
    symlink("/etc/passwd", repo.path("out")).unwrap();
    symlink("nowhere", repo.path("dangling")).unwrap();
    repo.commit();
    assert_eq!(taken(&repo), tracked_by_git(&repo.root));
    assert_eq!(taken(&repo).len(), names.len() + 3);
}

#[test]
fn unmerged_names_are_taken_once() {
    let repo = Repo::with(&["a", "b"]);
    repo.git(&["checkout", "--quiet", "-b", "side"]);
    repo.write("a", "side");
    repo.commit();
    repo.git(&["checkout", "--quiet", "main"]);
    repo.write("a", "main");
    repo.commit();
    let merged = super::support::try_git(&repo.root, &["merge", "side"]);
    assert!(!merged.status.success());
    let report = expect("unmerged", &repo, (&["a", "b"], [0, 0, 0]));
    assert_eq!(report.tracked_files, Some(2));
}

#[test]
fn submodules_come_along_as_far_as_they_are_checked_out() {
    let (inner, sub) = (Repo::with(&["deepest"]), Repo::with(&["s", "kept/t"]));
    sub.git(&["submodule", "--quiet", "add", inner.root.to_str().unwrap(), "inner"]);
    sub.commit();
    let repo = Repo::with(&["a"]);
    for name in ["full", "flat", "gone"] {
        repo.git(&["submodule", "--quiet", "add", sub.root.to_str().unwrap(), name]);
    }
    repo.commit();
    repo.git(&["submodule", "--quiet", "update", "--init", "--recursive", "full"]);
    repo.write("full/untracked", "");
    repo.git(&["submodule", "--quiet", "deinit", "gone"]);
    let expected: &[&str] = &[
        ".gitmodules",
        "a",
        "flat/.gitmodules",
        "flat/kept/t",
        "flat/s",
        "full/.gitmodules",
        "full/inner/deepest",
        "full/kept/t",
        "full/s",
        "flat",
        "flat/inner",
        "full",
        "full/inner",
        "gone",
    ];
    let report = expect("submodules", &repo, (expected, [0, 0, 2]));
    assert_eq!(report.skipped.submodule_paths, ["flat/inner", "gone"]);
    assert_eq!(report.tracked_files, Some(9));
    assert!(report.describe().contains("2 submodules not checked out"), "{}", report.describe());
    // The place of one that is a link, or a file, has nothing of what it was.
    fs::remove_dir_all(repo.path("full")).unwrap();
    symlink("flat", repo.path("full")).unwrap();
    assert!(!taken(&repo).iter().any(|name| name.starts_with("full")), "{:?}", taken(&repo));
}

#[test]
fn a_checkout_with_nothing_to_take_is_told_apart() {
    let empty = Repo::empty();
    empty.write("untracked", "");
    let deleted = Repo::with(&["a"]);
    fs::remove_file(deleted.path("a")).unwrap();
    for (repo, tracked, says) in [(&empty, 0, "Git tracks none"), (&deleted, 1, "none of them is there")] {
        let report = diagnosed(&repo.root);
        assert_eq!((report.ready, report.tracked_files), (false, Some(tracked)));
        assert!(report.problem.as_deref().is_some_and(|problem| problem.contains(says)), "{report:?}");
        let way_out = report.way_out.unwrap();
        for flag in ["git add", "seed_path", "--project-path", "--repo-url", "--no-project-source"] {
            assert!(way_out.contains(flag), "{way_out}");
        }
    }
}

#[test]
fn what_git_cannot_read_is_a_problem_with_a_way_out() {
    let broken = Repo::with(&["a"]);
    fs::write(broken.path(".git/index"), "no index").unwrap();
    let future = Repo::with(&["a"]);
    future.git(&["config", "core.repositoryFormatVersion", "999"]);
    let lost = Repo::plain();
    lost.write(".git", "gitdir: /nowhere/at/all\n");
    for (repo, says) in [(&broken, "index"), (&future, "version"), (&lost, "not a git repository")] {
        let project = found(&repo.root);
        assert!(matches!(project, Project::Checkout { .. }), "it must not keep anything from starting");
        let report = block_on(project.diagnose());
        assert!(!report.ready && report.detected && report.tracked_files.is_none(), "{report:?}");
        assert!(report.problem.as_deref().is_some_and(|problem| problem.contains(says)), "{report:?}");
        assert!(report.way_out.as_deref().is_some_and(|way_out| way_out.contains("--no-project-source")));
        assert!(report.describe().contains("not ready"), "{}", report.describe());
        let home = tempfile::tempdir().unwrap();
        let opened = block_on(sdk(home.path()).open_project(&project));
        assert!(opened.is_err());
    }
}

/// Emits the time for a thousand small files.
#[test]
fn a_thousand_files_are_listed() {
    let repo = Repo::empty();
    for index in 0..1000 {
        repo.write(format!("src/{}/{index}.txt", index % 40), "a small file\n");
    }
    repo.commit();
    let begun = Instant::now();
    let listed = taken(&repo);
    println!("1000 files listed in {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
    assert_eq!(listed.len(), 1000);
    let report = diagnosed(&repo.root);
    let expected = format!("Git-tracked files of `{}` (as named), 1000 files", repo.root.display());
    assert_eq!(report.describe(), expected);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["kind"], "project_path");
    assert_eq!(json["ref"], serde_json::Value::Null);
    assert_eq!(json["skipped"]["missing"], 0);
}
