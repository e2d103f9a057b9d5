//! The flags that say what an MCP server offers, and from which project: those of `mcp serve`, which the host helpers pass on.

use crate::settings;
use pyro::{DEFAULT_ENVIRONMENT, ProjectOptions};
use pyro_mcp::{Exposure, Mode, Profile, ServerSettings};
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

/// What a server offers, and from which project.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct ServerOptions {
    /// Offer the tools of one kind of work: repro-fix, inspect, cold-start, review-eval
    #[arg(long, conflicts_with = "profile")]
    mode: Option<Mode>,
    /// Offer so many tools: vm-run, workspace-core (the default), workspace-full
    #[arg(long)]
    profile: Option<Profile>,
    /// Environment of workspaces for which none is named
    #[arg(long, value_name = "ENV")]
    environment: Option<String>,
    /// Begin workspaces with the Git-tracked files of this checkout instead of the one that the server is started in
    #[arg(long, value_name = "PATH", conflicts_with_all = ["repo_url", "no_project_source"])]
    project_path: Option<PathBuf>,
    /// Begin workspaces with a clean clone of this Git repository
    #[arg(long, value_name = "URL", conflicts_with = "no_project_source")]
    repo_url: Option<String>,
    /// Branch, tag or commit of that repository
    #[arg(long, value_name = "REF", requires = "repo_url")]
    repo_ref: Option<String>,
    /// Begin workspaces empty, wherever the server is started
    #[arg(long)]
    no_project_source: bool,
}

impl ServerOptions {
    /// The tools to offer.
    pub fn exposure(&self) -> Exposure {
        match (self.mode, self.profile) {
            (Some(mode), _) => Exposure::Mode(mode),
            (None, profile) => Exposure::Profile(profile.unwrap_or_default()),
        }
    }

    /// The same options as settings of a server.
    pub fn into_settings(self) -> ServerSettings {
        let (exposure, project) = (self.exposure(), self.project());
        let environment = self.environment.unwrap_or_else(|| DEFAULT_ENVIRONMENT.to_owned());
        ServerSettings { exposure, environment, project }
    }

    /// What they say about the project source.
    pub fn project(&self) -> ProjectOptions {
        ProjectOptions {
            project_path: self.project_path.clone(),
            repo_url: self.repo_url.clone(),
            repo_ref: self.repo_ref.clone(),
            no_project_source: self.no_project_source,
        }
    }

    /// The same options, so that they mean the same in whatever directory a server is started.
    pub fn with_absolute_path(self) -> io::Result<Self> {
        let project_path = self.project_path.map(std::path::absolute).transpose()?;
        Ok(Self { project_path, ..self })
    }

    /// The same options as arguments of `pyro mcp serve`; none for what is left to the default.
    pub fn to_arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        let mut add = |flag: &str, value: Option<OsString>| {
            if let Some(value) = value {
                arguments.extend([flag.into(), value]);
            }
        };
        add("--mode", self.mode.map(|mode| mode.as_str().into()));
        add("--profile", self.profile.map(|profile| profile.as_str().into()));
        add("--environment", self.environment.as_ref().map(Into::into));
        add("--project-path", self.project_path.as_ref().map(Into::into));
        add("--repo-url", self.repo_url.as_ref().map(Into::into));
        add("--repo-ref", self.repo_ref.as_ref().map(Into::into));
        add("--engine", settings::chosen_engine().map(|engine| engine.name().into()));
        if self.no_project_source {
            arguments.push("--no-project-source".into());
        }
        arguments
    }
}
