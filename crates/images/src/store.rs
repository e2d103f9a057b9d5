//! The cache of installed environments.
//!
//! ```text
//! environments/
//!   debian-12.json             the manifest of the installed build; written last, atomically
//!   debian-12-3f2a….erofs      the image it names
//!   debian-12.lock             held while building
//!   .build-debian-12/          what a build in progress has made; swept by the next build that holds the lock
//! ```
//! The image is hashed when it is installed. Afterwards size, times and inode tell cheaply whether it is
//! still that file; when they differ it is hashed again before anybody uses it.

use crate::ImagesError;
use crate::catalog::{CATALOG, CATALOG_VERSION, Recipe};
use jiff::Timestamp;
use pyro_runtime::Sha256Digest;
use pyro_runtime::fs::{FsError, Stamp, disk_usage, remove_all, write_atomic};
use pyro_runtime::lock::FileLock;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Digits of the digest in an image's file name.
const SHORT_DIGEST: usize = 16;

/// What is recorded about an installed environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Name in the catalog.
    pub environment: String,
    /// Version of the catalog that it was built from.
    pub catalog_version: String,
    /// Code name of the suite.
    pub suite: String,
    /// Version of the release, as "12.11", where the archive states one.
    pub release: Option<String>,
    /// The archive's date, which is also the newest time stamp in the image.
    pub release_date: String,
    /// Every package, by name.
    pub packages: Vec<PackageRecord>,
    /// File name of the image.
    pub image: String,
    /// Its sha256, in hexadecimal: the digest of the environment.
    pub digest: String,
    /// Its size, in bytes.
    pub image_bytes: u64,
    /// When it was installed.
    pub installed_at: String,
    /// The image's stamp when it was last hashed.
    pub stamp: Stamp,
}

/// One package of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageRecord {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// sha256 of the package file, in hexadecimal.
    pub sha256: String,
}

/// An installed environment whose image is the one that was hashed.
#[derive(Debug, Clone)]
pub struct Environment {
    /// What is recorded about it.
    pub manifest: Manifest,
    /// Its read-only root file system (EROFS).
    pub image: PathBuf,
}

/// How the installation of one environment stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Manifest and image are there and verified.
    Installed(Box<Manifest>),
    /// Installed from another version of the catalog.
    Stale(Box<Manifest>),
    /// Something of it is there but it cannot be used; says what.
    Broken(String),
    /// Nothing is there.
    Absent,
}

/// One thing that pruning removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// File or directory name in the cache.
    pub file: String,
    /// Why it was removed.
    pub reason: &'static str,
    /// Bytes on disk that it freed.
    pub bytes: u64,
}

/// The cache directory.
#[derive(Debug, Clone)]
pub struct EnvironmentStore {
    directory: PathBuf,
}

