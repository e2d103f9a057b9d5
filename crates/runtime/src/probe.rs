//! The records of what was proven on this host: which acceleration boots a guest, and what guests can do.
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

/// Which acceleration really boots a guest here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccelerationRecord {
    /// What to use.
    pub acceleration: Acceleration,
    /// Why: what the probe saw.
    pub reason: String,
    /// When it was probed.
    pub probed_at: Timestamp,
    /// How long the probe took.
    pub probe_millis: u64,
    /// Of which host with which bundle it is true.
    pub host_identity: Sha256Digest,
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

impl Record for AccelerationRecord {
    const FILE: &'static str = "acceleration.json";

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

impl AccelerationRecord {
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
    fn a_record_counts_for_its_own_identity() {
        let home = tempfile::tempdir().unwrap();
        let dirs = Dirs::under(home.path());
        let (here, elsewhere) = (Sha256Digest::of(b"here"), Sha256Digest::of(b"elsewhere"));
        assert_eq!(AccelerationRecord::load(&dirs, here), None);
        let record = AccelerationRecord {
            acceleration: Acceleration::Emulation,
            reason: "/dev/kvm opens, but no guest came up in 10 s".to_owned(),
            probed_at: "2026-11-20T20:00:00Z".parse().unwrap(),
            probe_millis: 10_020,
            host_identity: here,
        };
        record.store(&dirs).unwrap();
        assert_eq!(AccelerationRecord::load(&dirs, here), Some(record));
        assert_eq!(AccelerationRecord::load(&dirs, elsewhere), None);
        fs::write(dirs.state().join("acceleration.json"), "{").unwrap();
        assert_eq!(AccelerationRecord::load(&dirs, here), None);
        let proven =
            CapabilityRecord { vm_boot: Some(Timestamp::UNIX_EPOCH), ..CapabilityRecord::none(here) };
        proven.store(&dirs).unwrap();
        assert_eq!(CapabilityRecord::load(&dirs, here), Some(proven));
        assert_eq!(CapabilityRecord::load(&dirs, elsewhere), None);
    }
}
