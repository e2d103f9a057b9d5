//! From nothing to an engine that boots guests: the bundle, the acceleration probe, the engine.

use crate::{Pyro, PyroError};
use pyro_runtime::Bundle;
use pyro_runtime::bundle::EnsureOptions;
use pyro_runtime::probe::AccelerationRecord;
use pyro_vmm::Engine;
use pyro_vmm::qemu::Qemu;
use std::sync::Arc;

impl Pyro {
    /// The runtime bundle, fetched when it is missing or damaged.
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

    /// Which acceleration boots a guest on this host: answered from the record of an earlier probe, or probed.
    pub async fn acceleration(&self) -> Result<AccelerationRecord, PyroError> {
        let bundle = self.bundle().await?;
        let record = self.acceleration.get_or_try_init(|| async {
            Ok::<_, PyroError>(pyro_vmm::probe::acceleration(&bundle, self.dirs(), self.progress()).await?)
        });
        Ok(record.await?.clone())
    }

    pub(crate) async fn engine(&self) -> Result<Arc<dyn Engine>, PyroError> {
        let acceleration = self.acceleration().await?.acceleration;
        Ok(Arc::new(Qemu::new(self.bundle().await?, acceleration)))
    }
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
