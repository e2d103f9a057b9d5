//! From signed packages to a read-only image, without root.
//!
//! 1. Resolve the recipe's packages and fetch them; every file is checked against the signed index.
//! 2. *Bootstrap image*: the essential packages' files, unpacked with the ownership kept in a tar stream that mkfs.erofs
//!    reads, so that nobody needs to be root; besides, all packages, repacked without compression.
//! 3. *Second stage*: a throwaway guest boots that image, installs every package with the real dpkg, removes what is of
//!    this build alone, and writes the whole root as a tar, sorted and with clamped times, to a raw disk.
//! 4. *Final image*: mkfs.erofs turns that tar into the environment. Same inputs, same digest.
//!
//! Everything happens in a directory of its own beside the finished environments; the lock of the environment keeps a
//! second process out, which then finds the work done.

mod bootstrap;
mod guest;
mod image;

use crate::store::{EnvironmentStore, Manifest, PackageRecord, digest_of};
use crate::{CATALOG_VERSION, Environment, ImagesError, Recipe, Status};
use jiff::Timestamp;
use pyro_runtime::debian::{Priority, without_credentials};
use pyro_runtime::fs::{FsError, Stamp, create_dir_all, remove_all};
use pyro_runtime::lock::FileLock;
use pyro_runtime::{Archive, Bundle, DebianError, Dirs, Fetcher, Package, Progress, debian::FetchOptions};
use pyro_vmm::Engine;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;

/// How long a process waits for another that builds the same environment.
const LOCK_PATIENCE: Duration = Duration::from_mins(30);
/// Packages that stand for an alternative which would pull in more than is of use.
const CHOSEN_ALTERNATIVES: &[&str] = &["usr-is-merged"];

/// What a build works with.
#[derive(Clone)]
pub struct Builder {
    /// Where caches are.
    pub dirs: Dirs,
    /// Tools, kernel and initramfs.
    pub bundle: Arc<Bundle>,
    /// Runs the second stage.
    pub engine: Arc<dyn Engine>,
    /// Told about phases and bytes.
    pub progress: Arc<dyn Progress>,
    /// Where packages come from.
    pub source: FetchOptions,
}

/// The packages of one environment, on disk.
struct Packages {
    essential: Vec<(Package, PathBuf)>,
    others: Vec<(Package, PathBuf)>,
    origin: Origin,
}

/// Where the packages are from.
#[derive(Clone)]
struct Origin {
    release: Option<String>,
    date: Timestamp,
    /// The mirror as guests are told of it: without the credentials that its URL may hold.
    mirror: String,
}

impl Builder {
    /// Installs `recipe`, unless it is installed and whole already. `force` builds it again in any case.
    pub async fn pull(&self, recipe: &'static Recipe, force: bool) -> Result<Environment, ImagesError> {
        let store = EnvironmentStore::new(self.dirs.environments());
        if !force && let Ok(environment) = store.open(recipe) {
            return Ok(environment);
        }
        create_dir_all(store.directory())?;
        let _lock = self.lock(&store, recipe).await?;
        // Another process may have built it in the meantime.
        if !force && matches!(store.status(recipe)?, Status::Installed(_)) {
            return store.open(recipe);
        }
        let work = WorkDirectory::create(&store, recipe)?;
        self.build(recipe, &store, &work.path).await
    }

    async fn build(
        &self,
        recipe: &'static Recipe,
        store: &EnvironmentStore,
        work: &Path,
    ) -> Result<Environment, ImagesError> {
        let builder = self.clone();
        let packages = blocking(move || builder.fetch(recipe)).await?;
        let origin = packages.origin.clone();
        let manifest = manifest_of(recipe, &packages);

        require_space(work, &packages)?;
        self.phase(recipe, "unpack");
        let bootstrap = work.join("bootstrap.erofs");
        let (bundle, directory, target) = (Arc::clone(&self.bundle), work.to_owned(), bootstrap.clone());
        blocking(move || bootstrap::build(&bundle, &packages, &directory, &target)).await?;

        let archive = guest::second_stage(self, recipe, work, &bootstrap, &origin).await?;

        self.phase(recipe, "image");
        let (bundle, target) = (Arc::clone(&self.bundle), work.join("image.erofs"));
        let store = store.clone();
        blocking(move || {
            let digest = image::from_tar(&bundle, &archive, &target, origin.date.as_second())?;
            store.install(recipe, &target, Manifest { digest, ..manifest })
        })
        .await
    }

    /// Tells of a phase, as in `unpack environment=debian:12`.
    fn phase(&self, recipe: &Recipe, name: &str) {
        self.progress.phase(&format!("{name} environment={}", recipe.name));
    }

    async fn lock(&self, store: &EnvironmentStore, recipe: &'static Recipe) -> Result<FileLock, ImagesError> {
        let path = lock_path(store, recipe);
        let progress = Arc::clone(&self.progress);
        blocking(move || {
            FileLock::acquire(&path, LOCK_PATIENCE, &|| progress.phase("wait-for-another-pyro")).map_err(
                |error| {
                    if error.source.kind() == std::io::ErrorKind::TimedOut {
                        ImagesError::Busy { name: recipe.name, lock: path.clone() }
                    } else {
                        error.into()
                    }
                },
            )
        })
        .await
    }

