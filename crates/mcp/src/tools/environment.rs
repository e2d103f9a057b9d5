//! Environments, as a model needs them: without their lists of packages.

use pyro::EnvironmentList;
use schemars::JsonSchema;
use serde::Serialize;

/// The catalog, and what of it is installed.
#[derive(Serialize, JsonSchema)]
pub(super) struct Environments {
    /// Version of the catalog.
    catalog_version: String,
    /// Its environments, the default one first.
    environments: Vec<Environment>,
}

#[derive(Serialize, JsonSchema)]
struct Environment {
    /// Its name, as other tools take it.
    name: String,
    /// One line about it.
    description: String,
    /// Code name of the Debian suite.
    suite: String,
    /// It can be used at once.
    installed: bool,
    /// installed, stale, broken, or absent.
    state: String,
    /// What is wrong, where something is.
    problem: Option<String>,
}

impl From<EnvironmentList> for Environments {
    fn from(list: EnvironmentList) -> Self {
        let environments = list.environments.into_iter().map(|one| Environment {
            name: one.name.to_owned(),
            description: one.description.to_owned(),
            suite: one.suite.to_owned(),
            installed: one.installed,
            state: one.state.as_str().to_owned(),
            problem: one.problem,
        });
        Self { catalog_version: list.catalog_version.to_owned(), environments: environments.collect() }
    }
}
