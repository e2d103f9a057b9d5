//! `pyro env`.

use crate::printer::Printer;
use crate::settings;
use anyhow::Result;
use clap::Subcommand;
use pyro::{EnvironmentInfo, EnvironmentList, Pruned, PyroError, SnapshotTime};
use serde::Serialize;
use std::fmt::Write;

/// List, install, inspect and prune environments
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the catalog, and what of it is installed
    List {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Install an environment, or repair it
    ///
    /// Builds it from signed Debian packages, which takes a few minutes in software emulation. An environment that is
    /// installed and whole is left as it is.
    Pull {
        /// Environment, as shown by `pyro env list`
        environment: String,
        /// Take the packages as they were at this time, as 20261101T000000Z, from the archive in PYRO_DEBIAN_SNAPSHOT_URL
        #[arg(long, value_name = "TIMESTAMP")]
        snapshot: Option<String>,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Show version, packages, source, digest, size and path of an environment
    Inspect {
        /// Environment, as shown by `pyro env list`
        environment: String,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Remove what the catalog no longer names, stale versions and broken installs
    Prune {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
}

impl Arguments {
    pub fn json(&self) -> bool {
        match self.command {
            Command::List { json }
            | Command::Pull { json, .. }
            | Command::Inspect { json, .. }
            | Command::Prune { json } => json,
        }
    }
}

#[derive(Serialize)]
struct PruneResult {
    count: usize,
    removed: Vec<Pruned>,
}

pub async fn run(arguments: Arguments, printer: Printer) -> Result<u8> {
    match arguments.command {
        Command::List { .. } => {
            let list = settings::pyro("env")?.list_environments().await?;
            printer.data(&list, list_text)?;
        }
        Command::Pull { environment, snapshot, .. } => {
            let snapshot =
                snapshot.map(|time| time.parse::<SnapshotTime>()).transpose().map_err(PyroError::from)?;
            let info = settings::pyro_at("pull", snapshot)?.pull_environment(&environment).await?;
            printer.data(&info, info_text)?;
        }
        Command::Inspect { environment, .. } => {
            let info = settings::pyro("env")?.inspect_environment(&environment).await?;
            printer.data(&info, info_text)?;
        }
        Command::Prune { .. } => {
            let removed = settings::pyro("env")?.prune_environments().await?;
            printer.data(&PruneResult { count: removed.len(), removed }, prune_text)?;
        }
    }
    Ok(0)
}

fn list_text(list: &EnvironmentList) -> String {
    let mut text = format!("catalog {}\n", list.catalog_version);
    for EnvironmentInfo { name, state, description, .. } in &list.environments {
        // Writing to a String cannot fail.
        let _written = writeln!(text, "{name:16} {:10} {description}", state.as_str());
    }
    text
}

fn info_text(info: &EnvironmentInfo) -> String {
    let mut lines = vec![
        format!("environment: {}", info.name),
        format!("description: {}", info.description),
        format!("state:       {}", info.state.as_str()),
    ];
    lines.extend(info.problem.iter().map(|problem| format!("problem:     {problem}")));
    if let Some(manifest) = &info.manifest {
        let release = manifest.release.as_deref().unwrap_or("unknown version");
        lines.push(format!(
            "source:      Debian {} ({release}), as of {}",
            manifest.suite, manifest.release_date
        ));
        lines.push(format!("packages:    {}", manifest.packages.len()));
        lines.push(format!("digest:      sha256:{}", manifest.digest));
        lines.push(format!("size:        {} MiB", manifest.image_bytes.div_ceil(1 << 20)));
        lines.push(format!("installed:   {}", manifest.installed_at));
    }
    lines.extend(info.path.iter().map(|path| format!("image:       {}", path.display())));
    lines.join("\n") + "\n"
}

fn prune_text(result: &PruneResult) -> String {
    let mut text = String::new();
    for Pruned { file, reason, bytes } in &result.removed {
        let _written = writeln!(text, "removed {file} ({reason}, {} MiB)", bytes.div_ceil(1 << 20));
    }
    if text.is_empty() { "nothing to remove\n".to_owned() } else { text }
}
