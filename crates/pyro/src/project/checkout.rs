//! A checkout: where its root is, and what Git tracks in it.

use super::error::ProjectError;
use super::files::{self, Names};
use super::git::{self, Call, Reach};
use rustix::fs::stat;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) use super::files::Tracked;

/// Where Git keeps a checkout's repository, or says where that is.
const DOT_GIT: &str = ".git";
/// How long Git may take to say whether a directory is a checkout: it reads three small files.
const LOOKING: Duration = Duration::from_secs(2);
/// Most submodules that are listed, and how deep in each other.
const MAX_SUBMODULES: usize = 1000;
const MAX_DEPTH: usize = 16;
/// Mode of a submodule in an index.
const SUBMODULE: &[u8] = b"160000";

/// What there is at a place that looks like the root of a checkout.
enum Found {
    Checkout,
    /// A repository without a working tree.
    Bare,
    Nothing,
}

/// The root of the checkout around `directory`, where there is one. One that Git does not accept counts: whoever uses it learns
/// why.
pub(super) async fn around(directory: &Path) -> Option<PathBuf> {
    let directory = directory.canonicalize().ok()?;
    let device = stat(&directory).ok()?.st_dev;
    for candidate in directory.ancestors() {
        // As for Git, a checkout ends where its file system does.
        if stat(candidate).ok()?.st_dev != device {
            return None;
        }
        if !looks_like_root(candidate) {
            continue;
        }
        match look(candidate).await {
            Ok(Found::Checkout) | Err(_) => return Some(candidate.to_owned()),
            Ok(Found::Bare) => return None,
            Ok(Found::Nothing) => {}
        }
    }
    None
}

/// The root of the checkout that `path` is in.
///
/// Fails with [`ProjectError::BadPath`] where there is nothing, [`ProjectError::NotCheckout`] where there is none.
pub(super) async fn named(path: &Path) -> Result<PathBuf, ProjectError> {
    let unusable = |source| ProjectError::BadPath { path: path.to_owned(), source };
    let directory = path.canonicalize().map_err(unusable)?;
    std::fs::read_dir(&directory).map_err(unusable)?;
    around(&directory).await.ok_or(ProjectError::NotCheckout { path: directory })
}

fn looks_like_root(directory: &Path) -> bool {
    let inside = directory.join(DOT_GIT);
    inside.is_file() || inside.join("HEAD").symlink_metadata().is_ok()
}

/// Asks Git what is at `root`, an absolute path without links that looks like the root of a checkout.
async fn look(root: &Path) -> Result<Found, ProjectError> {
    let said =
        call("rev-parse", root).within(LOOKING).run(&["--is-bare-repository", "--show-toplevel"]).await?;
    let answer = said.output.strip_suffix(b"\n").unwrap_or(&said.output);
    if answer.starts_with(b"true") {
        return Ok(Found::Bare);
    }
    if !said.status.success() {
        // Git has gone on to the parents; if it names one place alone, that is broken.
        return match said.complaint.as_str() {
            complaint if complaint.contains("not a git repository (or any") => Ok(Found::Nothing),
            complaint if complaint.contains("must be run in a work tree") => {
                Err(ProjectError::Elsewhere { root: root.to_owned() })
            }
            _ => Err(git::failure("rev-parse", root, &said)),
        };
    }
    match answer.strip_prefix(b"false\n") {
        Some(top) if top == root.as_os_str().as_bytes() => Ok(Found::Checkout),
        // The repository of a directory further up, since this one's is none.
        Some(top) if root.starts_with(OsStr::from_bytes(top)) && !is_own(root).await => Ok(Found::Nothing),
        _ => Err(ProjectError::Elsewhere { root: root.to_owned() }),
    }
}

/// Whether the repository that Git finds from `root` is the one in it.
async fn is_own(root: &Path) -> bool {
    let Ok(found) = call("rev-parse", root).output(&["--absolute-git-dir"]).await else { return true };
    let found = Path::new(OsStr::from_bytes(found.strip_suffix(b"\n").unwrap_or(&found)));
    let own = root.join(DOT_GIT);
    own.is_file() || own.canonicalize().is_ok_and(|own| own == found)
}

