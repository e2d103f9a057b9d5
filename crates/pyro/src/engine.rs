//! From nothing to an engine that boots guests: the bundle, the acceleration probe, the engine.

use crate::boxed;
use crate::{Pyro, PyroError};
use jiff::Timestamp;
use pyro_runtime::Bundle;
use pyro_runtime::bundle::EnsureOptions;
use pyro_runtime::env_vars::{EnvVars, Lookup};
use pyro_runtime::host::{self, HostFacts};
use pyro_runtime::probe::{Acceleration, AccelerationRecord};
use pyro_vmm::Engine;
use pyro_vmm::qemu::Qemu;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Which engine runs guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineChoice {
    /// QEMU on KVM where a probe has shown that guests boot on it, else in software emulation.
    #[default]
    Auto,
    /// QEMU on KVM, which nobody probes: a guest that does not come up there comes up nowhere.
    QemuKvm,
    /// QEMU in software emulation, whatever else there is.
    QemuEmulation,
}

impl EngineChoice {
    /// The choice that the environment's `PYRO_ENGINE` names; fails when it is no such name.
    pub fn resolve(lookup: Lookup<'_>) -> Result<Self, PyroError> {
        match lookup(EnvVars::PYRO_ENGINE).map(|value| value.to_string_lossy().into_owned()).as_deref() {
            None | Some("auto") => Ok(Self::Auto),
            Some("qemu-kvm") => Ok(Self::QemuKvm),
            Some("qemu-emulation") => Ok(Self::QemuEmulation),
            Some(other) => Err(PyroError::UnknownEngine { given: other.to_owned() }),
        }
    }

    /// Its acceleration, where it is not for a probe to find.
    fn acceleration(self) -> Option<Acceleration> {
        match self {
            Self::Auto => None,
            Self::QemuKvm => Some(Acceleration::Kvm),
            Self::QemuEmulation => Some(Acceleration::Emulation),
        }
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

    /// Which acceleration boots a guest on this host: the chosen one, else that of an earlier probe's record, else probed.
    #[boxed]
    pub async fn acceleration(&self) -> Result<AccelerationRecord, PyroError> {
        let bundle = self.bundle().await?;
        let record = self.acceleration.get_or_try_init(|| async {
            match self.settings.engine.acceleration() {
                Some(acceleration) => chosen(acceleration, &bundle),
                None => Ok(pyro_vmm::probe::acceleration(&bundle, self.dirs(), self.progress()).await?),
            }
        });
        Ok(record.await?.clone())
    }

    pub(crate) async fn engine(&self) -> Result<Arc<dyn Engine>, PyroError> {
        let acceleration = self.acceleration().await?.acceleration;
        Ok(Arc::new(Qemu::new(self.bundle().await?, acceleration)))
    }
}

/// An acceleration that nobody has probed.
fn chosen(acceleration: Acceleration, bundle: &Bundle) -> Result<AccelerationRecord, PyroError> {
    let kvm = HostFacts::gather().kvm;
    if acceleration == Acceleration::Kvm && !kvm.writable {
        return Err(PyroError::NoKvm { why: kvm.problem.unwrap_or_default() });
    }
    let reason = format!("{} says so", EnvVars::PYRO_ENGINE);
    let host_identity = host::identity(bundle.id());
    Ok(AccelerationRecord {
        acceleration,
        reason,
        probed_at: Timestamp::now(),
        probe_millis: 0,
        host_identity,
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
