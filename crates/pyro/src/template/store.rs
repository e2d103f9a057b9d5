//! The cache of templates.
//!
//! ```text
//! templates/
//!   debian-12-1x1024.json              the manifest; written last, atomically
//!   debian-12-1x1024-3f2a….ram         the guest's memory, sparse
//!   debian-12-1x1024-3f2a….state       CPUs and devices
//!   debian-12-1x1024.rejected.json     why there is none, after one failed or could not be made
//!   debian-12-1x1024.lock              held while building
//!   .build-debian-12-1x1024/           what a build in progress has made; swept by the next one
//! ```
//! The state is hashed before each use. The memory is hashed when it is installed; afterwards its stamp tells cheaply
//! whether it is still that file, and when it does not, it is hashed again before anybody uses it.

use super::key::TemplateKey;
use super::names::{SHORT_DIGEST, name_of};
use super::unusable::Unusable;
use jiff::Timestamp;
use pyro_images::Pruned;
use pyro_runtime::Sha256Digest;
use pyro_runtime::fs::{
    FsError, Stamp, create_dir_all, digest_of_data, disk_usage, remove_all, set_mode, write_atomic,
};
use pyro_runtime::lock::FileLock;
use pyro_vmm::Snapshot;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    key: TemplateKey,
    created_at: Timestamp,
    ram: FileRecord,
    state: FileRecord,
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
    pub(crate) files: Snapshot,
    pub(crate) created_at: Timestamp,
    /// What it takes of the disk, in bytes: the memory that was touched.
    pub(crate) ram_disk_bytes: u64,
    /// Bytes of the state.
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
        let manifest: Manifest =
            serde_json::from_slice(&text).map_err(|_| damaged("its manifest is unreadable".to_owned()))?;
        if let Some(made_for) = manifest.key.difference(key) {
            return Err(Unusable::Stale { made_for, at: manifest.created_at });
        }
        self.verify(&name, manifest).map_err(damaged)
    }

    /// How many templates there are, for whatever key.
    pub(crate) fn count(&self) -> usize {
        let files = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        files.filter(|entry| entry.path().extension().is_some_and(|kind| kind == "ram")).count()
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
    pub(super) fn install(&self, key: &TemplateKey, built: &Snapshot) -> Result<Template, FsError> {
        let name = key.name();
        let state = digest(&built.state)?;
        let stem = format!("{name}-{}", &state.to_string()[..SHORT_DIGEST]);
        let place = |from: &Path, kind: &str, sha256: Sha256Digest| {
            let file = format!("{stem}.{kind}");
            let to = self.directory.join(&file);
            // The manifest vouches for it, also after a crash of the host: it has to be on disk first.
            File::open(from).and_then(|file| file.sync_all()).map_err(FsError::on("write", from))?;
            set_mode(from, 0o600)?;
            fs::rename(from, &to).map_err(FsError::on("rename", from))?;
            let metadata = fs::metadata(&to).map_err(FsError::on("read", &to))?;
            Ok(FileRecord { name: file, bytes: metadata.len(), sha256, stamp: Stamp::of(&metadata) })
        };
        let manifest = Manifest {
            key: key.clone(),
            created_at: Timestamp::now(),
            ram: place(&built.ram, "ram", digest(&built.ram)?)?,
            state: place(&built.state, "state", state)?,
        };
        Self::write(&self.manifest_path(&name), &manifest)?;
        remove_all(&self.rejection_path(&name))?;
        self.sweep(&name, &manifest)?;
        Ok(self.template(&manifest))
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
                    (vec![format!("{name}.json"), manifest.ram.name, manifest.state.name], "not in use")
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
        (sound && self.verify(name, manifest.clone()).is_ok()).then_some(manifest)
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

    /// Says what is wrong; a stamp that had to be renewed is written back.
    fn verify(&self, name: &str, mut manifest: Manifest) -> Result<Template, String> {
        let read = |what: &FileRecord| {
            let path = self.directory.join(&what.name);
            // A name in the manifest must not lead out of the cache.
            let metadata = fs::symlink_metadata(&path)
                .ok()
                .filter(|metadata| name_of(&what.name) == Some(name) && metadata.is_file());
            let metadata =
                metadata.ok_or_else(|| format!("{} is missing, or no file of its own", what.name))?;
            if metadata.len() != what.bytes {
                return Err(format!("{} has {} bytes instead of {}", what.name, metadata.len(), what.bytes));
            }
            Ok((path, Stamp::of(&metadata)))
        };
        let compare = |what: &FileRecord, path: &Path| match digest(path) {
            Ok(found) if found == what.sha256 => Ok(()),
            Ok(_) => Err(format!("{} is not the file that was made (sha256 differs)", what.name)),
            Err(error) => Err(pyro_protocol::error::chain(&error)),
        };
        let (state, _) = read(&manifest.state)?;
        compare(&manifest.state, &state)?;
        let (ram, stamp) = read(&manifest.ram)?;
        if stamp != manifest.ram.stamp {
            compare(&manifest.ram, &ram)?;
            let before = manifest.clone();
            manifest.ram.stamp = stamp;
            // Only a matter of speed: where it cannot be written, or another process is at it, it is hashed again next time.
            if let Ok(_lock) = self.lock(&manifest.key, Duration::ZERO)
                && self.manifest(name).is_some_and(|present| present == before)
            {
                let _not_renewed = Self::write(&self.manifest_path(name), &manifest);
            }
        }
        Ok(self.template(&manifest))
    }

    fn template(&self, manifest: &Manifest) -> Template {
        let files = Snapshot {
            ram: self.directory.join(&manifest.ram.name),
            state: self.directory.join(&manifest.state.name),
        };
        Template {
            created_at: manifest.created_at,
            ram_disk_bytes: disk_usage(&files.ram),
            state_bytes: manifest.state.bytes,
            files,
        }
    }

    /// Removes the memory and state that the manifest does not name, and the build directory. Machines that run from them
    /// keep what they have open.
    fn sweep(&self, name: &str, manifest: &Manifest) -> Result<(), FsError> {
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let Ok(file) = entry.file_name().into_string() else { continue };
            let kept = [&manifest.ram.name, &manifest.state.name].contains(&&file);
            let suffixes = [".ram", ".state"];
            let is_content = file.starts_with(".build-")
                || suffixes.iter().any(|suffix| file.strip_suffix(suffix).is_some());
            if name_of(&file) == Some(name) && is_content && !kept {
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

fn digest(path: &Path) -> Result<Sha256Digest, FsError> {
    let file = File::open(path).map_err(FsError::on("open", path))?;
    digest_of_data(&file).map_err(FsError::on("read", path))
}

#[cfg(test)]
mod tests {
    use super::super::building::Building;
    use super::super::key::tests::key;
    use super::*;

    struct Cache {
        _root: tempfile::TempDir,
        store: TemplateStore,
    }

    impl Cache {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let store = TemplateStore::new(root.path().join("templates"));
            Self { store, _root: root }
        }

        fn install(&self, content: &[u8]) -> Template {
            let building = self.begin();
            fs::write(&building.files().ram, content).unwrap();
            fs::write(&building.files().state, content).unwrap();
            building.finish().unwrap()
        }

        fn begin(&self) -> Building {
            let lock = self.store.lock(&key(), Duration::ZERO).unwrap();
            Building::begin(self.store.clone(), key(), lock).unwrap()
        }

        fn files(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.store.directory).unwrap();
            let mut files: Vec<_> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            files.sort();
            files
        }
    }

    fn how(unusable: Unusable) -> String {
        match unusable {
            Unusable::Damaged { how } => how,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_installed_is_found_and_takes_the_place_of_the_one_before() {
        let cache = Cache::new();
        assert_eq!(cache.store.open(&key()).unwrap_err(), Unusable::Missing);
        let first = cache.install(b"first");
        let second = cache.install(b"second");
        assert!(!first.files.ram.exists() && !first.files.state.exists());
        let found = cache.store.open(&key()).unwrap();
        assert_eq!(fs::read(&found.files.ram).unwrap(), b"second");
        assert_eq!(found.files.state, second.files.state);
        assert_eq!(cache.files().len(), 4, "{:?}", cache.files());
    }

    #[test]
    fn whatever_happened_to_the_files_is_noticed() {
        let cache = Cache::new();
        let spoil = |spoil: &dyn Fn(&Template)| {
            let template = cache.install(b"content");
            spoil(&template);
            how(cache.store.open(&key()).unwrap_err())
        };
        let differs = "sha256 differs";
        assert!(spoil(&|template| fs::write(&template.files.state, b"CONTENT").unwrap()).contains(differs));
        assert!(
            spoil(&|template| fs::write(&template.files.state, b"cont").unwrap())
                .contains("4 bytes instead of 7")
        );
        assert!(
            spoil(&|template| fs::write(&template.files.ram, b"c").unwrap()).contains("1 bytes instead of 7")
        );
        assert!(spoil(&|template| fs::remove_file(&template.files.ram).unwrap()).contains("missing"));
        let set_back = |template: &Template| {
            let written = fs::metadata(&template.files.ram).unwrap().modified().unwrap();
            fs::write(&template.files.ram, b"CONTENT").unwrap();
            File::options().write(true).open(&template.files.ram).unwrap().set_modified(written).unwrap();
        };
        assert!(spoil(&set_back).contains(differs), "also with its modification time set back");
        assert!(
            spoil(&|_| fs::write(cache.store.manifest_path(&key().name()), "{").unwrap())
                .contains("unreadable")
        );
        // A copy with the same content is fine, whatever its times.
        let template = cache.install(b"content");
        fs::write(&template.files.ram, b"content").unwrap();
        cache.store.open(&key()).unwrap();
    }

    #[test]
    fn what_is_being_made_is_said_and_gone_when_it_is_given_up() {
        let cache = Cache::new();
        let building = cache.begin();
        fs::write(&building.files().ram, b"half").unwrap();
        assert!(
            matches!(cache.store.open(&key()), Err(Unusable::Rejected { why, .. }) if why.contains("being made"))
        );
        drop(building);
        assert_eq!(cache.store.open(&key()).unwrap_err(), Unusable::Missing);
        cache.begin().fail(&std::io::Error::other("no room"));
        assert!(
            matches!(cache.store.open(&key()), Err(Unusable::Rejected { why, .. }) if why.ends_with("no room"))
        );
        assert_eq!(cache.files(), ["debian-12-1x1024.lock", "debian-12-1x1024.rejected.json"]);
        cache.install(b"content");
        cache.begin().fail(&std::io::Error::other("no room"));
        cache.store.open(&key()).unwrap();
    }

    #[test]
    fn another_key_is_told_and_a_rejection_counts_for_its_own() {
        let cache = Cache::new();
        cache.install(b"content");
        let other = TemplateKey { agent: Sha256Digest::of(b"other"), ..key() };
        let stale = cache.store.open(&other).unwrap_err();
        assert!(matches!(stale, Unusable::Stale { made_for: "another agent", .. }), "{stale:?}");
        let made = cache.store.open(&key()).unwrap().created_at;
        cache.store.reject_made_at(&key(), Timestamp::UNIX_EPOCH, "another".to_owned()).unwrap();
        cache.store.open(&key()).unwrap();
        cache.store.reject_made_at(&key(), made, "no answer".to_owned()).unwrap();
        assert!(
            matches!(cache.store.open(&key()), Err(Unusable::Rejected { why, .. }) if why == "no answer")
        );
        assert_eq!(cache.store.open(&other).unwrap_err(), Unusable::Missing);
        cache.install(b"content");
        cache.store.open(&key()).unwrap();
    }

    #[test]
    fn pruning_leaves_what_is_current_and_what_is_not_ours() {
        let cache = Cache::new();
        cache.install(b"content");
        let before = cache.files();
        fs::write(cache.store.directory.join("notes.json"), "mine").unwrap();
        fs::create_dir(cache.store.directory.join(".build-debian-13-1x512")).unwrap();
        let removed = cache.store.prune(&|_| true).unwrap();
        assert_eq!(
            removed.iter().map(|pruned| pruned.file.as_str()).collect::<Vec<_>>(),
            [".build-debian-13-1x512"]
        );
        assert!(before.iter().all(|file| cache.files().contains(file)));
        let lock = cache.store.lock(&key(), Duration::ZERO).unwrap();
        assert_eq!(cache.store.prune(&|_| false).unwrap(), [], "while it is being built");
        drop(lock);
        assert_eq!(cache.store.prune(&|_| false).unwrap().len(), 3);
        assert!(cache.files().contains(&"notes.json".to_owned()));
    }
}