fn call<'a>(command: &'static str, directory: &'a Path) -> Call<'a> {
    Call::new(command, directory, Reach::Nothing)
}

/// What Git tracks in the checkout at `root` and in those of its submodules that are checked out, and how it stands in the
/// working tree.
pub(super) async fn list(root: &Path) -> Result<Tracked, ProjectError> {
    let mut names = Names::default();
    let mut pending = vec![(PathBuf::new(), 0)];
    let mut checkouts = 0;
    while let Some((beneath, depth)) = pending.pop() {
        // Without a separator at its end.
        let directory: PathBuf = root.join(&beneath).components().collect();
        checkouts += 1;
        if checkouts > MAX_SUBMODULES || depth > MAX_DEPTH {
            return Err(ProjectError::TooManySubmodules { root: root.to_owned() });
        }
        match look(&directory).await? {
            Found::Checkout => {}
            Found::Bare | Found::Nothing if depth > 0 => {
                names.empty_submodules.push(beneath);
                continue;
            }
            Found::Bare | Found::Nothing => return Err(ProjectError::NotCheckout { path: directory }),
        }
        let index = call("ls-files", &directory).output(&["-z", "--cached", "--stage"]).await?;
        for submodule in entries(&index, root, &beneath, &mut names)? {
            if files::is_directory_beneath(root, &submodule) && looks_like_root(&root.join(&submodule)) {
                pending.push((submodule.clone(), depth + 1));
            } else {
                names.empty_submodules.push(submodule.clone());
            }
            names.directories.push(submodule);
        }
    }
    files::look_at(root.to_owned(), names).await
}

/// Takes the entries of one index, each `MODE OBJECT STAGE<TAB>NAME<NUL>`, as names beneath `root`; returns its submodules.
fn entries(
    index: &[u8],
    root: &Path,
    beneath: &Path,
    names: &mut Names,
) -> Result<Vec<PathBuf>, ProjectError> {
    let mut submodules = Vec::new();
    for entry in index.split(|byte| *byte == 0).filter(|entry| !entry.is_empty()) {
        let Some(tab) = entry.iter().position(|byte| *byte == b'\t') else { continue };
        let name = Path::new(OsStr::from_bytes(&entry[tab + 1..]));
        let unsafe_name = || ProjectError::UnsafeName { root: root.join(beneath), name: name.to_owned() };
        let relative = pyro_tree::relative(name.as_os_str().as_bytes()).map_err(|_| unsafe_name())?;
        if relative.as_os_str().is_empty() || relative.iter().any(|part| part == DOT_GIT) {
            return Err(unsafe_name());
        }
        let path = beneath.join(relative);
        if entry.starts_with(SUBMODULE) {
            submodules.push(path);
        } else {
            names.files.push(path);
        }
    }
    // An unmerged submodule has several entries.
    submodules.dedup();
    Ok(submodules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_gives_names_of_files_and_submodules_and_no_others() {
        const ID: &str = "45b983be36b73c0788dc9cbcb76cbb80fc7bb057";
        let listed = |names: &[(&str, &str)]| {
            let index: Vec<u8> = names
                .iter()
                .flat_map(|(mode, name)| format!("{mode} {ID} 0\t{name}\0").into_bytes())
                .collect();
            let mut found = Names::default();
            entries(&index, Path::new("/r"), Path::new("in"), &mut found).map(|subs| (found.files, subs))
        };
        let (files, submodules) =
            listed(&[("100644", "a\tb\nc"), ("120000", "d/e"), ("160000", "s"), ("160000", "s")]).unwrap();
        assert_eq!(files, ["in/a\tb\nc", "in/d/e"].map(PathBuf::from));
        assert_eq!(submodules, [PathBuf::from("in/s")]);
        for name in ["../x", "/etc/passwd", "a/../../x", ".git/config", "a/.git", ".", ""] {
            let refused = listed(&[("100644", name)]);
            assert!(matches!(refused, Err(ProjectError::UnsafeName { .. })), "{name}: {refused:?}");
        }
    }
}
