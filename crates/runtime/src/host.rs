//! What this host is and offers, for `doctor` and for keying what was proven on it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::Serialize;

use crate::digest::{Hasher, Sha256Digest};

/// The device through which a process uses the processor's virtualisation.
const KVM: &str = "/dev/kvm";

/// Facts about this host that decide how a guest can run on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostFacts {
    /// Such as `linux`.
    pub os: String,
    /// Such as `x86_64`.
    pub arch: String,
    /// The running kernel's release.
    pub kernel_release: String,
    /// Access to hardware virtualisation.
    pub kvm: KvmAccess,
}

/// Access to `/dev/kvm`. That it opens does not prove that a guest boots on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KvmAccess {
    /// The device is there.
    pub exists: bool,
    /// This process can open it for reading.
    pub readable: bool,
    /// This process can open it for reading and writing, which is what a VMM needs.
    pub writable: bool,
    /// The group that owns it: joining it is the usual way to get access.
    pub group: Option<String>,
    /// Why it cannot be opened for writing.
    pub problem: Option<String>,
}

impl HostFacts {
    /// Looks at this host.
    pub fn gather() -> Self {
        Self {
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            kernel_release: kernel_release(),
            kvm: KvmAccess::of(Path::new(KVM), &read("/etc/group")),
        }
    }

    /// Whether pyro runs guests on this platform at all.
    pub fn is_supported(&self) -> bool {
        self.os == "linux" && self.arch == "x86_64"
    }
}

impl KvmAccess {
    fn of(device: &Path, groups: &str) -> Self {
        let metadata = fs::metadata(device);
        let opened = File::options().read(true).write(true).open(device);
        Self {
            exists: metadata.is_ok(),
            readable: File::open(device).is_ok(),
            group: metadata.ok().and_then(|metadata| group_name(groups, metadata.gid())),
            writable: opened.is_ok(),
            problem: opened.err().map(|error: io::Error| error.to_string()),
        }
    }

    /// What the user can do to get access; `None` when there is access, or nothing to be had.
    pub fn hint(&self) -> Option<String> {
        if self.writable || !self.exists {
            return None;
        }
        match self.group.as_deref() {
            Some(group) if group != "root" => Some(format!(
                "Join the group that owns it (`sudo usermod -aG {group} $USER`) and log in again."
            )),
            _ => Some(format!("Ask the administrator of this host for access to {KVM}.")),
        }
    }
}

/// What keys everything proven on this host with one bundle: another machine, kernel, processor or bundle may behave
/// otherwise, and has another identity.
pub fn identity(bundle: Sha256Digest) -> Sha256Digest {
    identity_with(bundle, "")
}

/// The same, of what depends on something else as well.
pub fn identity_with(bundle: Sha256Digest, other: &str) -> Sha256Digest {
    identity_of(&[
        read("/etc/machine-id").trim(),
        &kernel_release(),
        &processor(&read("/proc/cpuinfo")),
        // Access may come with a group, or go: then the probe is worth another try.
        if File::options().read(true).write(true).open(KVM).is_ok() { "kvm" } else { "no kvm" },
        &bundle.to_string(),
        other,
    ])
}

fn identity_of(parts: &[&str]) -> Sha256Digest {
    let mut hasher = Hasher::default();
    for part in parts {
        // Lengths keep what ends one part from beginning the next.
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finish()
}

fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Model, microcode and flags of the first processor; frequencies and the like, which change, left out.
fn processor(cpuinfo: &str) -> String {
    let wanted = |line: &&str| {
        let key = line.split(':').next().unwrap_or_default().trim();
        matches!(
            key,
            "vendor_id" | "cpu family" | "model" | "model name" | "stepping" | "microcode" | "flags"
        )
    };
    cpuinfo.lines().take_while(|line| !line.is_empty()).filter(wanted).collect::<Vec<_>>().join("\n")
}

fn group_name(groups: &str, gid: u32) -> Option<String> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(gid)).then(|| name.to_owned())
    })
}

/// A file of the host's that describes it; nothing when it is not there.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_is_what_does_not_change() {
        let cpu = |mhz: &str, flags: &str| {
            format!(
                "processor\t: 0\nmodel name\t: X\ncpu MHz\t: {mhz}\nflags\t: {flags}\n\nprocessor\t: 1\nmodel name\t: Y\n"
            )
        };
        assert_eq!(processor(&cpu("1000", "svm")), processor(&cpu("2000", "svm")));
        assert_ne!(processor(&cpu("1000", "svm")), processor(&cpu("1000", "")));
        assert!(!processor(&cpu("1000", "svm")).contains('Y'));
    }

    #[test]
    fn identities_differ_in_every_part() {
        assert_eq!(identity_of(&["a", "b"]), identity_of(&["a", "b"]));
        for other in [["ab", ""], ["", "ab"], ["a", "c"]] {
            assert_ne!(identity_of(&["a", "b"]), identity_of(&other));
        }
        assert_ne!(identity(Sha256Digest::of(b"x")), identity(Sha256Digest::of(b"y")));
    }

    #[test]
    fn access_to_the_device() {
        let dir = tempfile::tempdir().unwrap();
        let device = dir.path().join("kvm");
        let missing = KvmAccess::of(&device, "");
        assert!(
            !missing.exists && !missing.writable && missing.problem.is_some() && missing.hint().is_none()
        );
        fs::write(&device, "").unwrap();
        let gid = fs::metadata(&device).unwrap().gid();
        let present = KvmAccess::of(&device, &format!("other:x:4294967294:\nkvm:x:{gid}:me\n"));
        assert!(present.exists && present.readable && present.writable && present.problem.is_none());
        assert_eq!((present.group.as_deref(), present.hint()), (Some("kvm"), None));
        let denied = KvmAccess { writable: false, ..present };
        assert!(denied.hint().unwrap().contains("usermod -aG kvm"));
    }

    #[test]
    fn this_host_is_described() {
        let facts = HostFacts::gather();
        assert!(facts.is_supported() && !facts.kernel_release.is_empty());
    }
}