    fn fetch(&self, recipe: &'static Recipe) -> Result<Packages, ImagesError> {
        let failed = |source| ImagesError::Packages { name: recipe.name, source };
        self.phase(recipe, "resolve");
        let fetcher = Fetcher::new(&self.dirs, &self.source, Arc::clone(&self.progress)).map_err(failed)?;
        let archive = Archive::open(recipe.suite, &fetcher).map_err(failed)?;
        let first = archive.essential();
        let mut roots: Vec<&str> = first.iter().map(|package| package.name.as_str()).collect();
        roots.extend(CHOSEN_ALTERNATIVES);
        let essential = archive.resolve(&roots, &[]).map_err(failed)?;
        let required = archive.with_priority(Priority::Required);
        roots.extend(required.iter().map(|package| package.name.as_str()));
        roots.extend(recipe.package_names());
        let mut others = archive.resolve(&roots, &[]).map_err(failed)?;
        others.retain(|package| !essential.contains(package));
        self.phase(recipe, "download");
        let files = fetch_whole(&fetcher, &[essential.clone(), others.clone()].concat()).map_err(failed)?;
        let mut files = files.into_iter();
        let essential = essential.into_iter().zip(files.by_ref()).collect();
        let others = others.into_iter().zip(files).collect();
        let mirror = without_credentials(fetcher.mirror().base());
        let origin = Origin { release: archive.info().version.clone(), date: archive.info().date, mirror };
        Ok(Packages { essential, others, origin })
    }
}

/// Fetches packages and hashes them all: what was in the cache already may have been damaged since.
fn fetch_whole(fetcher: &Fetcher, packages: &[Package]) -> Result<Vec<PathBuf>, DebianError> {
    let files = fetcher.packages(packages)?;
    let mut damaged = Vec::new();
    for (package, file) in packages.iter().zip(&files) {
        if digest_of(file)? != package.sha256 {
            damaged.push(package.clone());
        }
    }
    if damaged.is_empty() {
        return Ok(files);
    }
    fetcher.forget(&damaged)?;
    fetcher.packages(packages)
}

/// Where a build happens: made anew, and removed however the build ends, short of being killed. What a killed one left
/// is removed by the next.
struct WorkDirectory {
    path: PathBuf,
}

impl WorkDirectory {
    fn create(store: &EnvironmentStore, recipe: &Recipe) -> Result<Self, ImagesError> {
        let path = store.directory().join(format!(".build-{}", recipe.slug()));
        remove_all(&path)?;
        create_dir_all(&path)?;
        Ok(Self { path })
    }
}

impl Drop for WorkDirectory {
    fn drop(&mut self) {
        let _left = remove_all(&self.path);
    }
}

/// Fails when there is clearly too little room: the packages are there repacked and unpacked in the bootstrap image, on
/// the guest's disk, in the archive and in the final image.
fn require_space(work: &Path, packages: &Packages) -> Result<(), ImagesError> {
    let all = packages.essential.iter().chain(&packages.others);
    let installed: u64 = all.map(|(package, _)| package.installed_size_kib * 1024).sum();
    let needed = installed * 5;
    let found = rustix::fs::statvfs(work).map_err(|error| on("look at", work)(error.into()))?;
    let free = found.f_bavail * found.f_frsize;
    if free < needed { Err(ImagesError::NoSpace { path: work.to_owned(), free, needed }) } else { Ok(()) }
}

fn lock_path(store: &EnvironmentStore, recipe: &Recipe) -> PathBuf {
    store.directory().join(format!("{}.lock", recipe.slug()))
}

fn manifest_of(recipe: &Recipe, packages: &Packages) -> Manifest {
    let mut records: Vec<PackageRecord> = packages
        .essential
        .iter()
        .chain(&packages.others)
        .map(|(package, _)| PackageRecord {
            name: package.name.clone(),
            version: package.version.clone(),
            sha256: package.sha256.to_string(),
        })
        .collect();
    records.sort_by(|left, right| left.name.cmp(&right.name));
    Manifest {
        environment: recipe.name.to_owned(),
        catalog_version: CATALOG_VERSION.to_owned(),
        suite: recipe.suite.to_owned(),
        release: packages.origin.release.clone(),
        release_date: packages.origin.date.to_string(),
        packages: records,
        image: String::new(),
        digest: String::new(),
        image_bytes: 0,
        installed_at: String::new(),
        stamp: Stamp::default(),
    }
}

/// Runs blocking work on a thread where it does not hold up the others.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImagesError> + Send + 'static,
) -> Result<T, ImagesError> {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

/// For `map_err` on the files of a build.
fn on(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ImagesError {
    let failed = FsError::on(action, path);
    move |error| failed(error).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyro_protocol::error::{Diagnostic, ErrorKind};
    use pyro_runtime::Sha256Digest;

    #[test]
    fn a_disk_that_is_too_small_is_told_before_anything_is_built() {
        let package = |installed_size_kib| Package {
            name: "large".to_owned(),
            version: "1".to_owned(),
            architecture: "all".to_owned(),
            essential: false,
            priority: Priority::Optional,
            filename: String::new(),
            size: 0,
            sha256: Sha256Digest::of(b""),
            installed_size_kib,
        };
        let origin = Origin { release: None, date: Timestamp::UNIX_EPOCH, mirror: String::new() };
        let packages = |kib| Packages {
            essential: vec![(package(kib), PathBuf::new())],
            others: Vec::new(),
            origin: origin.clone(),
        };
        let work = tempfile::tempdir().unwrap();
        require_space(work.path(), &packages(1)).unwrap();
        let refused = require_space(work.path(), &packages(1 << 40)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Exhausted);
        assert!(refused.to_string().contains(&work.path().display().to_string()), "{refused}");
        assert!(refused.hint().is_some_and(|hint| hint.contains("PYRO_ENVIRONMENT_CACHE_DIR")));
    }
}
