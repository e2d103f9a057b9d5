//! The environment as values, resolved before any logic runs.

use crate::progress;
use anyhow::Result;
use pyro::{FetchOptions, Pyro, Settings, SnapshotTime};

/// The SDK's handle for a command whose progress is reported under `label`, as in `[pull] phase=…`.
pub fn pyro(label: &'static str) -> Result<Pyro> {
    with_source(label, FetchOptions::default())
}

/// The same, with packages as they were at `snapshot`.
pub fn pyro_at(label: &'static str, snapshot: Option<SnapshotTime>) -> Result<Pyro> {
    with_source(label, FetchOptions { snapshot })
}

fn with_source(label: &'static str, source: FetchOptions) -> Result<Pyro> {
    let settings = Settings::from_env()?;
    // Without its own path pyro does everything but what is done in the background.
    let program = std::env::current_exe().ok();
    Ok(Pyro::new(Settings { progress: progress::reporter(label), source, program, ..settings }))
}
