//! What is said about the source, and where it is looked for.

use super::support::{Repo, found_root};
use crate::project::{Project, ProjectError, ProjectOptions, RepoRef, RepoUrl};
use crate::testing::block_on;
use pyro_protocol::error::{Diagnostic, ErrorKind};
use std::fs;
use std::path::Path;

fn resolve(options: &ProjectOptions, cwd: &Path) -> Result<Project, ProjectError> {
    block_on(Project::resolve(options, cwd))
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let repo = Repo::with(&["a"]);
    let options = |path: bool, url: bool, reference: bool, none: bool| ProjectOptions {
        project_path: path.then(|| repo.root.clone()),
        repo_url: url.then(|| "https://example.org/a".to_owned()),
        repo_ref: reference.then(|| "main".to_owned()),
        no_project_source: none,
    };
    for given in [
        (true, true, false, false),
        (true, false, true, false),
        (true, false, false, true),
        (false, true, false, true),
        (false, false, true, false),
        (false, false, true, true),
        (true, true, true, true),
    ] {
        let (path, url, reference, none) = given;
        let error = resolve(&options(path, url, reference, none), &repo.root).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{given:?}: {error}");
        assert!(error.hint().is_some() && error.to_string().contains("--"), "{given:?}: {error}");
    }
    let none = resolve(&options(false, false, false, true), &repo.root).unwrap();
    assert_eq!(none, Project::None, "wherever it was started");
    let cloned = resolve(&options(false, true, true, false), &repo.root).unwrap();
    assert!(matches!(cloned, Project::Repository { reference: Some(_), .. }), "{cloned:?}");
}

#[test]
fn a_checkout_is_found_from_anywhere_in_it() {
    let repo = Repo::with(&["deep/er/file"]);
    assert_eq!(found_root(&repo.root).as_ref(), Some(&repo.root));
    assert_eq!(found_root(&repo.path("deep/er")).as_ref(), Some(&repo.root));
    assert_eq!(found_root(&repo.path(".git/refs")).as_ref(), Some(&repo.root));
    let link = repo.beside("link");
    std::os::unix::fs::symlink(repo.path("deep"), &link).unwrap();
    assert_eq!(found_root(&link).as_ref(), Some(&repo.root), "by what the directory is");
    assert_eq!(found_root(&repo.beside("")), None);
    assert_eq!(found_root(&repo.beside("gone")), None);
}

#[test]
fn worktrees_and_submodules_are_checkouts_of_their_own() {
    let (repo, other) = (Repo::with(&["a"]), Repo::with(&["b"]));
    let tree = repo.beside("tree");
    repo.git(&["worktree", "add", "--quiet", "-b", "side", tree.to_str().unwrap()]);
    assert!(tree.join(".git").is_file());
    assert_eq!(found_root(&tree), Some(tree));
    repo.git(&["submodule", "--quiet", "add", other.root.to_str().unwrap(), "sub"]);
    assert!(repo.path("sub/.git").is_file());
    assert_eq!(found_root(&repo.path("sub")), Some(repo.path("sub")));
    let apart = Repo::plain();
    apart.git(&["init", "--quiet", "--separate-git-dir", apart.beside("kept").to_str().unwrap(), "."]);
    assert_eq!(found_root(&apart.root), Some(apart.root.clone()));
}

#[test]
fn what_only_looks_like_a_checkout_is_none() {
    let outer = Repo::with(&["a"]);
    outer.git(&["init", "--quiet", "--bare", "bare.git"]);
    assert_eq!(found_root(&outer.path("bare.git")), Some(outer.root.clone()), "a bare repository is data");
    let bare = Repo::plain();
    bare.git(&["init", "--quiet", "--bare", "."]);
    assert_eq!(found_root(&bare.root), None);
    let hub = Repo::plain();
    hub.git(&["init", "--quiet", "--bare", ".git"]);
    assert_eq!(found_root(&hub.root), None);
    // An empty `.git`, and one that Git takes for nothing.
    fs::create_dir_all(outer.path("empty/.git")).unwrap();
    assert_eq!(found_root(&outer.path("empty")), Some(outer.root.clone()));
    outer.write("odd/.git/HEAD", "nonsense");
    assert_eq!(found_root(&outer.path("odd")), Some(outer.root.clone()));
}

