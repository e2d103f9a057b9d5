//! The cache of installed environments.
//!
//! ```text
//! environments/
//!   debian-12.json             the manifest of the installed build; written last, atomically
//!   debian-12-3f2a….erofs      the image it names
//!   debian-12.lock             held while building
//!   .build-XXXXXX/             what a build in progress has made; swept by the next build that holds the lock
//! ```
//! The image is hashed when it is installed. Afterwards size, modification time and inode tell cheaply whether it is
//! still that file; when they differ it is hashed again before anybody uses it.

use crate::ImagesError;
use crate::catalog::{CATALOG, CATALOG_VERSION, Recipe};
use pyro_runtime::Sha256Digest;
use pyro_runtime::fs::{FsError, write_atomic};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

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
    /// Modification time and inode of the image when it was last hashed.
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

/// Tells cheaply whether a file is still the one that was hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    mtime_ns: i64,
    inode: u64,
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        let mtime_ns = metadata
            .mtime()
            .saturating_mul(1_000_000_000)
            .saturating_add(metadata.mtime_nsec());
        Self {
            mtime_ns,
            inode: metadata.ino(),
        }
    }
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
        Self {
            directory: directory.into(),
        }
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
            Err(error) => return Err(FsError::on("read", path)(error).into()),
        };
        let Ok(manifest) = serde_json::from_slice::<Manifest>(&text) else {
            return Ok(Status::Broken(format!(
                "its manifest {} is unreadable",
                path.display()
            )));
        };
        if let Err(what) = self.check_image(recipe, &manifest, false)? {
            return Ok(Status::Broken(what));
        }
        let current = manifest.catalog_version == CATALOG_VERSION;
        let manifest = Box::new(manifest);
        Ok(if current {
            Status::Installed(manifest)
        } else {
            Status::Stale(manifest)
        })
    }

    /// The installed environment; fails when it is absent, stale or broken.
    pub fn open(&self, recipe: &'static Recipe) -> Result<Environment, ImagesError> {
        match self.status(recipe)? {
            Status::Installed(manifest) => Ok(Environment {
                image: self.directory.join(&manifest.image),
                manifest: *manifest,
            }),
            Status::Stale(_) | Status::Absent => Err(ImagesError::NotInstalled { name: recipe.name }),
            Status::Broken(what) => Err(ImagesError::Broken {
                name: recipe.name,
                what,
            }),
        }
    }

    /// Hashes the image of an installed environment, whatever its stamp says.
    pub fn verify(&self, recipe: &'static Recipe) -> Result<Environment, ImagesError> {
        let environment = self.open(recipe)?;
        match self.check_image(recipe, &environment.manifest, true)? {
            Ok(()) => Ok(environment),
            Err(what) => Err(ImagesError::Broken {
                name: recipe.name,
                what,
            }),
        }
    }

    /// Makes `image`, a finished file inside the store's directory, the installed one. `manifest` is completed with the
    /// image's name, size and stamp; its digest must be the image's.
    pub(crate) fn install(
        &self,
        recipe: &'static Recipe,
        image: &Path,
        mut manifest: Manifest,
    ) -> Result<Environment, ImagesError> {
        manifest.image = format!("{}-{}.erofs", recipe.slug(), short(&manifest.digest));
        let target = self.directory.join(&manifest.image);
        fs::rename(image, &target).map_err(FsError::on("rename", image))?;
        let metadata = fs::metadata(&target).map_err(FsError::on("read", &target))?;
        manifest.image_bytes = metadata.len();
        manifest.stamp = Stamp::of(&metadata);
        self.write_manifest(recipe, &manifest)?;
        Ok(Environment {
            manifest,
            image: target,
        })
    }

    /// Removes what the catalog no longer names, stale and broken installs, images that no manifest names, and what
    /// interrupted builds left. What another process is building right now stays.
    pub fn prune(&self) -> Result<Vec<Pruned>, ImagesError> {
        let mut kept = Vec::new();
        let mut reasons = Vec::new();
        for recipe in CATALOG {
            kept.push(format!("{}.lock", recipe.slug()));
            let manifest_name = format!("{}.json", recipe.slug());
            match self.status(recipe)? {
                Status::Installed(manifest) => kept.extend([manifest_name, manifest.image.clone()]),
                Status::Stale(manifest) => {
                    reasons.push((manifest_name, "stale version"));
                    reasons.push((manifest.image.clone(), "stale version"));
                }
                Status::Broken(_) => reasons.push((manifest_name, "broken install")),
                Status::Absent => {}
            }
        }
        self.sweep(&kept, &reasons)
    }

    fn sweep(&self, kept: &[String], reasons: &[(String, &'static str)]) -> Result<Vec<Pruned>, ImagesError> {
        let mut removed = Vec::new();
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(removed),
            Err(error) => return Err(FsError::on("read", &self.directory)(error).into()),
        };
        for entry in entries {
            let entry = entry.map_err(FsError::on("read", &self.directory))?;
            let file = entry.file_name().to_string_lossy().into_owned();
            if kept.contains(&file) || crate::build::is_in_progress(&entry.path()) {
                continue;
            }
            let reason = reasons
                .iter()
                .find(|(name, _)| *name == file)
                .map_or("not in the catalog", |(_, reason)| reason);
            let bytes = disk_usage(&entry.path());
            remove(&entry.path())?;
            removed.push(Pruned { file, reason, bytes });
        }
        removed.sort_by(|left, right| left.file.cmp(&right.file));
        Ok(removed)
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
            return Ok(Err(format!(
                "{} has {is} bytes instead of {should}",
                image.display()
            )));
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
            let _not_renewed = self.write_manifest(
                recipe,
                &Manifest {
                    stamp,
                    ..manifest.clone()
                },
            );
        }
        Ok(Ok(()))
    }

    fn write_manifest(&self, recipe: &Recipe, manifest: &Manifest) -> Result<(), ImagesError> {
        let path = self.manifest_path(recipe);
        let text =
            serde_json::to_vec_pretty(manifest).map_err(|error| FsError::on("write", &path)(error.into()))?;
        Ok(write_atomic(&path, &text)?)
    }

    /// Where the manifest of `recipe` is.
    pub fn manifest_path(&self, recipe: &Recipe) -> PathBuf {
        self.directory.join(format!("{}.json", recipe.slug()))
    }
}

