//! The environment as values, resolved before any logic runs.

use crate::progress;
use anyhow::Result;
use pyro::{EngineChoice, FetchOptions, Pyro, Settings, SnapshotTime};
use std::sync::OnceLock;

/// The engine that the command line names.
static ENGINE: OnceLock<EngineChoice> = OnceLock::new();

/// Has guests run on `engine`, whatever the environment says. Called once, before any command is.
pub fn choose_engine(engine: EngineChoice) {
    // A second call is not made.
    let _first = ENGINE.set(engine);
}

/// The engine that the command line names.
pub fn chosen_engine() -> Option<EngineChoice> {
    ENGINE.get().copied()
}

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
    let engine = chosen_engine().unwrap_or(settings.engine);
    Ok(Pyro::new(Settings { progress: progress::reporter(label), source, program, engine, ..settings }))
}