impl EnvironmentStore {
    /// A store in `directory`, which need not exist yet.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// Where the files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// How the installation of `recipe` stands. Hashes the image only when it changed since it was last hashed.
    pub fn status(&self, recipe: &Recipe) -> Result<Status, ImagesError> {
        let path = self.manifest_path(recipe);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Status::Absent),
            Err(error) => {
                return Ok(Status::Broken(format!(
                    "its manifest {} cannot be read: {error}",
                    path.display()
                )));
            }
        };
        let Ok(manifest) = serde_json::from_slice::<Manifest>(&text) else {
            return Ok(Status::Broken(format!("its manifest {} is unreadable", path.display())));
        };
        if let Err(what) = self.check_image(recipe, &manifest, false)? {
            return Ok(Status::Broken(what));
        }
        let current = manifest.catalog_version == CATALOG_VERSION;
        let manifest = Box::new(manifest);
        Ok(if current { Status::Installed(manifest) } else { Status::Stale(manifest) })
    }

    /// The installed environment; fails when it is absent, stale or broken.
    pub fn open(&self, recipe: &'static Recipe) -> Result<Environment, ImagesError> {
        match self.status(recipe)? {
            Status::Installed(manifest) => {
                Ok(Environment { image: self.directory.join(&manifest.image), manifest: *manifest })
            }
            Status::Stale(_) | Status::Absent => Err(ImagesError::NotInstalled { name: recipe.name }),
            Status::Broken(what) => Err(ImagesError::Broken { name: recipe.name, what }),
        }
    }

    /// Hashes the image of an installed environment, whatever its stamp says.
    pub fn verify(&self, recipe: &'static Recipe) -> Result<Environment, ImagesError> {
        let environment = self.open(recipe)?;
        match self.check_image(recipe, &environment.manifest, true)? {
            Ok(()) => Ok(environment),
            Err(what) => Err(ImagesError::Broken { name: recipe.name, what }),
        }
    }

    /// Makes `image`, a finished file inside the store's directory, the installed one. `manifest` is completed with the
    /// image's name, size and stamp, and the time; its digest must be the image's.
    pub(crate) fn install(
        &self,
        recipe: &'static Recipe,
        image: &Path,
        mut manifest: Manifest,
    ) -> Result<Environment, ImagesError> {
        manifest.image = format!("{}-{}.erofs", recipe.slug(), short(&manifest.digest));
        let target = self.directory.join(&manifest.image);
        // The manifest vouches for the image, also after a crash of the host: the image has to be on disk first.
        fs::File::open(image).and_then(|file| file.sync_all()).map_err(FsError::on("write", image))?;
        fs::rename(image, &target).map_err(FsError::on("rename", image))?;
        let metadata = fs::metadata(&target).map_err(FsError::on("read", &target))?;
        manifest.image_bytes = metadata.len();
        manifest.installed_at = Timestamp::now().to_string();
        manifest.stamp = Stamp::of(&metadata);
        self.write_manifest(recipe, &manifest)?;
        Ok(Environment { manifest, image: target })
    }

    /// Removes what the catalog no longer names, stale and broken installs, images that no manifest names, and what
    /// interrupted builds left. Files that pyro does not name stay, and so does an environment that another process is
    /// building right now.
    pub fn prune(&self) -> Result<Vec<Pruned>, ImagesError> {
        let mut removed = Vec::new();
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(removed),
            Err(error) => return Err(FsError::on("read", &self.directory)(error).into()),
        };
        let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for entry in entries {
            let file = entry.map_err(FsError::on("read", &self.directory))?.file_name();
            if let Some(file) = file.to_str()
                && let Some(slug) = slug_of(file)
            {
                files.entry(slug.to_owned()).or_default().push(file.to_owned());
            }
        }
        for (slug, files) in files {
            // A build in progress holds the lock; its files are nobody's to remove.
            let Ok(lock) =
                FileLock::acquire(&self.directory.join(format!("{slug}.lock")), Duration::ZERO, &|| {})
            else {
                continue;
            };
            self.prune_environment(&slug, files, &mut removed)?;
            drop(lock);
        }
        removed.sort_by(|left, right| left.file.cmp(&right.file));
        Ok(removed)
    }

    fn prune_environment(
        &self,
        slug: &str,
        files: Vec<String>,
        removed: &mut Vec<Pruned>,
    ) -> Result<(), ImagesError> {
        let recipe = CATALOG.iter().find(|recipe| recipe.slug() == slug);
        let mut kept = vec![format!("{slug}.lock")];
        let reason = match recipe.map(|recipe| self.status(recipe)).transpose()? {
            None => "not in the catalog",
            Some(Status::Installed(manifest)) => {
                kept.extend([format!("{slug}.json"), manifest.image.clone()]);
                "not in use"
            }
            Some(Status::Stale(_)) => "stale version",
            Some(Status::Broken(_)) => "broken install",
            Some(Status::Absent) => "left by an interrupted build",
        };
        for file in files.into_iter().filter(|file| !kept.contains(file)) {
            let path = self.directory.join(&file);
            let bytes = disk_usage(&path);
            remove_all(&path)?;
            removed.push(Pruned { file, reason, bytes });
        }
        Ok(())
    }

    /// `Err` says what is wrong; a stamp that had to be renewed is written back.
    fn check_image(
        &self,
        recipe: &Recipe,
        manifest: &Manifest,
        always_hash: bool,
    ) -> Result<Result<(), String>, ImagesError> {
        // The manifest is a file like any other: a name in it must not lead out of the cache.
        if Path::new(&manifest.image).file_name() != Some(manifest.image.as_ref()) {
            return Ok(Err(format!("its manifest names {} as the image", manifest.image)));
        }
        let image = self.directory.join(&manifest.image);
        let Ok(metadata) = fs::symlink_metadata(&image) else {
            return Ok(Err(format!("{} is missing", image.display())));
        };
        if !metadata.is_file() || metadata.len() != manifest.image_bytes {
            let (is, should) = (metadata.len(), manifest.image_bytes);
            return Ok(Err(format!("{} has {is} bytes instead of {should}", image.display())));
        }
        let stamp = Stamp::of(&metadata);
        if stamp == manifest.stamp && !always_hash {
            return Ok(Ok(()));
        }
        if digest_of(&image)?.to_string() != manifest.digest {
            return Ok(Err(format!(
                "{} is not the file that was installed (sha256 differs)",
                image.display()
            )));
        }
        if stamp != manifest.stamp {
            // Only a matter of speed: a cache that cannot be written is hashed again next time.
            let _not_renewed = self.write_manifest(recipe, &Manifest { stamp, ..manifest.clone() });
        }
        Ok(Ok(()))
    }

    fn write_manifest(&self, recipe: &Recipe, manifest: &Manifest) -> Result<(), ImagesError> {
        let path = self.manifest_path(recipe);
        // Whatever lies there is not a manifest; a directory would not even be replaced.
        if path.is_dir() {
            remove_all(&path)?;
        }
        let text =
            serde_json::to_vec_pretty(manifest).map_err(|error| FsError::on("write", &path)(error.into()))?;
        Ok(write_atomic(&path, &text)?)
    }

    /// Where the manifest of `recipe` is.
    pub fn manifest_path(&self, recipe: &Recipe) -> PathBuf {
        self.directory.join(format!("{}.json", recipe.slug()))
    }
}

