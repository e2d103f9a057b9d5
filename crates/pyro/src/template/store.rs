//! The cache of templates.
//!
//! ```text
//! templates/
//!   debian-12-1x1024.json              the manifest; written last, atomically
//!   debian-12-1x1024-3f2a….ram         the guest's memory with a joined root, sparse
//!   debian-12-1x1024-3f2a….state       CPUs and devices
//!   debian-12-1x1024-3f2a….disk        the writable disk that belongs to them
//!   debian-12-1x1024-3f2a….apart.ram   the guest's memory without a disk, sparse
//!   debian-12-1x1024-3f2a….apart.state CPUs and devices
//!   debian-12-1x1024.rejected.json     why there is none, after one failed or could not be made
//!   debian-12-1x1024.lock              held while building
//!   .build-debian-12-1x1024/           what a build in progress has made; swept by the next one
//! ```
//! States are hashed before each use. The others are hashed when they are installed; afterwards their stamps tell cheaply
//! whether they are still these files, and one that does not is hashed again before anybody uses it.

use super::key::TemplateKey;
use super::parts::{ALWAYS_HASHED, KINDS, Parts, SHORT_DIGEST, is_content, name_of};
use super::unusable::Unusable;
use jiff::Timestamp;
use pyro_images::Pruned;
use pyro_runtime::Sha256Digest;
use pyro_runtime::fs::{
    FsError, Stamp, create_dir_all, digest_of_data, disk_usage, remove_all, set_mode, write_atomic,
};
use pyro_runtime::lock::FileLock;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    key: TemplateKey,
    created_at: Timestamp,
    files: Parts<FileRecord>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRecord {
    name: String,
    bytes: u64,
    /// Of the data and where it lies; holes differ from zeroes.
    sha256: Sha256Digest,
    stamp: Stamp,
}

/// What can be said of a template of whatever form.
#[derive(Debug, Deserialize)]
struct Made {
    key: TemplateKey,
    created_at: Timestamp,
}

/// Why a template was taken out of use, or could not be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rejection {
    key: TemplateKey,
    at: Timestamp,
    why: String,
}

/// A template that can be used.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    pub(crate) files: Parts<PathBuf>,
    pub(crate) created_at: Timestamp,
    /// What its memories take of the disk, in bytes: what was touched.
    pub(crate) ram_disk_bytes: u64,
    /// Bytes of the states.
    pub(crate) state_bytes: u64,
}

/// The cache directory.
#[derive(Debug, Clone)]
pub(crate) struct TemplateStore {
    directory: PathBuf,
}