#[test]
fn a_path_that_is_named_must_be_in_a_checkout() {
    let repo = Repo::with(&["in/file"]);
    let named = |path: &Path, cwd: &Path| {
        let options = ProjectOptions { project_path: Some(path.to_owned()), ..ProjectOptions::default() };
        resolve(&options, cwd)
    };
    let expected = Project::Checkout { root: repo.root.clone(), is_detected: false };
    assert_eq!(named(&repo.path("in"), Path::new("/")).unwrap(), expected);
    assert_eq!(named(Path::new("root/in"), &repo.beside("")).unwrap(), expected, "relative to the directory");
    for (path, kind) in [
        (repo.beside(""), ErrorKind::InvalidInput),
        (repo.path("absent"), ErrorKind::NotFound),
        (repo.path("in/file"), ErrorKind::InvalidInput),
    ] {
        let error = named(&path, Path::new("/")).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("--project-path")), "{error}");
    }
}

#[test]
fn addresses_are_checked_and_never_show_a_password() {
    let accepted = [
        ("https://example.org/a.git", "https://example.org/a.git"),
        ("HTTPS://user:s3cret@example.org:8443/a", "https://example.org:8443/a"),
        ("http://t0ken@example.org/a", "http://example.org/a"),
        ("https://us@er:s3cret@example.org/a", "https://example.org/a"),
        ("ssh://git@example.org:22/a", "ssh://git@example.org:22/a"),
        ("git://example.org/a", "git://example.org/a"),
        ("git@example.org:group/a.git", "git@example.org:group/a.git"),
        ("file:///srv/a", "file:///srv/a"),
        ("/srv/a", "/srv/a"),
        ("a/b", "/here/a/b"),
        ("./a:b", "/here/./a:b"),
    ];
    for (given, shown) in accepted {
        let url = RepoUrl::parse(given, Path::new("/here")).unwrap();
        assert_eq!(url.to_string(), shown, "{given}");
        assert!(!format!("{url:?}").contains("s3cret") && !format!("{url:?}").contains("t0ken"), "{url:?}");
    }
    let refused = [
        "",
        "-c",
        "--upload-pack=touch x",
        "ext::sh -c touch% x",
        "ext::sh -c 'a://b'",
        "fd::17/foo",
        "ftp://example.org/a",
        "ext://example.org",
        "https:///a",
        "https://-oProxyCommand=x/a",
        "ssh://-oProxyCommand=x/a",
        "ssh://-o@example.org/a",
        "ssh://git:s3cret@example.org/a",
        "user@-oProxyCommand=x:a",
        "host:-x",
        "host:",
        "file://host/a",
        "https://example.org/a?token=s3cret",
        "https://example.org/a#main",
        "https://example.org/a\nb",
    ];
    for given in refused {
        let error = RepoUrl::parse(given, Path::new("/here")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{given}");
        assert!(!format!("{error:?} {error}").contains("s3cret"), "{error}");
    }
}

#[test]
fn references_are_checked() {
    for given in ["main", "v1.0", "feature/a-b", "refs/tags/v1", "0123abcd", "HEAD", "größe"] {
        assert_eq!(RepoRef::parse(given).unwrap().as_str(), given);
    }
    let long = "a".repeat(600);
    let refused = [
        "", "-x", "+main", "a:b", "a..b", "a b", "a\nb", "a^", "a~1", "a*", "a?", "a[", "a\\b", "@{u}", "/a",
        "a/", "a//b", "a.", "a.lock", &long,
    ];
    for given in refused {
        let error = RepoRef::parse(given).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{given}");
        assert!(error.to_string().len() < 200, "{error}");
    }
}
