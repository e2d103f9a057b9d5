//! The project source: what a workspace begins with when its creation names no `seed_path`.
//!
//! It is chosen once, when a server or a program starts, by what the user says ([`ProjectOptions`]) or by where it was started,
//! and used by each creation after that ([`crate::workspace::CreateWorkspace::project`]):
//!
//! - a **checkout**: the files that Git tracks, as they are in the working tree. What is ignored or untracked is never looked at;
//! - a **repository**: a clean clone, made anew for each workspace and removed again;
//! - **none**.
//!
//! Both are read by the host's own `git`, which knows every format of index and every way of authentication. The repository may be
//! hostile: [`git`] says what keeps its configuration from having anything executed. What of a checkout is read, and where,
//! is decided here: `git` only gives names, and they are looked up beneath the root without following a link.

mod address;
mod checkout;
mod clone;
mod error;
mod files;
mod git;
mod report;
mod source;
#[cfg(test)]
mod tests;

pub use address::{RepoRef, RepoUrl};
pub(crate) use clone::ProjectClone;
pub use error::ProjectError;
pub use report::{ProjectKind, ProjectReport, ProjectSkipped};
pub(crate) use source::ProjectSource;

use crate::boxed;
use std::path::{Path, PathBuf};

/// What the user said about the project source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProjectOptions {
    /// `--project-path`: a directory in a Git checkout.
    pub project_path: Option<PathBuf>,
    /// `--repo-url`: a repository to clone.
    pub repo_url: Option<String>,
    /// `--repo-ref`: its branch, tag or commit; without it, what its `HEAD` names.
    pub repo_ref: Option<String>,
    /// `--no-project-source`: none, wherever this was started.
    pub no_project_source: bool,
}

/// The project source in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Project {
    /// None: a workspace begins empty.
    #[default]
    None,
    /// What Git tracks in a checkout.
    Checkout {
        /// Its root, absolute and without links.
        root: PathBuf,
        /// Nobody named it: pyro was started in it.
        is_detected: bool,
    },
    /// A clean clone of a repository.
    Repository {
        /// Its address.
        url: RepoUrl,
        /// What of it.
        reference: Option<RepoRef>,
    },
}

impl Project {
    /// The project source that `options` ask for; without any, the checkout around `cwd`, where there is one.
    ///
    /// Fails for options that contradict each other, an address or reference that cannot be one, and a path that is in no
    /// checkout. Whether the source can be read is for [`Self::diagnose`] to say: what was only detected must not keep a server
    /// from starting.
    #[boxed]
    pub async fn resolve(options: &ProjectOptions, cwd: &Path) -> Result<Self, ProjectError> {
        let ProjectOptions { project_path, repo_url, repo_ref, no_project_source } = options;
        let given = [
            ("--project-path", project_path.is_some()),
            ("--repo-url", repo_url.is_some()),
            ("--no-project-source", *no_project_source),
        ];
        let mut given = given.into_iter().filter_map(|(name, is_given)| is_given.then_some(name));
        if let (Some(first), Some(second)) = (given.next(), given.next()) {
            return Err(ProjectError::Contradiction { first, second });
        }
        if repo_ref.is_some() && repo_url.is_none() {
            let others =
                [("--project-path", project_path.is_some()), ("--no-project-source", *no_project_source)];
            return Err(match others.into_iter().find(|(_, is_given)| *is_given) {
                Some((first, _)) => ProjectError::Contradiction { first, second: "--repo-ref" },
                None => ProjectError::ReferenceWithoutUrl,
            });
        }
        if *no_project_source {
            return Ok(Self::None);
        }
        if let Some(url) = repo_url {
            let reference = repo_ref.as_deref().map(RepoRef::parse).transpose()?;
            return Ok(Self::Repository { url: RepoUrl::parse(url, cwd)?, reference });
        }
        match project_path {
            Some(path) => {
                let root = checkout::named(&cwd.join(path)).await?;
                Ok(Self::Checkout { root, is_detected: false })
            }
            None => Ok(match checkout::around(cwd).await {
                Some(root) => Self::Checkout { root, is_detected: true },
                None => Self::None,
            }),
        }
    }
}
