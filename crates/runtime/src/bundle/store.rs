//! The cache of bundles: one in use, replaced atomically, built by one process at a time.
//!
//! ```text
//! cache/runtime/lock            held while anything here is changed
//! cache/runtime/current.json    which bundle is in use
//! cache/runtime/ID/             a bundle
//! cache/runtime/derived/ID/     what was made from it
//! cache/runtime/.build-*/       under construction, or left by a process that was killed
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};

use super::error::{BundleError, Problem};
use super::manifest::Manifest;
use super::{Bundle, build, verify};
use crate::debian::FetchOptions;
use crate::digest::Sha256Digest;
use crate::fs::{FsError, create_dir_all, remove_all, set_mode, write_atomic};
use crate::lock::FileLock;
use crate::paths::Dirs;
use crate::progress::Progress;

const CURRENT: &str = "current.json";
const LOCK: &str = "lock";
const DERIVED: &str = "derived";
const BUILD_PREFIX: &str = ".build-";

/// How long another pyro may take to build: as long as a slow mirror would make us take.
const OTHER_PYRO_PATIENCE: Duration = Duration::from_mins(30);

/// How thoroughly a bundle that is there is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Check {
    /// Every file is there with its size and mode.
    #[default]
    Presence,
    /// Every file has its sha256, and there is no other.
    Contents,
}

/// What to do about the bundle.
#[derive(Debug, Clone, Default)]
pub struct EnsureOptions {
    /// Where packages come from, if any are needed.
    pub fetch: FetchOptions,
    /// How thoroughly a bundle that is there is looked at before it is taken.
    pub check: Check,
    /// Build from the packages the mirror has now, even if the bundle in use is sound.
    pub refresh: bool,
}

