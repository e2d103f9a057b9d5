//! `pyro runtime`.

use crate::printer::Printer;
use crate::settings;
use anyhow::Result;
use clap::Subcommand;
use pyro::{PyroError, RuntimeStatus, SnapshotTime};
use serde::Serialize;

/// Fetch, check and remove the runtime bundle: VMM, kernel, modules and image tools
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fetch the bundle, or repair it
    ///
    /// From signed Debian packages of the mirror in PYRO_DEBIAN_MIRROR, else of the host's own apt sources. A bundle that
    /// is there and sound is left as it is.
    Fetch {
        /// Take the packages as they were at this time, as 20261101T000000Z, from the archive in PYRO_DEBIAN_SNAPSHOT_URL
        #[arg(long, value_name = "TIMESTAMP")]
        snapshot: Option<String>,
        /// Build it anew from what the mirror has now
        #[arg(long)]
        refresh: bool,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Show what is installed
    Status {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Compare every file of the bundle with its manifest
    Verify {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Remove every bundle from the cache
    Remove {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
}

impl Arguments {
    pub fn json(&self) -> bool {
        match self.command {
            Command::Fetch { json, .. }
            | Command::Status { json }
            | Command::Verify { json }
            | Command::Remove { json } => json,
        }
    }
}

#[derive(Serialize)]
struct Removed {
    removed: bool,
}

pub async fn run(arguments: Arguments, printer: Printer) -> Result<u8> {
    match arguments.command {
        Command::Fetch { snapshot, refresh, .. } => {
            let snapshot =
                snapshot.map(|time| time.parse::<SnapshotTime>()).transpose().map_err(PyroError::from)?;
            let status = settings::pyro_at("runtime", snapshot)?.fetch_runtime(refresh).await?;
            printer.data(&status, text)?;
        }
        Command::Status { .. } => {
            let status = settings::pyro("runtime")?.runtime_status().await?;
            printer.data(&status, text)?;
        }
        Command::Verify { .. } => {
            let status = settings::pyro("runtime")?.verify_runtime().await?;
            printer.data(&status, text)?;
        }
        Command::Remove { .. } => {
            settings::pyro("runtime")?.remove_runtime().await?;
            printer.data(&Removed { removed: true }, |_| "removed\n".to_owned())?;
        }
    }
    Ok(0)
}

fn text(status: &RuntimeStatus) -> String {
    let mut lines = vec![format!("state:   {}", status.state.as_str())];
    lines.extend(status.problems.iter().map(|problem| format!("problem: {problem}")));
    if let Some(bundle) = &status.bundle {
        let components = &bundle.components;
        lines.extend([
            format!("bundle:  {}", bundle.id),
            format!("path:    {}", bundle.path.display()),
            format!("size:    {} MiB in {} files", bundle.bytes.div_ceil(1 << 20), bundle.files),
            format!("source:  Debian {}, as of {}", bundle.source.codename, bundle.source.date),
            format!("qemu:    {}", components.qemu),
            format!("kernel:  {} ({})", components.kernel, components.kernel_release),
            format!("tools:   e2fsprogs {}, erofs-utils {}", components.e2fsprogs, components.erofs_utils),
        ]);
    }
    lines.join("\n") + "\n"
}
