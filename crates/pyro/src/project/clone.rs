//! A clean clone of a repository, in a private directory, for as long as a workspace is being made of it.
//!
//! Nothing of the clone's own is ever executed: it is fetched into a repository that has no configuration but Git's defaults, by
//! the user's means of reaching and authenticating to other hosts; and its files are written without the user's
//! configuration, so that no filter is known whose attributes a tree could ask for. What has to be kept from lists of processes,
//! credentials, is in a file of that directory.

use super::address::Credentials;
use super::git::{self, Call, Reach, Said};
use super::{ProjectError, RepoRef, RepoUrl};
use crate::engine::blocking;
use crate::private_directory::PrivateDirectory;
use crate::vm::VmId;
use crate::{Pyro, PyroError};
use pyro_runtime::fs::FsError;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a clone may take.
const DEADLINE: Duration = Duration::from_mins(10);
/// Where what was asked for is kept.
const TARGET: &str = "refs/pyro/target";

/// A clone. Dropping it removes it.
pub(crate) struct ProjectClone {
    directory: PrivateDirectory,
    /// The commit that its files are of.
    pub(super) commit: String,
}

impl ProjectClone {
    /// The directory with its files, and nothing else.
    pub(super) fn tree(&self) -> PathBuf {
        tree(self.directory.path())
    }
}

fn tree(directory: &Path) -> PathBuf {
    directory.join("tree")
}

fn repository(directory: &Path) -> PathBuf {
    directory.join("git")
}

impl Pyro {
    /// Where clones are while they are used.
    pub(crate) fn clones(&self) -> PathBuf {
        self.dirs().state().join("clones")
    }

    /// Clones what `reference` names in the repository at `url`, without history where its server can, and without submodules.
    pub(super) async fn clone_project(
        &self,
        url: &RepoUrl,
        reference: Option<&RepoRef>,
    ) -> Result<ProjectClone, PyroError> {
        let (clones, name) = (self.clones(), VmId::random()?);
        let directory = blocking(move || {
            let directory = PrivateDirectory::create(&clones, name.as_str())?;
            let tree = tree(directory.path());
            fs::create_dir(&tree).map_err(FsError::on("create", &tree))?;
            Ok(directory)
        })
        .await?;
        let cloning = fill(directory.path(), url, reference);
        let commit = match tokio::time::timeout(DEADLINE, cloning).await {
            Ok(commit) => commit?,
            Err(_) => return Err(ProjectError::TimedOut { command: "fetch", deadline: DEADLINE }.into()),
        };
        Ok(ProjectClone { directory, commit })
    }
}

/// Makes the clone in `directory`; returns its commit.
async fn fill(directory: &Path, url: &RepoUrl, reference: Option<&RepoRef>) -> Result<String, PyroError> {
    let arguments = ["--quiet", "--template=", "--initial-branch=none"];
    call("init", directory, Reach::Nothing).without_users_settings().output(&arguments).await?;
    if let Some(credentials) = url.credentials() {
        let (directory, credentials) = (directory.to_owned(), credentials.clone());
        blocking(move || {
            let path = directory.join("credentials");
            Ok(hand_over(&directory, &path, &credentials).map_err(FsError::on("write", &path))?)
        })
        .await?;
    }
    let commit = fetch(directory, url, reference).await?;
    let arguments = ["--quiet", "--force", "--detach", &commit];
    call("checkout", directory, Reach::Nothing)
        .within(DEADLINE)
        .without_users_settings()
        .output(&arguments)
        .await?;
    Ok(commit)
}

fn call<'a>(command: &'static str, directory: &'a Path, reach: Reach) -> Call<'a> {
    Call::new(command, directory, reach).on(&repository(directory), &tree(directory))
}

/// Fetches what was asked for; returns the commit.
async fn fetch(directory: &Path, url: &RepoUrl, reference: Option<&RepoRef>) -> Result<String, ProjectError> {
    let wanted = reference.map_or("HEAD", RepoRef::as_str);
    let said = fetch_refs(directory, url, &["--depth=1"], &[format!("+{wanted}:{TARGET}")]).await?;
    if said.status.success() {
        return commit(directory, TARGET, url, wanted).await;
    }
    if reference.is_some_and(RepoRef::may_be_commit) {
        // A part of an id says nothing to a server, and not every server gives out any commit by its id.
        let all = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"].map(ToOwned::to_owned);
        let said = fetch_refs(directory, url, &[], &all).await?;
        if !said.status.success() {
            return Err(not_cloned(url, &said));
        }
        return commit(directory, wanted, url, wanted).await;
    }
    let is_missing = said.complaint.contains("couldn't find remote ref");
    Err(match reference {
        Some(reference) if is_missing => {
            ProjectError::NoReference { url: url.to_string(), reference: reference.to_string() }
        }
        None if is_missing => ProjectError::EmptyRepository { url: url.to_string() },
        _ => not_cloned(url, &said),
    })
}

async fn fetch_refs(
    directory: &Path,
    url: &RepoUrl,
    flags: &[&str],
    refs: &[String],
) -> Result<Said, ProjectError> {
    let mut arguments = vec!["--quiet", "--no-tags", "--no-write-fetch-head"];
    arguments.extend(flags);
    arguments.extend(["--", url.address()]);
    arguments.extend(refs.iter().map(String::as_str));
    call("fetch", directory, Reach::Remotes).within(DEADLINE).run(&arguments).await
}

fn not_cloned(url: &RepoUrl, said: &Said) -> ProjectError {
    if let Some(path) = url.local_path()
        && said.complaint.contains("dubious ownership")
    {
        return ProjectError::DubiousOwner { root: path.to_owned() };
    }
    ProjectError::NotCloned { url: url.to_string(), message: git::message(said) }
}

/// The id of the commit that `name` means in the clone.
async fn commit(directory: &Path, name: &str, url: &RepoUrl, wanted: &str) -> Result<String, ProjectError> {
    let arguments = ["--quiet", "--verify", "--end-of-options", &format!("{name}^{{commit}}")];
    let said = call("rev-parse", directory, Reach::Nothing).run(&arguments).await?;
    let id = String::from_utf8_lossy(&said.output).trim().to_owned();
    if !said.status.success() || id.is_empty() {
        return Err(ProjectError::NoReference { url: url.to_string(), reference: wanted.to_owned() });
    }
    Ok(id)
}

/// Has the clone's repository ask with these credentials, on their host alone.
fn hand_over(directory: &Path, path: &Path, credentials: &Credentials) -> io::Result<()> {
    let Credentials { scope, user, password } = credentials;
    let section = format!("[credential {}]\n", quoted(scope));
    let settings = if let Some(password) = password {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let (scheme, host) = scope.split_once("://").unwrap_or_default();
        writeln!(file, "{scheme}://{user}:{password}@{host}")?;
        let helper = format!("store --file='{}'", path.to_string_lossy().replace('\'', r"'\''"));
        // None of the user's own helpers is asked, or told.
        format!("[credential]\n\thelper =\n{section}\thelper = {}\n", quoted(&helper))
    } else {
        format!("{section}\tusername = {}\n", quoted(&decoded(user)))
    };
    OpenOptions::new().append(true).open(repository(directory).join("config"))?.write_all(settings.as_bytes())
}

/// A text as a value of Git's configuration.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
}

/// A part of a URL without its encoding.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        rest = if byte.is_some() { &after[2..] } else { after };
        bytes.push(byte.unwrap_or(*first));
    }
    String::from_utf8_lossy(&bytes).chars().filter(|character| !character.is_control()).collect()
}