/// The condition of the bundle in use.
#[derive(Debug)]
pub enum BundleStatus {
    /// There is none.
    Missing,
    /// It cannot be used; the next `ensure` repairs it.
    Damaged {
        /// Its directory.
        dir: PathBuf,
        /// What is wrong with it.
        problems: Vec<Problem>,
    },
    /// Every file is there.
    Ready(Bundle),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Current {
    id: Sha256Digest,
}

pub(super) fn open(dirs: &Dirs) -> Result<Option<Bundle>, BundleError> {
    if let Some(dir) = dirs.bundle_override() {
        return open_override(dirs, dir).map(Some);
    }
    match status(dirs)? {
        BundleStatus::Ready(bundle) => Ok(Some(bundle)),
        BundleStatus::Missing | BundleStatus::Damaged { .. } => Ok(None),
    }
}

/// The user's own bundle: it has to be sound, since nothing here can repair it.
fn open_override(dirs: &Dirs, dir: &Path) -> Result<Bundle, BundleError> {
    let damaged = |problems| BundleError::Damaged { dir: dir.to_owned(), problems, own: true };
    let manifest = Manifest::load(dir).map_err(|problem| damaged(vec![problem]))?;
    match verify::contents(dir, &manifest) {
        Err(BundleError::Damaged { problems, .. }) => Err(damaged(problems)),
        Err(other) => Err(other),
        Ok(()) => Ok(Bundle::at(dir.to_owned(), derived(dirs, &manifest.id), manifest)),
    }
}

pub(super) fn status(dirs: &Dirs) -> Result<BundleStatus, BundleError> {
    if let Some(dir) = dirs.bundle_override() {
        return match open_override(dirs, dir) {
            Ok(bundle) => Ok(BundleStatus::Ready(bundle)),
            Err(BundleError::Damaged { dir, problems, .. }) => Ok(BundleStatus::Damaged { dir, problems }),
            Err(other) => Err(other),
        };
    }
    let Some(dir) = current_dir(dirs) else {
        return Ok(BundleStatus::Missing);
    };
    let manifest = match Manifest::load(&dir) {
        Ok(manifest) => manifest,
        Err(problem) => {
            return Ok(BundleStatus::Damaged { dir, problems: vec![problem] });
        }
    };
    let mut problems = verify::presence(&dir, &manifest);
    if dir != dirs.runtime().join(manifest.id.short()) {
        problems.push(Problem::Manifest { how: "it is of another bundle".to_owned() });
    }
    if problems.is_empty() {
        let derived = derived(dirs, &manifest.id);
        return Ok(BundleStatus::Ready(Bundle::at(dir, derived, manifest)));
    }
    Ok(BundleStatus::Damaged { dir, problems })
}

pub(super) fn ensure(
    dirs: &Dirs,
    options: &EnsureOptions,
    progress: &Arc<dyn Progress>,
) -> Result<Bundle, BundleError> {
    if let Some(dir) = dirs.bundle_override() {
        return open_override(dirs, dir);
    }
    if !options.refresh
        && let Some(bundle) = sound(dirs, options.check)?
    {
        return Ok(bundle);
    }
    let root = dirs.runtime();
    create_dir_all(&root)?;
    let busy = || progress.phase("wait-for-another-pyro");
    let before = current_dir(dirs);
    let _lock = FileLock::acquire(&root.join(LOCK), OTHER_PYRO_PATIENCE, &busy)?;
    remove_leftovers(&root)?;
    // Whoever held the lock may have done the work; a refresh counts when it brought another bundle.
    if (!options.refresh || current_dir(dirs) != before)
        && let Some(bundle) = sound(dirs, options.check)?
    {
        return Ok(bundle);
    }
    let work = tempfile::Builder::new().prefix(BUILD_PREFIX).tempdir_in(&root);
    let work = work.map_err(FsError::on("create", &root))?;
    set_mode(work.path(), 0o755)?;
    let built = build::build(dirs, &options.fetch, work.path(), progress)?;
    let bundle = install(dirs, &work, &built.manifest)?;
    built.forget_packages()?;
    bundle.scratch_template()?;
    bundle.initramfs()?;
    Ok(bundle)
}

/// The bundle in use, if it stands the check.
fn sound(dirs: &Dirs, check: Check) -> Result<Option<Bundle>, BundleError> {
    let Some(bundle) = open(dirs)? else {
        return Ok(None);
    };
    if check == Check::Presence {
        return Ok(Some(bundle));
    }
    match verify::contents(&bundle.dir, &bundle.manifest) {
        Err(BundleError::Damaged { .. }) => Ok(None),
        Err(other) => Err(other),
        Ok(()) => {
            // What is derived is cheap to make again, so it is not worth a rebuild of the bundle.
            if super::derived::verify(&bundle.dir, &bundle.derived).is_err() {
                super::derived::renew(&bundle.dir, &bundle.derived)?;
            }
            Ok(Some(bundle))
        }
    }
}

/// Gives the finished directory its name, and makes it the bundle in use.
fn install(dirs: &Dirs, work: &tempfile::TempDir, manifest: &Manifest) -> Result<Bundle, BundleError> {
    let root = dirs.runtime();
    let dir = root.join(manifest.id.short());
    if dir.exists() {
        // A damaged bundle of the same content: swapped in one step, so that there is never none. What was there goes
        // with the work directory; machines that run from it keep what they have open.
        renameat_with(CWD, work.path(), CWD, &dir, RenameFlags::EXCHANGE)
            .map_err(|error| FsError::on("replace", &dir)(error.into()))?;
        remove_all(&derived(dirs, &manifest.id))?;
    } else {
        fs::rename(work.path(), &dir).map_err(FsError::on("create", &dir))?;
    }
    let current = serde_json::to_vec(&Current { id: manifest.id })
        .map_err(|error| FsError::on("write", &root)(error.into()))?;
    write_atomic(&root.join(CURRENT), &current)?;
    Ok(Bundle::at(dir, derived(dirs, &manifest.id), manifest.clone()))
}

pub(super) fn remove(dirs: &Dirs) -> Result<(), BundleError> {
    let Some(_lock) = lock_existing(dirs)? else {
        return Ok(());
    };
    let root = dirs.runtime();
    // The pointer first: from then on there is no bundle, whatever is still on the disk.
    remove_all(&root.join(CURRENT))?;
    for path in entries(&root)? {
        if path != root.join(LOCK) {
            remove_all(&path)?;
        }
    }
    Ok(())
}

pub(super) fn prune(dirs: &Dirs) -> Result<Vec<String>, BundleError> {
    let Some(_lock) = lock_existing(dirs)? else {
        return Ok(Vec::new());
    };
    let root = dirs.runtime();
    remove_leftovers(&root)?;
    let current = current_dir(dirs);
    let mut removed = Vec::new();
    for path in entries(&root)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != DERIVED && Some(&path) != current.as_ref() {
            remove_all(&path)?;
            remove_all(&root.join(DERIVED).join(&name))?;
            removed.push(name);
        }
    }
    Ok(removed)
}

fn lock_existing(dirs: &Dirs) -> Result<Option<FileLock>, BundleError> {
    let root = dirs.runtime();
    if !root.is_dir() {
        return Ok(None);
    }
    Ok(Some(FileLock::acquire(&root.join(LOCK), OTHER_PYRO_PATIENCE, &|| {})?))
}

/// Removes what processes that were killed left under construction. Only with the lock held.
fn remove_leftovers(root: &Path) -> Result<(), BundleError> {
    for path in entries(root)? {
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(BUILD_PREFIX)) {
            remove_all(&path)?;
        }
    }
    Ok(())
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, BundleError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(FsError::on("read", dir))? {
        paths.push(entry.map_err(FsError::on("read", dir))?.path());
    }
    paths.sort();
    Ok(paths)
}

