//! What a machine is made of.

use crate::VmmError;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

/// Number of virtual CPUs, 1 to 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VcpuCount(u32);

impl VcpuCount {
    /// Smallest count.
    pub const MIN: u32 = 1;
    /// Largest count.
    pub const MAX: u32 = 32;

    /// Fails with [`VmmError::OutOfRange`] outside `MIN..=MAX`.
    pub fn new(count: u32) -> Result<Self, VmmError> {
        in_range("vcpu_count", count, Self::MIN, Self::MAX).map(Self)
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

/// Guest memory in MiB, 192 to 65,536. Below that no catalog environment boots and runs a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MemMib(u32);

impl MemMib {
    /// Smallest memory, in MiB.
    pub const MIN: u32 = 192;
    /// Largest memory, in MiB.
    pub const MAX: u32 = 65_536;

    /// Fails with [`VmmError::OutOfRange`] outside `MIN..=MAX`.
    pub fn new(mib: u32) -> Result<Self, VmmError> {
        in_range("mem_mib", mib, Self::MIN, Self::MAX).map(Self)
    }

    /// The number, in MiB.
    pub fn get(self) -> u32 {
        self.0
    }
}

fn in_range(what: &'static str, given: u32, min: u32, max: u32) -> Result<u32, VmmError> {
    if (min..=max).contains(&given) { Ok(given) } else { Err(VmmError::OutOfRange { what, min, max, given }) }
}

/// One raw disk image.
#[derive(Debug, Clone)]
pub struct Disk {
    /// The image on the host.
    pub path: PathBuf,
    /// The serial number by which the guest finds it (see [`pyro_protocol::serial`]).
    pub serial: &'static str,
    /// The guest may not write to it; many machines may share it.
    pub read_only: bool,
    /// Its content is of no use after a crash of the host, so the guest's flushes need not reach the host's disk.
    pub volatile: bool,
}

/// Memory and devices of a machine at one moment, as two files that only the engine that wrote them can read.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The guest's memory, sparse.
    pub ram: PathBuf,
    /// CPUs and devices.
    pub state: PathBuf,
}

/// How a machine begins.
#[derive(Debug, Clone)]
pub enum Start {
    /// With its kernel.
    Boot,
    /// With its kernel, and with memory that [`crate::Machine::snapshot`] can write to these files, which must not exist.
    BootForSnapshot(Snapshot),
    /// Where another machine was when its snapshot was taken: one with the same CPUs, memory and serials of disks. The
    /// files are only read, and many machines may run from them at once. Disks that the guest had not mounted then may
    /// have any content.
    Restore(Snapshot),
}

/// One machine to launch.
#[derive(Debug, Clone)]
pub struct MachineSpec {
    /// Shows in process lists and logs.
    pub name: String,
    /// Virtual CPUs.
    pub vcpus: VcpuCount,
    /// Memory.
    pub memory: MemMib,
    /// Uncompressed ELF kernel.
    pub kernel: PathBuf,
    /// Initial ramdisk with the agent as `/init`.
    pub initramfs: PathBuf,
    /// Disks, found by serial.
    pub disks: Vec<Disk>,
    /// How it begins.
    pub start: Start,
    /// Existing private directory of this machine, the VMM's working directory.
    pub directory: PathBuf,
    /// A file that the VMM holds open as long as it lives, without using it: a lock on it lasts until the VMM, too, is gone.
    pub lock: Option<Arc<OwnedFd>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_include_their_ends_and_nothing_beyond() {
        assert!(VcpuCount::new(VcpuCount::MIN).is_ok() && VcpuCount::new(VcpuCount::MAX).is_ok());
        assert!(VcpuCount::new(0).is_err() && VcpuCount::new(VcpuCount::MAX + 1).is_err());
        assert!(MemMib::new(MemMib::MIN).is_ok() && MemMib::new(MemMib::MAX).is_ok());
        let refused = MemMib::new(64).unwrap_err();
        assert_eq!(refused.to_string(), "mem_mib must be between 192 and 65536, not 64");
    }
}
