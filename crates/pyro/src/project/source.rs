//! A project as what a workspace is filled from.

use super::clone::ProjectClone;
use super::{Project, RepoRef, RepoUrl, checkout};
use crate::engine::blocking;
use crate::workspace::WorkspaceError;
use crate::{Pyro, PyroError};
use pyro_tree::Source;
use std::path::{Path, PathBuf};

/// What a workspace is filled from, and where that comes from.
pub(crate) struct ProjectSource {
    /// What is read.
    pub(crate) source: Source,
    /// Its path on the host, where it stays there.
    pub(crate) path: Option<PathBuf>,
    /// What was chosen.
    pub(crate) origin_ref: String,
    /// The commit, where it is that of one.
    pub(crate) commit: Option<String>,
    /// What is read from, to be removed afterwards.
    pub(crate) clone: Option<ProjectClone>,
}

impl Pyro {
    /// Opens the project for reading; `None` where there is none. Makes the clone of a repository.
    pub(crate) async fn open_project(&self, project: &Project) -> Result<Option<ProjectSource>, PyroError> {
        match project {
            Project::None => Ok(None),
            Project::Checkout { root, .. } => Ok(Some(open_checkout(root).await?)),
            Project::Repository { url, reference } => {
                Ok(Some(self.open_repository(url, reference.as_ref()).await?))
            }
        }
    }

    async fn open_repository(
        &self,
        url: &RepoUrl,
        reference: Option<&RepoRef>,
    ) -> Result<ProjectSource, PyroError> {
        let origin_ref = match reference {
            Some(reference) => format!("{url}#{reference}"),
            None => url.to_string(),
        };
        self.progress().phase(&format!("clone url={origin_ref}"));
        let clone = self.clone_project(url, reference).await?;
        let tree = clone.tree();
        let source = blocking(move || Ok(Source::open(&tree).map_err(WorkspaceError::from)?)).await?;
        let commit = Some(clone.commit.clone());
        Ok(ProjectSource { source, path: None, origin_ref, commit, clone: Some(clone) })
    }
}

async fn open_checkout(root: &Path) -> Result<ProjectSource, PyroError> {
    let tracked = checkout::list(root).await?;
    tracked.check(root)?;
    let path = root.to_owned();
    let source =
        blocking(move || Ok(Source::open_files(&path, tracked.names).map_err(WorkspaceError::from)?)).await?;
    let origin_ref = root.display().to_string();
    Ok(ProjectSource { source, path: Some(root.to_owned()), origin_ref, commit: None, clone: None })
}
