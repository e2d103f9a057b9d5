//! Clean clones.

use super::support::{Repo, git};
use crate::project::{Project, ProjectError, RepoRef, RepoUrl};
use crate::testing::{block_on, sdk};
use crate::{Pyro, PyroError};
use pyro_protocol::error::{Diagnostic, chain};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

fn url(address: &str) -> RepoUrl {
    RepoUrl::parse(address, Path::new("/")).unwrap()
}

/// Names beneath a directory, and the content of those that are files.
fn files(directory: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        found.push((name, fs::read_to_string(entry.path()).unwrap_or_default()));
    }
    found.sort_unstable();
    found
}

/// Clones that are there.
fn left(pyro: &Pyro) -> Vec<PathBuf> {
    let entries = fs::read_dir(pyro.clones()).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

fn project_error(error: PyroError) -> ProjectError {
    match error {
        PyroError::Project(error) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_named_is_cloned_and_removed_again() {
    let repo = Repo::with(&["a"]);
    let first = repo.git(&["rev-parse", "HEAD"]);
    repo.git(&["tag", "--annotate", "v1", "--message", "a tag"]);
    repo.write("a", "second");
    let second = repo.commit();
    repo.git(&["checkout", "--quiet", "-b", "feature/x"]);
    repo.write("a", "third");
    let third = repo.commit();
    repo.git(&["checkout", "--quiet", "main"]);
    // What is not committed is in no clone, and a branch may be called as a commit could be.
    repo.write("a", "uncommitted");
    repo.git(&["branch", "cafe", &first]);
    let home = tempfile::tempdir().unwrap();
    let pyro = sdk(home.path());
    let cases = [
        (None, &second, "second"),
        (Some("main"), &second, "second"),
        (Some("refs/heads/main"), &second, "second"),
        (Some("feature/x"), &third, "third"),
        (Some("v1"), &first, "a"),
        (Some("cafe"), &first, "a"),
        (Some(first.as_str()), &first, "a"),
        (Some(&second[..10]), &second, "second"),
    ];
    let path = repo.root.display().to_string();
    for address in [path.clone(), format!("file://{path}")] {
        for (reference, commit, content) in cases {
            let reference = reference.map(|reference| RepoRef::parse(reference).unwrap());
            let clone = block_on(pyro.clone_project(&url(&address), reference.as_ref())).unwrap();
            assert_eq!(&clone.commit, commit, "{reference:?}");
            assert_eq!(files(&clone.tree()), [("a".to_owned(), content.to_owned())], "{reference:?}");
            assert_eq!(left(&pyro).len(), 1);
        }
        assert!(left(&pyro).is_empty());
    }
    assert_eq!(repo.git(&["status", "--porcelain"]), " M a", "the original is as it was");
}

#[test]
fn what_cannot_be_cloned_is_told_apart() {
    let (repo, empty) = (Repo::with(&["a"]), Repo::empty());
    let home = tempfile::tempdir().unwrap();
    let pyro = sdk(home.path());
    let clone = |address: &Path, reference: Option<&str>| {
        let reference = reference.map(|reference| RepoRef::parse(reference).unwrap());
        let cloned = block_on(pyro.clone_project(&url(&address.display().to_string()), reference.as_ref()));
        let error = project_error(cloned.err().unwrap());
        assert!(error.hint().is_some(), "{error}");
        error
    };
    let missing = clone(&repo.root, Some("nope"));
    assert!(matches!(missing, ProjectError::NoReference { .. }), "{missing:?}");
    let missing = clone(&repo.root, Some("0123456789"));
    assert!(matches!(missing, ProjectError::NoReference { .. }), "{missing:?}");
    let missing = clone(&repo.root, Some(&"0123456789".repeat(4)));
    assert!(matches!(missing, ProjectError::NoReference { .. }), "{missing:?}");
    let nothing = clone(&empty.root, None);
    assert!(matches!(nothing, ProjectError::EmptyRepository { .. }), "{nothing:?}");
    let none = clone(&repo.beside("nothing"), None);
    assert!(matches!(none, ProjectError::NotCloned { .. }), "{none:?}");
    let project =
        Project::Repository { url: url(&repo.beside("nothing").display().to_string()), reference: None };
    let report = block_on(project.diagnose());
    assert!(!report.ready && report.way_out.is_some(), "{report:?}");
    assert!(left(&pyro).is_empty());
}

#[test]
fn submodules_are_empty_and_links_are_links() {
    let (repo, sub) = (Repo::with(&["a"]), Repo::with(&["s"]));
    repo.git(&["submodule", "--quiet", "add", sub.root.to_str().unwrap(), "sub"]);
    std::os::unix::fs::symlink("/etc/passwd", repo.path("out")).unwrap();
    repo.commit();
    let home = tempfile::tempdir().unwrap();
    let pyro = sdk(home.path());
    let project = Project::Repository { url: url(repo.root.to_str().unwrap()), reference: None };
    let source = block_on(pyro.open_project(&project)).unwrap().unwrap();
    let tree = source.clone.as_ref().unwrap().tree();
    assert!(tree.join("out").is_symlink());
    assert_eq!(fs::read_dir(tree.join("sub")).unwrap().count(), 0);
    assert!(!tree.join(".git").exists());
    assert_eq!(source.origin_ref, repo.root.to_str().unwrap());
    assert_eq!(source.commit, Some(repo.git(&["rev-parse", "HEAD"])));
    let report = block_on(project.diagnose());
    assert!(report.ready && report.describe().contains("without submodules"), "{report:?}");
}

#[test]
fn what_a_killed_process_left_is_swept() {
    let home = tempfile::tempdir().unwrap();
    let pyro = sdk(home.path());
    let dead = pyro.clones().join("vm-dead");
    fs::create_dir_all(dead.join("tree")).unwrap();
    block_on(pyro.sweep()).unwrap();
    assert!(!dead.exists());
}

#[test]
fn a_clone_that_is_given_up_leaves_nothing() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = url(&format!("git://{}/a", server.local_addr().unwrap()));
    let home = tempfile::tempdir().unwrap();
    let pyro = sdk(home.path());
    let connected = std::thread::spawn(move || {
        let (connection, _) = server.accept().unwrap();
        // It says nothing, and sees the other end close.
        connection.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut line = Vec::new();
        BufReader::new(connection).read_until(b'!', &mut line).unwrap();
    });
    let given_up = block_on(async {
        let cloning = pyro.clone_project(&address, None);
        tokio::time::timeout(Duration::from_secs(2), cloning).await.is_err()
    });
    assert!(given_up);
    assert!(left(&pyro).is_empty());
    connected.join().unwrap();
}

#[test]
fn credentials_are_given_to_their_host_and_shown_to_nobody() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let (sender, asked) = mpsc::channel();
    std::thread::spawn(move || {
        for connection in server.incoming() {
            let mut reader = BufReader::new(connection.unwrap());
            let lines: Vec<String> =
                reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            let given =
                lines.iter().find(|line| line.to_ascii_lowercase().starts_with("authorization:")).cloned();
            let status = if given.is_some() { "403 Forbidden" } else { "401 Unauthorized" };
            let head =
                "WWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            write!(reader.get_mut(), "HTTP/1.1 {status}\r\n{head}").unwrap();
            sender.send(given).unwrap();
        }
    });
    let home = tempfile::tempdir().unwrap();
    let pyro = sdk(&home.path().join("it's a home"));
    let project =
        Project::Repository { url: url(&format!("http://user:p%40ss@{address}/a")), reference: None };
    let error = block_on(pyro.open_project(&project)).err().unwrap();
    let shown = format!("{} {:?} {error:?} {:?}", chain(&error), error.hint(), block_on(project.diagnose()));
    assert!(!shown.contains("p%40ss") && !shown.contains("p@ss") && !shown.contains("user:"), "{shown}");
    assert!(shown.contains(&address.to_string()), "{shown}");
    let given: Vec<Option<String>> = asked.try_iter().collect();
    // `user:p@ss`
    assert!(given.iter().flatten().any(|line| line.ends_with("Basic dXNlcjpwQHNz")), "{given:?}");
    assert!(left(&pyro).is_empty());
}

#[test]
fn what_is_cloned_is_shallow() {
    let repo = Repo::with(&["a"]);
    repo.write("b", "");
    repo.commit();
    let home = tempfile::tempdir().unwrap();
    let pyro = sdk(home.path());
    let clone = block_on(pyro.clone_project(&url(repo.root.to_str().unwrap()), None)).unwrap();
    let repository = clone.tree().join("../git");
    assert_eq!(git(&repository, &["--git-dir=.", "rev-list", "--count", "--all"]), "1");
}
