//! The runtime bundle: VMM, kernel, modules and image tools, in one directory that needs nothing of the host.
//!
//! Invariants:
//! - A bundle's directory is named by its content ([`Manifest::id`]) and never changes once it is there; what is derived
//!   from it (the initramfs with this binary's agent, the formatted disk) lives beside it.
//! - It appears whole or not at all: built in a directory of its own under a lock, then renamed; `current.json` names the
//!   one in use and is replaced atomically.
//! - Its programs run through its own dynamic loader with its own libraries, so no library of the host's is ever mixed
//!   in, and nothing is installed.
//!
//! Layout: `bin/`, `lib/` (loader and libraries), `share/qemu/` (firmware), `etc/`, `kernel/` (vmlinux, and the modules
//! that reach the root), `images/` (module tree), `manifest.json`.

mod build;
mod contents;
mod cpio;
mod derived;
pub(crate) mod elf;
mod error;
mod initramfs;
mod manifest;
mod mkfs;
mod modules;
mod scratch;
mod stage;
mod store;
mod tool;
mod verify;
mod vmlinux;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

pub use derived::SEED_DISK_BYTES;
pub use error::{BundleError, Problem};
pub use manifest::{Components, Manifest, ManifestFile, ManifestPackage};
pub use mkfs::{MkfsTar, Tails};
pub use scratch::{SCRATCH_DISK_BYTES, scratch_disk_layout};
pub use store::{BundleStatus, Check, EnsureOptions};
pub use tool::Tool;
pub use vmlinux::VmlinuxError;

use crate::digest::Sha256Digest;
use crate::paths::Dirs;
use crate::progress::Progress;

/// A complete runtime bundle.
#[derive(Debug, Clone)]
pub struct Bundle {
    dir: PathBuf,
    derived: PathBuf,
    manifest: Arc<Manifest>,
}

impl Bundle {
    /// The bundle in use, if there is one and every file of it is there with its size. Cheap; never uses the network.
    ///
    /// With `PYRO_RUNTIME_BUNDLE_DIR` that directory is verified whole, and must be sound.
    pub fn open(dirs: &Dirs) -> Result<Option<Self>, BundleError> {
        store::open(dirs)
    }

    /// The bundle in use, fetched and built first when there is none, when it is damaged, or when `options` ask for it.
    ///
    /// Safe under several processes at once: one builds, the others wait for it. Killed at any moment, it leaves
    /// nothing but downloads that the next call continues.
    pub fn ensure(
        dirs: &Dirs,
        options: &EnsureOptions,
        progress: &Arc<dyn Progress>,
    ) -> Result<Self, BundleError> {
        store::ensure(dirs, options, progress)
    }

    /// What is there, and in what condition.
    pub fn status(dirs: &Dirs) -> Result<BundleStatus, BundleError> {
        store::status(dirs)
    }

    /// Removes every bundle of the cache, and what was derived from them. Running machines keep what they have open.
    pub fn remove(dirs: &Dirs) -> Result<(), BundleError> {
        store::remove(dirs)
    }

    /// Removes the bundles that are not in use. Returns their names.
    pub fn prune(dirs: &Dirs) -> Result<Vec<String>, BundleError> {
        store::prune(dirs)
    }

    /// Compares every file with the manifest. Fails naming each one that is missing, changed or additional.
    /// What is derived from it is made anew and compared, too.
    pub fn verify(&self) -> Result<(), BundleError> {
        verify::contents(&self.dir, &self.manifest)?;
        derived::verify(&self.dir, &self.derived)
    }

    fn at(dir: PathBuf, derived: PathBuf, manifest: Manifest) -> Self {
        Self { dir, derived, manifest: Arc::new(manifest) }
    }

    /// The digest of everything in it.
    pub fn id(&self) -> Sha256Digest {
        self.manifest.id
    }

    /// What is in it, and where that came from.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A command that runs `tool` with the bundle's libraries and an environment of its own. Arguments can be added.
    pub fn command(&self, tool: Tool) -> Command {
        tool::command(&self.dir, tool)
    }

    /// The kernel, an uncompressed ELF file.
    pub fn kernel_elf(&self) -> PathBuf {
        self.dir.join(contents::VMLINUX)
    }

    /// What the kernel calls itself, such as `6.12.43+deb13-cloud-amd64`.
    pub fn kernel_release(&self) -> &str {
        &self.manifest.components.kernel_release
    }

    /// A read-only EROFS image of the kernel's modules, to be mounted at `/usr/lib/modules`.
    pub fn modules_image(&self) -> PathBuf {
        self.dir.join(contents::MODULES_IMAGE)
    }

    /// A formatted, empty writable disk of [`SCRATCH_DISK_BYTES`], sparse: copy it with [`crate::fs::copy_sparse`].
    /// Made when it is not there.
    pub fn scratch_template(&self) -> Result<PathBuf, BundleError> {
        derived::scratch_template(&self.dir, &self.derived)
    }

    /// What is in the place of the disk with a workspace's first tree where there is none: [`SEED_DISK_BYTES`] of nothing, sparse.
    /// Made when it is not there.
    pub fn no_seed(&self) -> Result<PathBuf, BundleError> {
        derived::no_seed(&self.derived)
    }

    /// The initramfs of this bundle's kernel and this binary's agent. Written when it is not there, or not right.
    pub fn initramfs(&self) -> Result<PathBuf, BundleError> {
        derived::initramfs(&self.dir, &self.derived)
    }
}
