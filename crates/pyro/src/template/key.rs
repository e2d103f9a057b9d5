//! What a template is good for.

use pyro_runtime::Sha256Digest;
use serde::{Deserialize, Serialize};

/// Everything that a guest's memory depends on. A template serves machines with the same key, and no others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TemplateKey {
    /// Name of the environment.
    pub(crate) environment: String,
    /// Digest of its image.
    pub(crate) image: String,
    /// Digest of the runtime bundle: the kernel and the VMM.
    pub(crate) bundle: Sha256Digest,
    /// Digest of the agent.
    pub(crate) agent: Sha256Digest,
    /// Name of the engine.
    pub(crate) engine: String,
    /// Digest of how that engine builds machines, and of the layout of their writable disk.
    pub(crate) machine: Sha256Digest,
    /// Digest of this host: processor, kernel, access to KVM.
    pub(crate) host: Sha256Digest,
    /// Virtual CPUs.
    pub(crate) vcpu_count: u32,
    /// Guest memory, in MiB.
    pub(crate) mem_mib: u32,
}

impl TemplateKey {
    /// The name of its files: one for each shape of a machine in an environment, so that a template takes the place of the
    /// one before.
    pub(crate) fn name(&self) -> String {
        format!("{}-{}x{}", self.environment.replace(':', "-"), self.vcpu_count, self.mem_mib)
    }

    /// In words, what a template made for `self` was made for that `wanted` is not.
    pub(crate) fn difference(&self, wanted: &Self) -> Option<&'static str> {
        let parts = [
            (self.image == wanted.image, "another build of the environment"),
            (self.bundle == wanted.bundle, "another kernel or VMM"),
            (self.agent == wanted.agent, "another agent"),
            (self.engine == wanted.engine && self.machine == wanted.machine, "another kind of machine"),
            (self.host == wanted.host, "another host or processor"),
            (self == wanted, "another machine"),
        ];
        parts.into_iter().find_map(|(same, what)| (!same).then_some(what))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::template) fn key() -> TemplateKey {
        let digest = Sha256Digest::of(b"");
        TemplateKey {
            environment: "debian:12".to_owned(),
            image: "abc".to_owned(),
            bundle: digest,
            agent: digest,
            engine: "qemu-emulation".to_owned(),
            machine: digest,
            host: digest,
            vcpu_count: 1,
            mem_mib: 1024,
        }
    }

    #[test]
    fn every_part_counts_and_is_told() {
        let (key, other) = (key(), Sha256Digest::of(b"other"));
        assert_eq!(key.difference(&key), None);
        assert_eq!(key.name(), "debian-12-1x1024");
        let cases = [
            (TemplateKey { image: "def".to_owned(), ..key.clone() }, "environment"),
            (TemplateKey { bundle: other, ..key.clone() }, "kernel or VMM"),
            (TemplateKey { agent: other, ..key.clone() }, "agent"),
            (TemplateKey { engine: "qemu-kvm".to_owned(), ..key.clone() }, "kind of machine"),
            (TemplateKey { machine: other, ..key.clone() }, "kind of machine"),
            (TemplateKey { host: other, ..key.clone() }, "processor"),
            (TemplateKey { mem_mib: 512, ..key.clone() }, "machine"),
        ];
        for (changed, expected) in cases {
            assert!(changed.difference(&key).unwrap().contains(expected), "{changed:?}");
        }
    }
}
