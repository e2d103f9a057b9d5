//! Everything from an empty cache, step by step, with the release binary.

use super::ENVIRONMENT;
use super::run::output;
use super::series::Series;
use anyhow::{Context, Result};
use pyro::EnvVars;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// The steps, in order. What probing the acceleration costs is a figure of its own.
const STEPS: [(&str, &[&str]); 4] = [
    ("runtime fetch", &["runtime", "fetch", "--json"]),
    ("doctor, with the probe", &["doctor", "--json"]),
    ("env pull", &["env", "pull", ENVIRONMENT, "--json"]),
    ("prepare", &["prepare", ENVIRONMENT, "--json"]),
];

/// Installs into a directory of its own, which is removed afterwards.
pub fn measure(binary: &Path) -> Result<Vec<Series>> {
    let home = std::env::temp_dir().join(format!("pyro-bench-{}", std::process::id()));
    let measured = STEPS.iter().map(|(name, arguments)| {
        let mut command = Command::new(binary);
        command.args(*arguments).env(EnvVars::PYRO_HOME, &home).env(EnvVars::PYRO_TEMPLATES, "manual");
        // With either, something would be there already.
        command.env_remove(EnvVars::PYRO_ENVIRONMENT_CACHE_DIR).env_remove(EnvVars::PYRO_RUNTIME_BUNDLE_DIR);
        // Minutes pass: what it is doing is to be seen.
        command.stderr(Stdio::inherit());
        let mut series = Series::times(format!("install, {name}"));
        let begun = Instant::now();
        output(&mut command)?;
        series.push_time(begun.elapsed());
        Ok(series)
    });
    let measured = measured.collect::<Result<Vec<_>>>();
    let removed = std::fs::remove_dir_all(&home);
    // Why a step failed says more than that there is nothing to remove.
    let measured = measured?;
    removed.with_context(|| format!("cannot remove {}", home.display()))?;
    Ok(measured)
}
