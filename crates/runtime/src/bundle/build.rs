//! Building a bundle: resolve, download, unpack, derive the kernel's files, write the manifest.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::contents::{EXCLUDED, ROOTS, SUITE};
use super::error::BundleError;
use super::manifest::{Components, Manifest, ManifestPackage};
use super::stage::Stage;
use super::{modules, verify};
use crate::debian::{Archive, FetchOptions, Fetcher, Package};
use crate::digest::Sha256Digest;
use crate::fs::{remove_all, set_mode};
use crate::paths::Dirs;
use crate::progress::Progress;

/// A bundle under construction.
pub(super) struct Built {
    /// What is in the directory it was built in.
    pub(super) manifest: Manifest,
    fetcher: Fetcher,
    packages: Vec<Package>,
}

impl Built {
    /// Removes the packages from the cache: 50 MB that only a rebuild would need, and that can be had again.
    pub(super) fn forget_packages(&self) -> Result<(), BundleError> {
        Ok(self.fetcher.forget(&self.packages)?)
    }
}

/// Builds a bundle in the empty directory `dir`.
pub(super) fn build(
    dirs: &Dirs,
    options: &FetchOptions,
    dir: &Path,
    progress: &Arc<dyn Progress>,
) -> Result<Built, BundleError> {
    let fetcher = Fetcher::new(dirs, options, Arc::clone(progress))?;
    progress.phase("resolve");
    let archive = Archive::open(SUITE, &fetcher)?;
    let packages = archive.resolve(ROOTS, EXCLUDED)?;
    progress.phase("download");
    let files = fetcher.packages(&packages)?;
    let kernel_release = assemble(dir, &packages, files, progress)?;
    progress.phase("seal");
    let manifest = describe(dir, &archive, &packages, kernel_release)?;
    manifest.store(dir)?;
    Ok(Built { manifest, fetcher, packages })
}

/// Makes the bundle's files out of the packages. Returns the kernel's release.
fn assemble(
    dir: &Path,
    packages: &[Package],
    files: Vec<PathBuf>,
    progress: &Arc<dyn Progress>,
) -> Result<String, BundleError> {
    let staging = dir.join("staging");
    let stage = Stage::new(staging.clone())?;
    let mut sources: Vec<(PathBuf, Sha256Digest, u64)> =
        files.into_iter().zip(packages).map(|(file, package)| (file, package.sha256, package.size)).collect();
    // Largest first, so that the readers end together.
    sources.sort_by_key(|(.., size)| std::cmp::Reverse(*size));
    progress.phase("unpack");
    progress.total(sources.iter().map(|(.., size)| size).sum());
    let sources: Vec<(PathBuf, Sha256Digest)> =
        sources.into_iter().map(|(file, sha256, _)| (file, sha256)).collect();
    stage.take(&sources, &|bytes| progress.advance(bytes))?;
    stage.place_programs(dir)?;
    progress.phase("kernel");
    let release = stage.place_kernel(dir)?;
    progress.phase("modules");
    let root = stage.modules_root();
    modules::index(dir, &root, &release)?;
    modules::write_boot_modules(dir, &root, &release)?;
    modules::write_image(dir, &root)?;
    remove_all(&staging)?;
    Ok(release)
}

fn describe(
    dir: &Path,
    archive: &Archive,
    packages: &[Package],
    release: String,
) -> Result<Manifest, BundleError> {
    let version = |name: &str| {
        let found = packages.iter().find(|package| package.name == name);
        found.map(|package| package.version.clone()).unwrap_or_default()
    };
    let components = Components {
        qemu: version("qemu-system-x86"),
        kernel: version("linux-image-cloud-amd64"),
        kernel_release: release,
        e2fsprogs: version("e2fsprogs"),
        erofs_utils: version("erofs-utils"),
    };
    let mut files = Vec::new();
    for path in verify::files_below(dir)? {
        // Whatever the umask was: the same content has to give the same bundle.
        let executable = path.starts_with("bin/") || path.starts_with("lib/");
        set_mode(&dir.join(&path), if executable { 0o755 } else { 0o644 })?;
        files.push(verify::describe(dir, path)?);
    }
    let listed = packages
        .iter()
        .map(|package| ManifestPackage {
            name: package.name.clone(),
            version: package.version.clone(),
            sha256: package.sha256,
        })
        .collect();
    Ok(Manifest::new(archive.info().clone(), components, listed, files))
}