/// Hashes a whole file.
pub(crate) fn digest_of(path: &Path) -> Result<Sha256Digest, FsError> {
    let mut file = fs::File::open(path).map_err(FsError::on("open", path))?;
    let (digest, _bytes) = Sha256Digest::of_reader(&mut file).map_err(FsError::on("read", path))?;
    Ok(digest)
}

fn short(digest: &str) -> &str {
    digest.get(..SHORT_DIGEST).unwrap_or(digest)
}

/// The environment that a file of the cache belongs to, when it is of the form that pyro gives its files.
fn slug_of(file: &str) -> Option<&str> {
    let is_slug = |text: &str| {
        text.starts_with("debian-")
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    let slug = if let Some(slug) = file.strip_prefix(".build-") {
        slug
    } else if let Some(stem) = file.strip_suffix(".erofs") {
        let (slug, digest) = stem.rsplit_once('-')?;
        let is_digest = digest.len() == SHORT_DIGEST && digest.chars().all(|c| c.is_ascii_hexdigit());
        is_digest.then_some(slug)?
    } else {
        file.strip_suffix(".json").or_else(|| file.strip_suffix(".lock"))?
    };
    is_slug(slug).then_some(slug)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed(directory: &Path) -> (EnvironmentStore, &'static Recipe) {
        let store = EnvironmentStore::new(directory);
        let recipe = Recipe::find("debian:12").unwrap();
        let image = directory.join("made");
        fs::write(&image, b"an image").unwrap();
        let manifest = Manifest {
            environment: recipe.name.to_owned(),
            catalog_version: CATALOG_VERSION.to_owned(),
            suite: recipe.suite.to_owned(),
            release: None,
            release_date: String::new(),
            packages: vec![],
            image: String::new(),
            digest: digest_of(&image).unwrap().to_string(),
            image_bytes: 0,
            installed_at: String::new(),
            stamp: Stamp::default(),
        };
        store.install(recipe, &image, manifest).unwrap();
        (store, recipe)
    }

    #[test]
    fn an_install_counts_only_while_manifest_and_image_are_what_they_were() {
        let directory = tempfile::tempdir().unwrap();
        let (store, recipe) = installed(directory.path());
        let image = store.open(recipe).unwrap().image;
        fs::write(&image, b"on image").unwrap();
        assert!(matches!(store.status(recipe).unwrap(), Status::Broken(what) if what.contains("sha256")));
        fs::write(&image, b"an image").unwrap();
        assert!(matches!(store.status(recipe).unwrap(), Status::Installed(_)), "the same content is fine");
        fs::write(&image, b"an imag").unwrap();
        assert!(
            matches!(store.status(recipe).unwrap(), Status::Broken(what) if what.contains("7 bytes instead of 8"))
        );
        fs::remove_file(&image).unwrap();
        assert!(matches!(store.open(recipe), Err(ImagesError::Broken { .. })));
        fs::write(store.manifest_path(recipe), b"{").unwrap();
        assert!(matches!(store.status(recipe).unwrap(), Status::Broken(what) if what.contains("unreadable")));
    }

    #[test]
    fn a_manifest_cannot_name_an_image_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let (store, recipe) = installed(directory.path());
        let mut manifest = store.open(recipe).unwrap().manifest;
        manifest.image = "../debian-12".to_owned();
        store.write_manifest(recipe, &manifest).unwrap();
        assert!(matches!(store.status(recipe).unwrap(), Status::Broken(what) if what.contains("names ../")));
    }

    #[test]
    fn prune_removes_what_is_not_in_use_and_nothing_of_others() {
        let directory = tempfile::tempdir().unwrap();
        let (store, recipe) = installed(directory.path());
        let others = ["notes.json", "debian-backup.tar", "debian-12-short.erofs", ".bashrc"];
        for file in others {
            fs::write(directory.path().join(file), b"mine").unwrap();
        }
        fs::write(directory.path().join("debian-9.json"), b"{}").unwrap();
        fs::create_dir(directory.path().join(".build-debian-12")).unwrap();
        fs::write(directory.path().join("debian-13.json"), b"not json").unwrap();
        fs::create_dir(directory.path().join(".build-debian-13-base")).unwrap();
        let building = directory.path().join("debian-13-base.lock");
        let _building = FileLock::acquire(&building, Duration::ZERO, &|| {}).unwrap();
        let removed = store.prune().unwrap();
        let told: Vec<(&str, &str)> =
            removed.iter().map(|pruned| (pruned.file.as_str(), pruned.reason)).collect();
        let expected = [
            (".build-debian-12", "not in use"),
            ("debian-13.json", "broken install"),
            ("debian-9.json", "not in the catalog"),
        ];
        assert_eq!(told, expected);
        assert!(matches!(store.status(recipe).unwrap(), Status::Installed(_)));
        assert!(others.iter().all(|file| directory.path().join(file).exists()));
        assert!(directory.path().join(".build-debian-13-base").exists(), "what is being built stays");
        assert!(store.prune().unwrap().is_empty());
    }
}