impl Default for Stamp {
    fn default() -> Self {
        Self {
            mtime_ns: 0,
            inode: 0,
        }
    }
}

/// Hashes a whole file.
pub(crate) fn digest_of(path: &Path) -> Result<Sha256Digest, FsError> {
    let mut file = fs::File::open(path).map_err(FsError::on("open", path))?;
    let (digest, _bytes) = Sha256Digest::of_reader(&mut file).map_err(FsError::on("read", path))?;
    Ok(digest)
}

fn short(digest: &str) -> &str {
    digest.get(..16).unwrap_or(digest)
}

fn remove(path: &Path) -> Result<(), FsError> {
    let removed = if path.is_dir() && !path.is_symlink() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(FsError::on("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Bytes on disk of a file or tree; what cannot be read counts as nothing.
fn disk_usage(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return 0;
    };
    let below: u64 = if metadata.is_dir() {
        fs::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| disk_usage(&entry.path()))
            .sum()
    } else {
        0
    };
    metadata.blocks() * 512 + below
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
        assert!(
            matches!(store.status(recipe).unwrap(), Status::Installed(_)),
            "the same content is fine"
        );
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
    fn prune_removes_what_is_not_in_use_and_says_why() {
        let directory = tempfile::tempdir().unwrap();
        let (store, recipe) = installed(directory.path());
        fs::write(directory.path().join("debian-9.json"), b"{}").unwrap();
        fs::create_dir(directory.path().join(".build-dead")).unwrap();
        fs::write(directory.path().join("debian-13.json"), b"not json").unwrap();
        let removed = store.prune().unwrap();
        let told: Vec<(&str, &str)> = removed
            .iter()
            .map(|pruned| (pruned.file.as_str(), pruned.reason))
            .collect();
        assert_eq!(
            told,
            [
                (".build-dead", "not in the catalog"),
                ("debian-13.json", "broken install"),
                ("debian-9.json", "not in the catalog")
            ]
        );
        assert!(matches!(store.status(recipe).unwrap(), Status::Installed(_)));
        assert!(store.prune().unwrap().is_empty());
    }
}