impl TemplateStore {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// The template for `key`, verified.
    pub(crate) fn open(&self, key: &TemplateKey) -> Result<Template, Unusable> {
        let name = key.name();
        let damaged = |how: String| Unusable::Damaged { how };
        let text = match fs::read(self.manifest_path(&name)) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(self.absent(key)),
            Err(error) => return Err(damaged(format!("its manifest cannot be read: {error}"))),
        };
        let unreadable = |_| damaged("its manifest is unreadable".to_owned());
        let made: Made = serde_json::from_slice(&text).map_err(unreadable)?;
        if let Some(made_for) = made.key.difference(key) {
            return Err(Unusable::Stale { made_for, at: made.created_at });
        }
        let manifest = serde_json::from_slice(&text).map_err(unreadable)?;
        self.verify(&name, &manifest).map_err(damaged)
    }

    /// How many templates there are, for whatever key.
    pub(crate) fn count(&self) -> usize {
        let files = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let names = files.filter_map(|entry| entry.file_name().into_string().ok());
        let of_content = names.filter(|file| is_content(file));
        of_content.filter_map(|file| Some(name_of(&file)?.to_owned())).collect::<BTreeSet<_>>().len()
    }

    /// Waits at most `patience` for whoever is building the template of `key`.
    pub(crate) fn lock(&self, key: &TemplateKey, patience: Duration) -> Result<FileLock, FsError> {
        create_dir_all(&self.directory)?;
        FileLock::acquire(&self.directory.join(format!("{}.lock", key.name())), patience, &|| {})
    }

    /// Where the template of `key` is built.
    pub(super) fn build_directory(&self, key: &TemplateKey) -> PathBuf {
        self.directory.join(format!(".build-{}", key.name()))
    }

    /// Makes the finished files, which are in the build directory, the template of `key`; the one before is removed.
    pub(super) fn install(&self, key: &TemplateKey, built: &Parts<PathBuf>) -> Result<Template, FsError> {
        let name = key.name();
        let digests = built.try_map(|path| finish(path))?;
        let stem = format!("{name}-{}", &digests.state.to_string()[..SHORT_DIGEST]);
        let names = KINDS.map(|kind| format!("{stem}.{kind}"));
        let installed = self.rename(built, &names).and_then(|renamed| {
            let files = names.zip(&digests).zip(&renamed).map(|((name, sha256), metadata)| FileRecord {
                name: (*name).clone(),
                bytes: metadata.len(),
                sha256: **sha256,
                stamp: Stamp::of(metadata),
            });
            let manifest = Manifest { key: key.clone(), created_at: Timestamp::now(), files };
            Self::write(&self.manifest_path(&name), &manifest)?;
            Ok(manifest)
        });
        let manifest = installed.inspect_err(|_| {
            // Of this template alone: its digest is in them.
            for name in names.all() {
                let _left = remove_all(&self.directory.join(name));
            }
        })?;
        remove_all(&self.rejection_path(&name))?;
        self.sweep(&name, &manifest)?;
        Ok(self.template(&manifest))
    }

    fn rename(&self, built: &Parts<PathBuf>, names: &Parts<String>) -> Result<Parts<fs::Metadata>, FsError> {
        built.zip(names).try_map(|(from, name)| {
            let to = self.directory.join(name);
            fs::rename(from, &to).map_err(FsError::on("rename", *from))?;
            fs::metadata(&to).map_err(FsError::on("read", &to))
        })
    }

    /// Takes back what [`Self::note`] recorded.
    pub(super) fn forget_note(&self, key: &TemplateKey) -> Result<(), FsError> {
        remove_all(&self.rejection_path(&key.name()))
    }

    /// Records why there is no template of `key`, for whoever holds the lock.
    pub(super) fn note(&self, key: &TemplateKey, why: String) -> Result<(), FsError> {
        let rejection = Rejection { key: key.clone(), at: Timestamp::now(), why };
        Self::write(&self.rejection_path(&key.name()), &rejection)
    }

    /// Takes the template that was made for `key` at that time out of use. One that is being made, or has taken its place,
    /// is not the one that failed.
    pub(crate) fn reject_made_at(
        &self,
        key: &TemplateKey,
        made: Timestamp,
        why: String,
    ) -> Result<(), FsError> {
        let Ok(_lock) = self.lock(key, Duration::ZERO) else { return Ok(()) };
        if self.manifest(&key.name()).is_some_and(|present| present.key == *key && present.created_at == made)
        {
            self.note(key, why)?;
            remove_all(&self.manifest_path(&key.name()))?;
        }
        Ok(())
    }

    /// Removes every template that `is_current` does not want, damaged ones, and what interrupted builds left; not what
    /// another process is building right now, and no files that are not of the form that pyro gives its own.
    pub(crate) fn prune(&self, is_current: &dyn Fn(&TemplateKey) -> bool) -> Result<Vec<Pruned>, FsError> {
        let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            if let Some(file) = entry.file_name().to_str()
                && let Some(name) = name_of(file)
            {
                files.entry(name.to_owned()).or_default().push(file.to_owned());
            }
        }
        let mut removed = Vec::new();
        for (name, files) in files {
            let lock = format!("{name}.lock");
            let Ok(_lock) = FileLock::acquire(&self.directory.join(&lock), Duration::ZERO, &|| {}) else {
                continue;
            };
            let (mut kept, reason) = match self.current(&name, is_current) {
                Some(manifest) => {
                    let content = manifest.files.all().map(|file| file.name.clone());
                    ([&content[..], &[format!("{name}.json")]].concat(), "not in use")
                }
                None => (vec![], "a template that no longer fits"),
            };
            kept.push(lock);
            for file in files.into_iter().filter(|file| !kept.contains(file)) {
                let path = self.directory.join(&file);
                let bytes = disk_usage(&path);
                remove_all(&path)?;
                let reason =
                    if file.starts_with(".build-") { "left by an interrupted build" } else { reason };
                removed.push(Pruned { file, reason, bytes });
            }
        }
        Ok(removed)
    }

    fn manifest(&self, name: &str) -> Option<Manifest> {
        serde_json::from_slice(&fs::read(self.manifest_path(name)).ok()?).ok()
    }

    fn current(&self, name: &str, is_current: &dyn Fn(&TemplateKey) -> bool) -> Option<Manifest> {
        let manifest = self.manifest(name)?;
        let sound = manifest.key.name() == name && is_current(&manifest.key);
        (sound && self.verify(name, &manifest).is_ok()).then_some(manifest)
    }

    fn absent(&self, key: &TemplateKey) -> Unusable {
        let text = fs::read(self.rejection_path(&key.name())).unwrap_or_default();
        match serde_json::from_slice::<Rejection>(&text) {
            Ok(rejection) if rejection.key == *key => {
                Unusable::Rejected { why: rejection.why, at: rejection.at }
            }
            _ => Unusable::Missing,
        }
    }

    /// Says what is wrong; stamps that had to be renewed are written back.
    fn verify(&self, name: &str, manifest: &Manifest) -> Result<Template, String> {
        let files = manifest
            .files
            .zip(&ALWAYS_HASHED)
            .try_map(|(record, always)| self.verify_file(name, record, **always))?;
        let renewed = Manifest { files, ..manifest.clone() };
        // Only a matter of speed: where it cannot be written, or another process is at it, it is hashed again next time.
        if renewed != *manifest
            && let Ok(_lock) = self.lock(&manifest.key, Duration::ZERO)
            && self.manifest(name).is_some_and(|present| present == *manifest)
        {
            let _not_renewed = Self::write(&self.manifest_path(name), &renewed);
        }
        Ok(self.template(&renewed))
    }

    /// The record of a file that is as it was made, with its present stamp. Where that has not changed the file is hashed only
    /// if it is `always` to be.
    fn verify_file(&self, name: &str, record: &FileRecord, always: bool) -> Result<FileRecord, String> {
        let path = self.directory.join(&record.name);
        // A name in the manifest must not lead out of the cache.
        let metadata = fs::symlink_metadata(&path)
            .ok()
            .filter(|metadata| name_of(&record.name) == Some(name) && metadata.is_file())
            .ok_or_else(|| format!("{} is missing, or no file of its own", record.name))?;
        if metadata.len() != record.bytes {
            return Err(format!("{} has {} bytes instead of {}", record.name, metadata.len(), record.bytes));
        }
        let stamp = Stamp::of(&metadata);
        if always || stamp != record.stamp {
            match digest(&path) {
                Ok(found) if found == record.sha256 => {}
                Ok(_) => {
                    return Err(format!("{} is not the file that was made (sha256 differs)", record.name));
                }
                Err(error) => return Err(pyro_protocol::error::chain(&error)),
            }
        }
        Ok(FileRecord { stamp, ..record.clone() })
    }

    fn template(&self, manifest: &Manifest) -> Template {
        let files = manifest.files.map(|record| self.directory.join(&record.name));
        Template {
            created_at: manifest.created_at,
            ram_disk_bytes: disk_usage(&files.ram) + disk_usage(&files.apart_ram),
            state_bytes: manifest.files.state.bytes + manifest.files.apart_state.bytes,
            files,
        }
    }

    /// Removes the files that the manifest does not name, and the build directory. Machines that run from them keep what they have
    /// open.
    fn sweep(&self, name: &str, manifest: &Manifest) -> Result<(), FsError> {
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let Ok(file) = entry.file_name().into_string() else { continue };
            let is_kept = manifest.files.all().into_iter().any(|record| record.name == file);
            if name_of(&file) == Some(name) && is_content(&file) && !is_kept {
                remove_all(&entry.path())?;
            }
        }
        Ok(())
    }

    fn write(path: &Path, record: &impl Serialize) -> Result<(), FsError> {
        let text =
            serde_json::to_vec_pretty(record).map_err(|error| FsError::on("write", path)(error.into()))?;
        write_atomic(path, &text)
    }

    fn manifest_path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.json"))
    }

    fn rejection_path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.rejected.json"))
    }
}

/// The digest of a file that is on disk when this returns: a manifest vouches for it, also after a crash of the host.
fn finish(path: &Path) -> Result<Sha256Digest, FsError> {
    set_mode(path, 0o600)?;
    File::open(path).and_then(|file| file.sync_all()).map_err(FsError::on("write", path))?;
    digest(path)
}

fn digest(path: &Path) -> Result<Sha256Digest, FsError> {
    let file = File::open(path).map_err(FsError::on("open", path))?;
    digest_of_data(&file).map_err(FsError::on("read", path))
}

#[cfg(test)]
mod tests;
