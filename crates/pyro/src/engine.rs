//! From nothing to an engine that boots guests: the bundle, the probe, the engine.

use crate::boxed;
use crate::{Pyro, PyroError};
use jiff::Timestamp;
use pyro_runtime::bundle::EnsureOptions;
use pyro_runtime::env_vars::{EnvVars, Lookup};
use pyro_runtime::host::{self, HostFacts};
use pyro_runtime::probe::{Acceleration, EngineKind, EngineRecord};
use pyro_runtime::{Bundle, Firecracker as FirecrackerProgram, FirecrackerError};
use pyro_vmm::Engine;
use pyro_vmm::firecracker::Firecracker;
use pyro_vmm::probe::Probe;
use pyro_vmm::qemu::Qemu;
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use std::sync::Arc;

/// Which engine runs guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineChoice {
    /// The best that a probe has seen to boot a guest here: Firecracker, else QEMU on KVM, else QEMU in software emulation.
    #[default]
    Auto,
    /// This one, which `doctor` alone tries: a guest that does not come up there comes up nowhere.
    Named(EngineKind),
}

impl EngineChoice {
    /// The choice that the environment's `PYRO_ENGINE` names; fails when it is no such name.
    pub fn resolve(lookup: Lookup<'_>) -> Result<Self, PyroError> {
        match lookup(EnvVars::PYRO_ENGINE) {
            None => Ok(Self::Auto),
            Some(name) => name.to_string_lossy().parse(),
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Named(engine) => engine.name(),
        }
    }
}

impl FromStr for EngineChoice {
    type Err = PyroError;

    /// Fails with [`PyroError::UnknownEngine`].
    fn from_str(name: &str) -> Result<Self, PyroError> {
        let choices = EngineKind::ALL.map(Self::Named).into_iter().chain([Self::Auto]);
        let unknown = || PyroError::UnknownEngine { given: name.chars().take(64).collect() };
        choices.into_iter().find(|choice| choice.name() == name).ok_or_else(unknown)
    }
}

impl Pyro {
    /// The runtime bundle, fetched when it is missing or damaged.
    #[boxed]
    pub async fn bundle(&self) -> Result<Arc<Bundle>, PyroError> {
        let bundle = self.bundle.get_or_try_init(|| async {
            let settings = self.settings.clone();
            let bundle = blocking(move || {
                let options = EnsureOptions { fetch: settings.source.clone(), ..EnsureOptions::default() };
                Ok(Bundle::ensure(&settings.dirs, &options, &settings.progress)?)
            })
            .await?;
            Ok::<_, PyroError>(Arc::new(bundle))
        });
        Ok(Arc::clone(bundle.await?))
    }

    /// Which engine boots guests on this host: the chosen one, else that of an earlier probe's record, else what a probe finds,
    /// for which a Firecracker that is missing is fetched, where it `may_fetch`.
    pub(crate) async fn engine_record(&self, may_fetch: bool) -> Result<EngineRecord, PyroError> {
        self.find_engine(may_fetch, false).await
    }

    /// The same by a probe of now, where this process has not asked before.
    pub(crate) async fn engine_record_anew(&self) -> Result<EngineRecord, PyroError> {
        self.find_engine(true, true).await
    }

    async fn find_engine(&self, may_fetch: bool, anew: bool) -> Result<EngineRecord, PyroError> {
        let bundle = self.bundle().await?;
        let record = self.engine.get_or_try_init(|| async {
            match self.settings.engine {
                EngineChoice::Named(engine) => chosen(engine, &bundle),
                EngineChoice::Auto => Ok(self.probe(&bundle, may_fetch, anew).engine().await?),
            }
        });
        Ok(record.await?.clone())
    }

    fn probe<'a>(&'a self, bundle: &'a Arc<Bundle>, may_fetch: bool, anew: bool) -> Probe<'a> {
        let (dirs, progress) = (self.dirs(), &self.settings.progress);
        Probe { bundle, dirs, firecracker: &self.settings.firecracker, may_fetch, anew, progress }
    }

    /// Boots a guest on the engine that is used here.
    pub(crate) async fn boot_probe(&self) -> Result<(), PyroError> {
        let (bundle, engine) = (self.bundle().await?, self.engine(false).await?);
        Ok(self.probe(&bundle, false, false).boot(engine.as_ref()).await?)
    }

    /// The engine of [`Self::engine_record`]; its program is fetched where it is missing, and it `may_fetch`.
    pub(crate) async fn engine(&self, may_fetch: bool) -> Result<Arc<dyn Engine>, PyroError> {
        let record = self.engine_record(may_fetch).await?;
        Ok(match record.engine {
            EngineKind::Firecracker => Arc::new(Firecracker::new(self.firecracker(may_fetch).await?)),
            EngineKind::QemuKvm => Arc::new(Qemu::new(self.bundle().await?, Acceleration::Kvm)),
            EngineKind::QemuEmulation => Arc::new(Qemu::new(self.bundle().await?, Acceleration::Emulation)),
        })
    }

    /// Asks a program for its version once, and again when it has changed.
    async fn firecracker(&self, may_fetch: bool) -> Result<FirecrackerProgram, PyroError> {
        let mark = self.settings.firecracker.mark();
        let known = self.firecracker.lock().await.clone();
        if let Some((_, program)) = known.filter(|(then, program)| *then == mark && program.is_as_it_was()) {
            return Ok(program);
        }
        let settings = self.settings.clone();
        let program = blocking(move || {
            let (source, dirs) = (&settings.firecracker, &settings.dirs);
            if may_fetch {
                return Ok(source.get(dirs, settings.progress.as_ref())?);
            }
            Ok(source.at_hand(dirs)?.ok_or(FirecrackerError::Missing)?)
        });
        let program = program.await?;
        *self.firecracker.lock().await = Some((mark, program.clone()));
        Ok(program)
    }
}

/// An engine that nobody has probed.
fn chosen(engine: EngineKind, bundle: &Bundle) -> Result<EngineRecord, PyroError> {
    let kvm = HostFacts::gather().kvm;
    if engine.acceleration() == Acceleration::Kvm && !kvm.writable {
        let way_out = kvm.hint();
        return Err(PyroError::NoKvm {
            engine: engine.name(),
            why: kvm.problem.unwrap_or_default(),
            way_out,
        });
    }
    Ok(EngineRecord {
        engine,
        reason: "it was asked for by name".to_owned(),
        wanting: None,
        probed_at: Timestamp::now(),
        probe_millis: 0,
        host_identity: host::identity(bundle.id()),
    })
}

/// Runs blocking work on a thread where it does not hold up the others.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PyroError> + Send + 'static,
) -> Result<T, PyroError> {
    on_thread(work).await
}

/// The same for work that fails otherwise, or not at all.
pub(crate) async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_go_by_their_names() {
        for name in ["auto", "firecracker", "qemu-kvm", "qemu-emulation"] {
            assert_eq!(name.parse::<EngineChoice>().unwrap().name(), name);
            let looked_up = EngineChoice::resolve(&|_| Some(name.into())).unwrap();
            assert_eq!(looked_up.name(), name);
        }
        assert_eq!(EngineChoice::resolve(&|_| None).unwrap(), EngineChoice::Auto);
        assert!("kvm".parse::<EngineChoice>().unwrap_err().to_string().contains("`kvm`"));
    }
}
