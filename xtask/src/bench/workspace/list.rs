//! The list of many workspaces, as a user has it: the release binary, from its start to its end.

use super::super::memory::pss_mib;
use super::super::run::output;
use super::super::series::Series;
use super::{create, supervisor_pid};
use anyhow::{Result, bail};
use pyro::Pyro;
use pyro::workspace::WorkspaceId;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

const WORKSPACES: usize = 100;

/// Creates workspaces, of which the last runs and the others are stopped, lists them again and again, and deletes them.
pub async fn measure(binary: &Path, pyro: &Pyro, runs: usize) -> Result<Vec<Series>> {
    let mut list = Series::times("workspace list of 100, whole command");
    let mut version = Series::times("pyro --version, whole command");
    let mut waiting = Series::sizes("workspace supervisor, stopped");
    let mut ids: Vec<WorkspaceId> = Vec::new();
    for number in 0..WORKSPACES {
        let id = create(pyro, None).await?.workspace_id;
        if number + 1 < WORKSPACES {
            pyro.stop_workspace(&id).await?;
            waiting.values.push(pss_mib(supervisor_pid(pyro, &id)?)?);
        }
        ids.push(id);
    }
    for _ in 0..runs {
        let begun = Instant::now();
        output(Command::new(binary).arg("--version"))?;
        version.push_time(begun.elapsed());
        let begun = Instant::now();
        let listed = output(Command::new(binary).args(["workspace", "list", "--json"]))?;
        list.push_time(begun.elapsed());
        if !ids.iter().all(|id| listed.contains(id.as_str())) {
            bail!("the list lacks a workspace");
        }
    }
    for id in ids {
        pyro.delete_workspace(&id).await?;
    }
    list.compare("pyro --version", &version);
    Ok(vec![version, list, waiting])
}
