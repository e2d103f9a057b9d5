//! The runtime bundle: fetch, status, verify, remove.

use crate::boxed;
use crate::engine::blocking;
use crate::{Pyro, PyroError};
use pyro_runtime::Bundle;
use pyro_runtime::bundle::{BundleStatus, Check, Components, EnsureOptions};
use pyro_runtime::debian::ReleaseInfo;
use serde::Serialize;
use std::path::PathBuf;

/// The condition of the runtime bundle.
#[derive(Debug, Clone, Serialize)]
pub struct RuntimeStatus {
    /// In one word.
    pub state: RuntimeState,
    /// What is wrong with it, file by file.
    pub problems: Vec<String>,
    /// What is in it, when usable.
    pub bundle: Option<BundleInfo>,
}

/// The condition in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RuntimeState {
    /// Every file is there.
    Ready,
    /// The next fetch, or the next command that needs it, repairs it.
    Damaged,
    /// The next fetch, or the next command that needs it, gets it.
    Missing,
}

impl RuntimeState {
    /// The name in results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Damaged => "damaged",
            Self::Missing => "missing",
        }
    }
}

/// What a bundle consists of.
#[derive(Debug, Clone, Serialize)]
pub struct BundleInfo {
    /// The digest that names it.
    pub id: String,
    /// Its directory.
    pub path: PathBuf,
    /// How many files.
    pub files: usize,
    /// Their sizes together; sparse ones count in full.
    pub bytes: u64,
    /// The release that the packages are of.
    pub source: ReleaseInfo,
    /// Versions.
    pub components: Components,
}

impl Pyro {
    /// Fetches or repairs the bundle after hashing what is there; builds it anew with `refresh`, or with packages pinned to
    /// a point in time.
    #[boxed]
    pub async fn fetch_runtime(&self, refresh: bool) -> Result<RuntimeStatus, PyroError> {
        let settings = self.settings.clone();
        blocking(move || {
            let refresh = refresh || settings.source.snapshot.is_some();
            let options = EnsureOptions { fetch: settings.source.clone(), check: Check::Contents, refresh };
            let bundle = Bundle::ensure(&settings.dirs, &options, &settings.progress)?;
            Bundle::prune(&settings.dirs)?;
            Ok(ready(&bundle))
        })
        .await
    }

    /// What is there, from sizes alone.
    #[boxed]
    pub async fn runtime_status(&self) -> Result<RuntimeStatus, PyroError> {
        let dirs = self.dirs().clone();
        blocking(move || {
            Ok(match Bundle::status(&dirs)? {
                BundleStatus::Ready(bundle) => ready(&bundle),
                BundleStatus::Missing => {
                    RuntimeStatus { state: RuntimeState::Missing, problems: Vec::new(), bundle: None }
                }
                BundleStatus::Damaged { problems, .. } => RuntimeStatus {
                    state: RuntimeState::Damaged,
                    problems: problems.iter().map(ToString::to_string).collect(),
                    bundle: None,
                },
            })
        })
        .await
    }

    /// Hashes every file; fails naming each one that is missing, changed or additional, or when there is no bundle.
    #[boxed]
    pub async fn verify_runtime(&self) -> Result<RuntimeStatus, PyroError> {
        let dirs = self.dirs().clone();
        blocking(move || match Bundle::status(&dirs)? {
            BundleStatus::Ready(bundle) => {
                bundle.verify()?;
                Ok(ready(&bundle))
            }
            BundleStatus::Missing => Err(PyroError::NoRuntime),
            BundleStatus::Damaged { dir, problems } => Err(pyro_runtime::BundleError::Damaged {
                dir,
                problems,
                own: dirs.bundle_override().is_some(),
            }
            .into()),
        })
        .await
    }

    /// Removes every bundle from the cache. Running machines keep what they have open.
    #[boxed]
    pub async fn remove_runtime(&self) -> Result<(), PyroError> {
        let dirs = self.dirs().clone();
        blocking(move || Ok(Bundle::remove(&dirs)?)).await
    }
}

fn ready(bundle: &Bundle) -> RuntimeStatus {
    let manifest = bundle.manifest();
    RuntimeStatus {
        state: RuntimeState::Ready,
        problems: Vec::new(),
        bundle: Some(BundleInfo {
            id: manifest.id.to_string(),
            path: bundle.dir().to_owned(),
            files: manifest.files.len(),
            bytes: manifest.files.iter().map(|file| file.size).sum(),
            source: manifest.source.clone(),
            components: manifest.components.clone(),
        }),
    }
}
