//! The files of a template, and their names in the cache.

use pyro_vmm::Snapshot;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::path::PathBuf;

/// One of each file that a template has. A machine begins with one of two memories: the one in which the root is joined and
/// filled in, where its disk is a copy of the template's; else the one in which nothing of a disk is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parts<T> {
    /// Memory of the guest with a joined root.
    pub(crate) ram: T,
    /// Its CPUs and devices.
    pub(crate) state: T,
    /// Its writable disk, when its memory was taken.
    pub(crate) disk: T,
    /// Memory of the guest without a disk.
    pub(crate) apart_ram: T,
    /// Its CPUs and devices.
    pub(crate) apart_state: T,
}

/// Which of them are hashed before each use: what is small. A change in the others shows in their stamps.
pub(super) const ALWAYS_HASHED: Parts<bool> =
    Parts { ram: false, state: true, disk: false, apart_ram: false, apart_state: true };

/// The ends of the names of a template's files.
pub(super) const KINDS: Parts<&str> =
    Parts { ram: "ram", state: "state", disk: "disk", apart_ram: "apart.ram", apart_state: "apart.state" };

impl<T> Parts<T> {
    /// Makes something of each part.
    pub(super) fn map<U>(&self, mut make: impl FnMut(&T) -> U) -> Parts<U> {
        let Ok(parts) = self.try_map(|part| Ok::<_, Infallible>(make(part)));
        parts
    }

    /// Makes something of each part; fails with the first that cannot be made.
    pub(super) fn try_map<U, E>(&self, mut make: impl FnMut(&T) -> Result<U, E>) -> Result<Parts<U>, E> {
        Ok(Parts {
            ram: make(&self.ram)?,
            state: make(&self.state)?,
            disk: make(&self.disk)?,
            apart_ram: make(&self.apart_ram)?,
            apart_state: make(&self.apart_state)?,
        })
    }

    /// Each part.
    pub(super) fn all(&self) -> [&T; 5] {
        [&self.ram, &self.state, &self.disk, &self.apart_ram, &self.apart_state]
    }

    /// Each part of both.
    pub(super) fn zip<'a, U>(&'a self, other: &'a Parts<U>) -> Parts<(&'a T, &'a U)> {
        Parts {
            ram: (&self.ram, &other.ram),
            state: (&self.state, &other.state),
            disk: (&self.disk, &other.disk),
            apart_ram: (&self.apart_ram, &other.apart_ram),
            apart_state: (&self.apart_state, &other.apart_state),
        }
    }
}

impl Parts<PathBuf> {
    /// What machines with a copy of the template's disk begin with.
    pub(crate) fn joined(&self) -> Snapshot {
        Snapshot { ram: self.ram.clone(), state: self.state.clone() }
    }

    /// What machines with any other disk begin with.
    pub(crate) fn apart(&self) -> Snapshot {
        Snapshot { ram: self.apart_ram.clone(), state: self.apart_state.clone() }
    }
}

/// Digits of the digest of one of them, the state of the guest with a joined root, in the names of all files of content.
pub(super) const SHORT_DIGEST: usize = 16;

/// The name of the template that a file of the cache belongs to, when it is of the form that pyro gives its files.
pub(super) fn name_of(file: &str) -> Option<&str> {
    let records = [".rejected.json", ".json", ".lock"];
    let is_name = |name: &&str| {
        let Some((environment, shape)) = name.rsplit_once('-') else { return false };
        let Some((vcpus, memory)) = shape.split_once('x') else { return false };
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
        let is_environment = !environment.is_empty() && environment.bytes().all(is_word);
        is_environment && is_number(vcpus) && is_number(memory)
    };
    file.strip_prefix(".build-")
        .or_else(|| stem_of_content(file))
        .or_else(|| records.iter().find_map(|end| file.strip_suffix(end)))
        .filter(is_name)
}

/// Whether a file of the cache is of the form of those that a manifest names, or of the directory that they are made in.
pub(super) fn is_content(file: &str) -> bool {
    file.starts_with(".build-") || stem_of_content(file).is_some()
}

fn stem_of_content(file: &str) -> Option<&str> {
    KINDS.all().into_iter().find_map(|kind| {
        let (name, digest) = file.strip_suffix(kind)?.strip_suffix('.')?.rsplit_once('-')?;
        let is_digest = digest.len() == SHORT_DIGEST && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_digest.then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_our_form_have_a_name() {
        let ours = [
            "debian-12-1x1024.json",
            "debian-12-1x1024.rejected.json",
            "debian-12-1x1024.lock",
            "debian-12-1x1024-0123456789abcdef.ram",
            "debian-12-1x1024-0123456789abcdef.state",
            "debian-12-1x1024-0123456789abcdef.apart.state",
            ".build-debian-12-1x1024",
        ];
        for file in ours {
            assert_eq!(name_of(file), Some("debian-12-1x1024"), "{file}");
        }
        for file in [
            "notes.json",
            "../debian-12-1x1024.json",
            "debian-12-1x.json",
            "debian-12-1x1024-01.ram",
            "debian-12-1x1024-0123456789abcdef.other.ram",
            ".json",
            "",
        ] {
            assert_eq!(name_of(file), None, "{file}");
        }
    }
}
