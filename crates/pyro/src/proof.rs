//! The record of what was proven on this host, by doing it.

use crate::engine::blocking;
use crate::readiness::Capabilities;
use crate::{Pyro, PyroError};
use jiff::Timestamp;
use pyro_runtime::probe::{CapabilityRecord, EngineKind};
use pyro_runtime::{Bundle, host};

impl Pyro {
    /// What was proven with this bundle on this host, on the engine that is used.
    pub(crate) async fn proven(&self, bundle: &Bundle) -> Capabilities {
        let (dirs, id, mark) = (self.dirs().clone(), bundle.id(), self.engine_mark().await);
        let load = move || Ok(CapabilityRecord::load(&dirs, host::identity_with(id, &mark?)));
        let record = blocking(load).await.ok().flatten();
        record.map_or(Capabilities { vm_boot: false, guest_exec: false, guest_network: false }, |record| {
            Capabilities {
                vm_boot: record.vm_boot.is_some(),
                guest_exec: record.guest_exec.is_some(),
                guest_network: record.guest_network.is_some(),
            }
        })
    }

    /// Tells engines apart: by their names, and one Firecracker from another.
    async fn engine_mark(&self) -> Result<String, PyroError> {
        let engine = self.engine_record(false).await?.engine;
        let program = match engine {
            EngineKind::Firecracker => self.settings.firecracker.mark(),
            EngineKind::QemuKvm | EngineKind::QemuEmulation => String::new(),
        };
        Ok(format!("{} {program}", engine.name()))
    }

    /// A guest has booted: record it, once.
    pub(crate) async fn record_boot(&self) {
        self.record_capability(|known, now| CapabilityRecord { vm_boot: known.vm_boot.or(now), ..known })
            .await;
    }

    /// A command has run in a guest: record it, once.
    pub(crate) async fn record_proof(&self) {
        self.record_capability(|known, now| CapabilityRecord {
            vm_boot: known.vm_boot.or(now),
            guest_exec: known.guest_exec.or(now),
            ..known
        })
        .await;
    }

    /// A guest has reached the network: record it, once.
    pub(crate) async fn record_network_proof(&self) {
        self.record_capability(|known, now| CapabilityRecord {
            guest_network: known.guest_network.or(now),
            ..known
        })
        .await;
    }

    async fn record_capability(
        &self,
        proven: impl FnOnce(CapabilityRecord, Option<Timestamp>) -> CapabilityRecord + Send + 'static,
    ) {
        let Ok(bundle) = self.bundle().await else { return };
        let (dirs, id, mark) = (self.dirs().clone(), bundle.id(), self.engine_mark().await);
        let recorded = blocking(move || {
            let identity = host::identity_with(id, &mark?);
            let known = CapabilityRecord::load(&dirs, identity).unwrap_or(CapabilityRecord::none(identity));
            let now_known = proven(known.clone(), Some(Timestamp::now()));
            if now_known != known {
                now_known.store(&dirs)?;
            }
            Ok(())
        });
        // A state directory that cannot be written takes nothing from the result of the command.
        let _unrecorded = recorded.await;
    }
}
