//! Environments: list, pull, inspect, prune.

use crate::boxed;
use crate::engine::blocking;
use crate::{Pyro, PyroError};
use pyro_images::build::Builder;
use pyro_images::catalog::CATALOG;
use pyro_images::{CATALOG_VERSION, Environment, EnvironmentStore, Manifest, Pruned, Recipe, Status};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;

/// The catalog, and how each of its environments stands on this host.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EnvironmentList {
    /// Version of the catalog.
    pub catalog_version: &'static str,
    /// Its environments, the default one first.
    pub environments: Vec<EnvironmentInfo>,
}

/// One environment of the catalog.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EnvironmentInfo {
    /// Its name.
    pub name: &'static str,
    /// One line about it.
    pub description: &'static str,
    /// Code name of the Debian suite.
    pub suite: &'static str,
    /// It can be used as it is.
    pub installed: bool,
    /// How its installation stands.
    pub state: InstallState,
    /// What is wrong, where something is.
    pub problem: Option<String>,
    /// What is recorded about the installed build.
    #[cfg_attr(feature = "schema", schemars(with = "Option<serde_json::Map<String, serde_json::Value>>"))]
    pub manifest: Option<Manifest>,
    /// The image on disk, when installed.
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub path: Option<PathBuf>,
}

/// How the installation of an environment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum InstallState {
    /// Manifest and image are there and verified.
    Installed,
    /// Built from another version of the catalog; the next pull replaces it.
    Stale,
    /// Damaged; the next pull repairs it.
    Broken,
    /// Not there.
    Absent,
}

impl InstallState {
    /// The name in results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Stale => "stale",
            Self::Broken => "broken",
            Self::Absent => "absent",
        }
    }
}

impl Pyro {
    /// The catalog and what of it is installed.
    #[boxed]
    pub async fn list_environments(&self) -> Result<EnvironmentList, PyroError> {
        let store = self.environment_store();
        blocking(move || {
            let environments =
                CATALOG.iter().map(|recipe| describe(&store, recipe)).collect::<Result<_, _>>()?;
            Ok(EnvironmentList { catalog_version: CATALOG_VERSION, environments })
        })
        .await
    }

    /// Installs an environment: fetches and builds it, unless it is installed and its image, hashed again, is whole.
    /// With packages pinned to a point in time it is built in any case.
    #[boxed]
    pub async fn pull_environment(&self, name: &str) -> Result<EnvironmentInfo, PyroError> {
        let recipe = Recipe::find(name)?;
        let (store, pinned) = (self.environment_store(), self.settings.source.snapshot.is_some());
        let (verified, looks_whole) = blocking(move || {
            let verified = !pinned && store.verify(recipe).is_ok();
            Ok((verified, store.open(recipe).is_ok()))
        })
        .await?;
        if !verified {
            self.environment_builder().await?.pull(recipe, looks_whole).await?;
        }
        self.inspect_environment(name).await
    }

    /// What is known about one environment; its image is hashed again.
    #[boxed]
    pub async fn inspect_environment(&self, name: &str) -> Result<EnvironmentInfo, PyroError> {
        let recipe = Recipe::find(name)?;
        let store = self.environment_store();
        blocking(move || {
            let mut info = describe(&store, recipe)?;
            if info.installed
                && let Err(error) = store.verify(recipe)
            {
                info.installed = false;
                info.state = InstallState::Broken;
                info.problem = Some(error.to_string());
            }
            Ok(info)
        })
        .await
    }

    /// Removes what the catalog no longer names, stale versions and broken installs, and templates of what is not installed
    /// any more; says what it removed.
    #[boxed]
    pub async fn prune_environments(&self) -> Result<Vec<Pruned>, PyroError> {
        let store = self.environment_store();
        let mut removed = blocking(move || Ok(store.prune()?)).await?;
        removed.extend(self.prune_templates().await?);
        Ok(removed)
    }

    /// The installed environment, built first where it is not installed.
    pub(crate) async fn environment(&self, recipe: &'static Recipe) -> Result<Environment, PyroError> {
        let store = self.environment_store();
        if let Ok(environment) = blocking(move || Ok(store.open(recipe)?)).await {
            return Ok(environment);
        }
        Ok(self.environment_builder().await?.pull(recipe, false).await?)
    }

    pub(crate) fn environment_store(&self) -> EnvironmentStore {
        EnvironmentStore::new(self.dirs().environments())
    }

    async fn environment_builder(&self) -> Result<Builder, PyroError> {
        let settings = self.settings.clone();
        Ok(Builder {
            dirs: settings.dirs,
            bundle: self.bundle().await?,
            engine: self.engine(true).await?,
            progress: Arc::clone(&settings.progress),
            source: settings.source,
        })
    }
}

fn describe(store: &EnvironmentStore, recipe: &'static Recipe) -> Result<EnvironmentInfo, PyroError> {
    let (state, manifest, problem) = match store.status(recipe)? {
        Status::Installed(manifest) => (InstallState::Installed, Some(*manifest), None),
        Status::Stale(manifest) => {
            let problem =
                format!("built from catalog {}, which is now {CATALOG_VERSION}", manifest.catalog_version);
            (InstallState::Stale, Some(*manifest), Some(problem))
        }
        Status::Broken(what) => (InstallState::Broken, None, Some(what)),
        Status::Absent => (InstallState::Absent, None, None),
    };
    let installed = state == InstallState::Installed;
    let path =
        manifest.as_ref().filter(|_| installed).map(|manifest| store.directory().join(&manifest.image));
    Ok(EnvironmentInfo {
        name: recipe.name,
        description: recipe.description,
        suite: recipe.suite,
        installed,
        state,
        problem,
        manifest,
        path,
    })
}
