//! The SDK of pyro: disposable Linux workspaces and one-shot guests in microVMs.
//!
//! [`Pyro`] has one method for each operation; the CLI and every other face are thin over it.
//!
//! ```no_run
//! # async fn example() -> Result<(), pyro::PyroError> {
//! use pyro::{OutputMode, Pyro, RunRequest};
//!
//! let pyro = Pyro::from_env()?;
//! let request = RunRequest::new("debian:12", ["git", "--version"]);
//! let result = pyro.run_in_vm(request, OutputMode::Capture).await?;
//! assert_eq!(result.exit_code, 0);
//! # Ok(())
//! # }
//! ```
//!
//! Invariants: what runs in a guest never runs on the host, unless the caller allows it by name; a one-shot machine never
//! outlives the process that holds its [`Pyro`], and a workspace's never its supervisor; what a killed process left behind is
//! swept, or set right, by the next one.

mod engine;
mod environments;
mod error;
pub mod network;
mod prepare;
mod private_directory;
pub mod project;
mod proof;
mod readiness;
mod runtime;
mod store;
mod template;
#[cfg(test)]
mod testing;
pub mod vm;
pub mod workspace;

pub use engine::EngineChoice;
pub use environments::{EnvironmentInfo, EnvironmentList, InstallState};
pub use error::PyroError;
pub use jiff::Timestamp;
pub use prepare::{DailyLoop, Preparation, PrepareRequest, Proof, TemplateInfo};
pub use project::{
    Project, ProjectError, ProjectKind, ProjectOptions, ProjectReport, ProjectSkipped, RepoRef, RepoUrl,
};
pub use pyro_images::{CATALOG_VERSION, Manifest, Pruned};
pub use pyro_protocol::error::{Diagnostic, ErrorKind, chain};
pub use pyro_runtime::debian::{FetchOptions, SnapshotTime};
pub use pyro_runtime::env_vars::EnvVars;
pub use pyro_runtime::probe::EngineKind;
pub use pyro_runtime::{Bundle, Dirs, FirecrackerSource, Progress, Silent};
pub use pyro_vmm::ExecutionMode;
pub use readiness::{
    AccelerationReport, Capabilities, EnvironmentReport, Issue, JailReport, KvmReport, Readiness,
    RuntimeReport,
};
pub use runtime::{BundleInfo, RuntimeState, RuntimeStatus};
pub use store::{StoreError, WorkspaceState};
pub use template::TemplatePolicy;
pub use vm::{
    Cleanup, CreateVm, NetworkInfo, OutputChunk, OutputMode, Reaped, RunRequest, RunResult, StartKind,
    Timings, VmExec, VmId, VmState, VmStatus,
};

/// Boxes the future of a public operation. An `async fn` is compiled where it is awaited, with everything that it awaits in turn:
/// in the command, in its tests and in every other program of its own. A boxed one is compiled here.
use async_recursion::async_recursion as boxed;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{Mutex, OnceCell};

/// Name of the environment that commands use by default.
pub const DEFAULT_ENVIRONMENT: &str = "debian:12";

/// How a [`Pyro`] is set up.
#[derive(Clone)]
pub struct Settings {
    /// Where everything is kept.
    pub dirs: Dirs,
    /// Told about the phases of long work.
    pub progress: Arc<dyn Progress>,
    /// Where packages come from.
    pub source: FetchOptions,
    /// When templates are used, and made without being asked for.
    pub templates: TemplatePolicy,
    /// Which engine runs guests.
    pub engine: EngineChoice,
    /// Which Firecracker it is, where it is that.
    pub firecracker: FirecrackerSource,
    /// The `pyro` program, for work that outlives this process: supervising workspaces, making templates. Without it there is
    /// none.
    pub program: Option<PathBuf>,
}

impl Settings {
    /// What the process's environment says, the program in it included; no progress, no pinned packages.
    pub fn from_env() -> Result<Self, PyroError> {
        let lookup = &pyro_runtime::env_vars::process;
        let (templates, engine) = (TemplatePolicy::resolve(lookup)?, EngineChoice::resolve(lookup)?);
        let (dirs, firecracker) = (Dirs::from_env()?, FirecrackerSource::resolve(lookup)?);
        let (progress, source) = (Arc::new(Silent), FetchOptions::default());
        Ok(Self { dirs, progress, source, templates, engine, firecracker, program: program(lookup) })
    }
}

/// `PYRO_PROGRAM`, or the `pyro` in `PATH`.
fn program(lookup: pyro_runtime::env_vars::Lookup<'_>) -> Option<PathBuf> {
    if let Some(program) = lookup(EnvVars::PYRO_PROGRAM) {
        return Some(program.into());
    }
    let path = lookup(EnvVars::PATH)?;
    std::env::split_paths(&path).map(|directory| directory.join("pyro")).find(|program| program.is_file())
}

/// The handle to everything pyro can do. Cloning shares it.
#[derive(Clone)]
pub struct Pyro {
    settings: Settings,
    bundle: Arc<OnceCell<Arc<Bundle>>>,
    engine: Arc<OnceCell<pyro_runtime::probe::EngineRecord>>,
    /// The Firecracker that was last found, and the mark of its source then.
    firecracker: Arc<Mutex<Option<(String, pyro_runtime::Firecracker)>>>,
    vms: Arc<Mutex<vm::Registry>>,
    store: Arc<OnceCell<store::Store>>,
}

impl Pyro {
    /// A handle with the directories that the process's environment names, and no progress.
    pub fn from_env() -> Result<Self, PyroError> {
        Ok(Self::new(Settings::from_env()?))
    }

    /// A handle with these settings. Nothing is touched before it is used.
    pub fn new(settings: Settings) -> Self {
        let (bundle, engine, firecracker) = (Arc::default(), Arc::default(), Arc::default());
        Self { settings, bundle, engine, firecracker, vms: Arc::default(), store: Arc::default() }
    }

    /// The same handle, with another listener to the progress of long work.
    #[must_use]
    pub fn with_progress(&self, progress: Arc<dyn Progress>) -> Self {
        Self { settings: Settings { progress, ..self.settings.clone() }, ..self.clone() }
    }

    /// Where this handle keeps everything.
    pub fn dirs(&self) -> &Dirs {
        &self.settings.dirs
    }

    fn progress(&self) -> &dyn Progress {
        self.settings.progress.as_ref()
    }
}
