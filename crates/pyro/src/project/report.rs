//! What is known of a project source: for `doctor`, the start of a server, and the helpers of chat hosts.

use super::error::shown;
use super::{Project, ProjectError, checkout, git};
use crate::boxed;
use pyro_protocol::error::{Diagnostic, chain};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::timeout;

/// Most paths of a kind that a report names.
const SHOWN_PATHS: usize = 20;

/// Which kind of source a project is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProjectKind {
    /// None.
    None,
    /// What Git tracks in a checkout.
    ProjectPath,
    /// A clean clone.
    RepoUrl,
}

impl ProjectKind {
    /// Its name, which is also the `origin_kind` of a workspace's seed: `none`, `project_path`, `repo_url`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ProjectPath => "project_path",
            Self::RepoUrl => "repo_url",
        }
    }
}

/// A project source, and whether it can be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProjectReport {
    /// Its kind.
    pub kind: ProjectKind,
    /// Root of the checkout.
    pub path: Option<String>,
    /// Address of the repository, without credentials.
    pub url: Option<String>,
    /// Branch, tag or commit of the repository.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// Nobody named it: it is around the working directory.
    pub detected: bool,
    /// A workspace can be created from it now, as far as this can be told without the network: remote repositories are not
    /// contacted. Also true where there is no source.
    pub ready: bool,
    /// Files that Git tracks in the checkout and its submodules, where they could be listed.
    pub tracked_files: Option<u64>,
    /// What of it would not get into a workspace.
    pub skipped: ProjectSkipped,
    /// Why it is not ready, or why nobody knows.
    pub problem: Option<String>,
    /// What to do about it.
    pub way_out: Option<String>,
}

/// What of a checkout does not get into a workspace, or not as Git has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ProjectSkipped {
    /// Tracked files that are not there: deleted, or outside of a sparse checkout.
    pub missing: u64,
    /// Tracked files in whose place is something else: a directory, a socket.
    pub replaced: u64,
    /// Submodules that are not checked out, and become empty directories.
    pub submodules: u64,
    /// The first 20 of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub submodule_paths: Vec<String>,
    /// Tracked files that cannot be read; with any, the source is not ready.
    pub unreadable: u64,
    /// The first 20 of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable_paths: Vec<String>,
}

impl Project {
    /// Which kind of source this is.
    pub fn kind(&self) -> ProjectKind {
        match self {
            Self::None => ProjectKind::None,
            Self::Checkout { .. } => ProjectKind::ProjectPath,
            Self::Repository { .. } => ProjectKind::RepoUrl,
        }
    }

    /// Whether a workspace can be created from it, and what would be left out. Lists a checkout; contacts no remote
    /// repository. Takes as long as `git` does, a minute at most for each call.
    #[boxed]
    pub async fn diagnose(&self) -> ProjectReport {
        let mut report = ProjectReport::of(self);
        let found = match self {
            Self::None => Ok(()),
            Self::Checkout { root, .. } => match checkout::list(root).await {
                Ok(tracked) => {
                    report.tracked_files = Some(tracked.count);
                    report.skipped = ProjectSkipped {
                        missing: tracked.missing,
                        replaced: tracked.replaced,
                        submodules: tracked.empty_submodules.len() as u64,
                        submodule_paths: names(&tracked.empty_submodules),
                        unreadable: tracked.unreadable.len() as u64,
                        unreadable_paths: names(&tracked.unreadable),
                    };
                    tracked.check(root)
                }
                Err(error) => Err(error),
            },
            Self::Repository { url, .. } => {
                git::check_installed().await.and_then(|()| match url.local_path() {
                    Some(path) => std::fs::metadata(path)
                        .map(drop)
                        .map_err(|source| ProjectError::BadPath { path: path.to_owned(), source }),
                    None => Ok(()),
                })
            }
        };
        if let Err(error) = found {
            report.ready = false;
            report.problem = Some(chain(&error));
            report.way_out = error.hint();
        }
        report
    }

    /// The same, within a time that somebody waits. A checkout that takes longer to list, because it is large or its file system
    /// slow, may still be ready: the report says that nobody knows.
    #[boxed]
    pub async fn diagnose_within(&self, patience: Duration) -> ProjectReport {
        if let Ok(report) = timeout(patience, self.diagnose()).await {
            return report;
        }
        let problem = format!("it could not be listed within {} s", patience.as_secs());
        let way_out = Some("see what `pyro doctor` says of it".to_owned());
        ProjectReport { problem: Some(problem), way_out, ..ProjectReport::of(self) }
    }
}

impl ProjectReport {
    fn of(project: &Project) -> Self {
        let mut report = Self {
            kind: project.kind(),
            path: None,
            url: None,
            reference: None,
            detected: false,
            ready: true,
            tracked_files: None,
            skipped: ProjectSkipped::default(),
            problem: None,
            way_out: None,
        };
        match project {
            Project::None => {}
            Project::Checkout { root, is_detected } => {
                report.path = Some(root.display().to_string());
                report.detected = *is_detected;
            }
            Project::Repository { url, reference } => {
                report.url = Some(url.to_string());
                report.reference = reference.as_ref().map(ToString::to_string);
            }
        }
        report
    }

    /// The source in one line, for a person: what it is, whether it is ready, and if not, why and the way out.
    pub fn describe(&self) -> String {
        let Self { path, url, reference, .. } = self;
        let what = match self.kind {
            ProjectKind::None => {
                return "none: a workspace begins empty, or with what it is given".to_owned();
            }
            ProjectKind::ProjectPath => {
                let found = if self.detected { "found around the working directory" } else { "as named" };
                let root = path.as_deref().unwrap_or_default().escape_debug();
                format!("Git-tracked files of `{root}` ({found})")
            }
            ProjectKind::RepoUrl => {
                let at = reference.as_deref().map(|reference| format!(" at {reference}")).unwrap_or_default();
                format!("a clean clone of {}{at}, without submodules", url.as_deref().unwrap_or_default())
            }
        };
        let files = match self.tracked_files {
            None => String::new(),
            Some(1) => format!(", 1 file{}", self.skipped.describe()),
            Some(count) => format!(", {count} files{}", self.skipped.describe()),
        };
        let state = if self.ready { "it may not be ready" } else { "not ready" };
        let problem =
            self.problem.as_deref().map(|problem| format!("; {state}: {problem}")).unwrap_or_default();
        let way_out = self.way_out.as_deref().map(|way_out| format!("; {way_out}")).unwrap_or_default();
        [what, files, problem, way_out].concat()
    }
}

impl ProjectSkipped {
    fn describe(&self) -> String {
        let counts = [
            (self.missing, "missing"),
            (self.replaced, "replaced by something else"),
            (self.unreadable, "unreadable"),
            (self.submodules, "submodules not checked out"),
        ];
        let parts: Vec<String> = counts
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
    }
}

fn names(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().take(SHOWN_PATHS).map(|path| shown(path)).collect()
}
