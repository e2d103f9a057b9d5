//! The environment as values, resolved before any logic runs.

use crate::progress;
use anyhow::Result;
use pyro::{Dirs, FetchOptions, Pyro, PyroError, Settings, SnapshotTime};

/// The SDK's handle for a command whose progress is reported under `label`, as in `[pull] phase=…`.
pub fn pyro(label: &'static str) -> Result<Pyro> {
    with_source(label, FetchOptions::default())
}

/// The same, with packages as they were at `snapshot`.
pub fn pyro_at(label: &'static str, snapshot: Option<SnapshotTime>) -> Result<Pyro> {
    with_source(label, FetchOptions { snapshot })
}

fn with_source(label: &'static str, source: FetchOptions) -> Result<Pyro> {
    let dirs = Dirs::from_env().map_err(PyroError::from)?;
    Ok(Pyro::new(Settings { dirs, progress: progress::reporter(label), source }))
}
