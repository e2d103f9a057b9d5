//! The records of what was proven on this host: which engine boots a guest, and what guests can do.
//!
//! Kept in the state directory, apart from bundles, since they are true of one host only. A record counts for the
//! identity it was made with ([`crate::host::identity`]) and for no other. The proving itself boots guests, so it is the
//! matter of the crates that can.

use std::fs;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::digest::Sha256Digest;
use crate::fs::{FsError, create_dir_all, write_atomic};
use crate::paths::Dirs;

/// How guests run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Acceleration {
    /// On the processor's own virtualisation.
    Kvm,
    /// In software: slower, and no security boundary.
    Emulation,
}

impl Acceleration {
    /// Its name in output and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Emulation => "emulation",
        }
    }
}

/// What runs guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineKind {
    /// Firecracker, on KVM.
    Firecracker,
    /// QEMU, on KVM.
    QemuKvm,
    /// QEMU, in software emulation.
    QemuEmulation,
}

impl EngineKind {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Firecracker, Self::QemuKvm, Self::QemuEmulation];

    /// Its name in output, JSON and `PYRO_ENGINE`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Firecracker => "firecracker",
            Self::QemuKvm => "qemu-kvm",
            Self::QemuEmulation => "qemu-emulation",
        }
    }

    /// What its guests run on.
    pub fn acceleration(self) -> Acceleration {
        match self {
            Self::Firecracker | Self::QemuKvm => Acceleration::Kvm,
            Self::QemuEmulation => Acceleration::Emulation,
        }
    }
}

/// Which engine really boots a guest here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineRecord {
    /// What to use.
    pub engine: EngineKind,
    /// Why: what the probe saw.
    pub reason: String,
    /// Firecracker would be better, and is not there: when it was last tried to fetch it, if it was.
    pub wanting: Option<Wanting>,
    /// When it was probed.
    pub probed_at: Timestamp,
    /// How long the probe took.
    pub probe_millis: u64,
    /// Of which host with which bundle it is true.
    pub host_identity: Sha256Digest,
}

/// What is known of a Firecracker that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanting {
    /// When it could not be fetched; never, where nobody was to.
    pub tried_at: Option<Timestamp>,
}

/// When each capability was proven; what is `None` was not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilityRecord {
    /// A guest came up.
    pub vm_boot: Option<Timestamp>,
    /// A command ran in a guest.
    pub guest_exec: Option<Timestamp>,
    /// A guest reached the network.
    pub guest_network: Option<Timestamp>,
    /// Of which host with which bundle it is true.
    pub host_identity: Sha256Digest,
}

impl CapabilityRecord {
    /// Nothing proven yet.
    pub fn none(host_identity: Sha256Digest) -> Self {
        Self { vm_boot: None, guest_exec: None, guest_network: None, host_identity }
    }
}

/// A record kept for one identity of the host.
trait Record: Serialize + DeserializeOwned {
    const FILE: &'static str;

    fn identity(&self) -> Sha256Digest;
}

impl Record for EngineRecord {
    const FILE: &'static str = "engine.json";

    fn identity(&self) -> Sha256Digest {
        self.host_identity
    }
}

impl Record for CapabilityRecord {
    const FILE: &'static str = "capabilities.json";

    fn identity(&self) -> Sha256Digest {
        self.host_identity
    }
}

impl EngineRecord {
    /// The record made with this identity; `None` when there is none, whatever the reason.
    pub fn load(dirs: &Dirs, identity: Sha256Digest) -> Option<Self> {
        load(dirs, identity)
    }

    /// Replaces the record.
    pub fn store(&self, dirs: &Dirs) -> Result<(), FsError> {
        store(self, dirs)
    }
}

impl CapabilityRecord {
    /// The record made with this identity; `None` when there is none, whatever the reason.
    pub fn load(dirs: &Dirs, identity: Sha256Digest) -> Option<Self> {
        load(dirs, identity)
    }

    /// Replaces the record.
    pub fn store(&self, dirs: &Dirs) -> Result<(), FsError> {
        store(self, dirs)
    }
}

fn path<R: Record>(dirs: &Dirs) -> PathBuf {
    dirs.state().join(R::FILE)
}

fn load<R: Record>(dirs: &Dirs, identity: Sha256Digest) -> Option<R> {
    // An unreadable record is no record: it is only a cache of what can be found out again.
    let record: R = serde_json::from_slice(&fs::read(path::<R>(dirs)).ok()?).ok()?;
    (record.identity() == identity).then_some(record)
}

fn store<R: Record>(record: &R, dirs: &Dirs) -> Result<(), FsError> {
    let path = path::<R>(dirs);
    create_dir_all(dirs.state())?;
    let text =
        serde_json::to_vec_pretty(record).map_err(|error| FsError::on("write", &path)(error.into()))?;
    write_atomic(&path, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_recorded_by_their_names() {
        for engine in EngineKind::ALL {
            assert_eq!(serde_json::to_value(engine).unwrap(), engine.name());
        }
    }

    #[test]
    fn a_record_counts_for_its_own_identity() {
        let home = tempfile::tempdir().unwrap();
        let dirs = Dirs::under(home.path());
        let (here, elsewhere) = (Sha256Digest::of(b"here"), Sha256Digest::of(b"elsewhere"));
        assert_eq!(EngineRecord::load(&dirs, here), None);
        let record = EngineRecord {
            engine: EngineKind::QemuEmulation,
            wanting: Some(Wanting { tried_at: None }),
            reason: "/dev/kvm opens, but no guest came up in 10 s".to_owned(),
            probed_at: "2026-11-20T20:00:00Z".parse().unwrap(),
            probe_millis: 10_020,
            host_identity: here,
        };
        record.store(&dirs).unwrap();
        assert_eq!(EngineRecord::load(&dirs, here), Some(record));
        assert_eq!(EngineRecord::load(&dirs, elsewhere), None);
        fs::write(dirs.state().join("engine.json"), "{").unwrap();
        assert_eq!(EngineRecord::load(&dirs, here), None);
        let proven =
            CapabilityRecord { vm_boot: Some(Timestamp::UNIX_EPOCH), ..CapabilityRecord::none(here) };
        proven.store(&dirs).unwrap();
        assert_eq!(CapabilityRecord::load(&dirs, here), Some(proven));
        assert_eq!(CapabilityRecord::load(&dirs, elsewhere), None);
    }
}
