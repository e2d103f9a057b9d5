//! The record of what was proven on this host, by doing it.

use crate::Pyro;
use crate::engine::blocking;
use crate::readiness::Capabilities;
use jiff::Timestamp;
use pyro_runtime::probe::CapabilityRecord;
use pyro_runtime::{Bundle, host};

impl Pyro {
    /// What was proven with this bundle on this host.
    pub(crate) async fn proven(&self, bundle: &Bundle) -> Capabilities {
        let (dirs, id) = (self.dirs().clone(), bundle.id());
        let record =
            blocking(move || Ok(CapabilityRecord::load(&dirs, host::identity(id)))).await.ok().flatten();
        record.map_or(Capabilities { vm_boot: false, guest_exec: false, guest_network: false }, |record| {
            Capabilities {
                vm_boot: record.vm_boot.is_some(),
                guest_exec: record.guest_exec.is_some(),
                guest_network: record.guest_network.is_some(),
            }
        })
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
        let (dirs, id) = (self.dirs().clone(), bundle.id());
        let recorded = blocking(move || {
            let identity = host::identity(id);
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