/// The directory of the bundle in use; `None` when there is none or the pointer is unreadable.
fn current_dir(dirs: &Dirs) -> Option<PathBuf> {
    let text = fs::read(dirs.runtime().join(CURRENT)).ok()?;
    let current: Current = serde_json::from_slice(&text).ok()?;
    Some(dirs.runtime().join(current.id.short()))
}

fn derived(dirs: &Dirs, id: &Sha256Digest) -> PathBuf {
    dirs.runtime().join(DERIVED).join(id.short())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::manifest::tests::manifest;
    use crate::progress::Silent;

    /// A bundle that has nothing but a file, put in place as a built one is.
    fn put(dirs: &Dirs, content: &str) -> Bundle {
        create_dir_all(&dirs.runtime()).unwrap();
        let work = tempfile::Builder::new().prefix(BUILD_PREFIX).tempdir_in(dirs.runtime()).unwrap();
        fs::write(work.path().join("file"), content).unwrap();
        let files = vec![verify::describe(work.path(), "file".to_owned()).unwrap()];
        let manifest = manifest(files);
        manifest.store(work.path()).unwrap();
        install(dirs, &work, &manifest).unwrap()
    }

    fn ensure_offline(dirs: &Dirs, check: Check) -> Result<Bundle, BundleError> {
        let progress: Arc<dyn Progress> = Arc::new(Silent);
        ensure(dirs, &EnsureOptions { check, ..EnsureOptions::default() }, &progress)
    }

    #[test]
    fn the_last_one_put_in_place_is_in_use() {
        let home = tempfile::tempdir().unwrap();
        let dirs = Dirs::under(home.path());
        assert!(matches!(Bundle::status(&dirs).unwrap(), BundleStatus::Missing));
        assert!(Bundle::open(&dirs).unwrap().is_none());
        Bundle::remove(&dirs).unwrap();
        let (first, second) = (put(&dirs, "one"), put(&dirs, "two"));
        assert_ne!(first.id(), second.id());
        let open = Bundle::open(&dirs).unwrap().unwrap();
        assert_eq!((open.id(), open.dir()), (second.id(), second.dir()));
        assert_eq!(ensure_offline(&dirs, Check::Contents).unwrap().id(), second.id());
        fs::create_dir(dirs.runtime().join(".build-left")).unwrap();
        assert_eq!(Bundle::prune(&dirs).unwrap(), [first.id().short()]);
        assert_eq!(entries(&dirs.runtime()).unwrap().len(), 3);
        Bundle::remove(&dirs).unwrap();
        assert_eq!(entries(&dirs.runtime()).unwrap(), [dirs.runtime().join(LOCK)]);
        assert!(Bundle::open(&dirs).unwrap().is_none());
    }

    #[test]
    fn damage_is_noticed_and_replaced() {
        let home = tempfile::tempdir().unwrap();
        let dirs = Dirs::under(home.path());
        let bundle = put(&dirs, "one");
        fs::write(bundle.dir().join("file"), "longer").unwrap();
        let BundleStatus::Damaged { problems, .. } = Bundle::status(&dirs).unwrap() else { panic!() };
        assert_eq!(problems[0].to_string(), "file has changed (6 bytes instead of 3)");
        assert!(Bundle::open(&dirs).unwrap().is_none());
        fs::write(bundle.dir().join("file"), "eno").unwrap();
        assert!(Bundle::open(&dirs).unwrap().is_some());
        assert!(matches!(bundle.verify(), Err(BundleError::Damaged { own: false, .. })));
        assert!(sound(&dirs, Check::Contents).unwrap().is_none());
        // The same bundle built again takes its place.
        let mended = put(&dirs, "one");
        assert_eq!(mended.dir(), bundle.dir());
        verify::contents(mended.dir(), mended.manifest()).unwrap();
        assert_eq!(entries(&dirs.runtime()).unwrap().len(), 2);
        fs::write(dirs.runtime().join(CURRENT), "{").unwrap();
        assert!(matches!(Bundle::status(&dirs).unwrap(), BundleStatus::Missing));
    }

    #[test]
    fn the_users_own_bundle_has_to_be_sound() {
        let home = tempfile::tempdir().unwrap();
        let own = put(&Dirs::under(home.path()), "one").dir().to_owned();
        let dirs = Dirs::resolve(&|name| match name {
            "PYRO_HOME" => Some(home.path().join("other").into()),
            "PYRO_RUNTIME_BUNDLE_DIR" => Some(own.clone().into()),
            _ => None,
        })
        .unwrap();
        assert_eq!(ensure_offline(&dirs, Check::Presence).unwrap().dir(), own);
        fs::write(own.join("file"), "eno").unwrap();
        let error = Bundle::open(&dirs).unwrap_err();
        assert!(matches!(error, BundleError::Damaged { own: true, .. }), "{error}");
        assert!(matches!(Bundle::status(&dirs).unwrap(), BundleStatus::Damaged { .. }));
    }
}
