//! From packages to the files of a bundle.
//!
//! Packages are read once each, a few at a time, and what may be wanted of them is written to a staging directory:
//! regular files only. Links between libraries are followed here, by name, and never written, so nothing in a package can
//! make a write go elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::contents::{FILES, IMPLICIT_LIBRARIES, PROGRAMS, VMLINUX};
use super::error::BundleError;
use super::{elf, modules, vmlinux};
use crate::debian::{Deb, DebEntry, EntryKind};
use crate::digest::Sha256Digest;
use crate::fs::{FsError, create_dir_all, set_mode};

/// Packages read at a time.
const WORKERS: usize = 4;

/// What was taken from the packages.
#[derive(Debug, Default)]
struct Taken {
    /// Files that have a place in the bundle, by their path in the package.
    placed: BTreeMap<String, PathBuf>,
    /// Libraries by file name.
    libraries: HashMap<String, PathBuf>,
    /// Links between libraries, from file name to file name.
    links: HashMap<String, String>,
    /// The packed kernel, by its release.
    kernel: Option<(String, PathBuf)>,
}

/// The staging directory of a bundle under construction.
pub(super) struct Stage {
    dir: PathBuf,
    taken: Mutex<Taken>,
    files: AtomicUsize,
}

impl Stage {
    /// Stages into the new directory `dir`.
    pub(super) fn new(dir: PathBuf) -> Result<Self, BundleError> {
        create_dir_all(&dir)?;
        Ok(Self { dir, taken: Mutex::default(), files: AtomicUsize::new(0) })
    }

    /// The root below which the kernel's modules are, as in a file system.
    pub(super) fn modules_root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// Verifies and reads every package, as (file, digest). `done` is told the bytes of each.
    pub(super) fn take(
        &self,
        packages: &[(PathBuf, Sha256Digest)],
        done: &(dyn Fn(u64) + Sync),
    ) -> Result<(), BundleError> {
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| {
                    while let Some((file, sha256)) = packages.get(next.fetch_add(1, Ordering::Relaxed)) {
                        match self.take_one(file, *sha256) {
                            Ok(bytes) => done(bytes),
                            Err(error) => {
                                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                                next.store(packages.len(), Ordering::Relaxed);
                            }
                        }
                    }
                });
            }
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn take_one(&self, file: &Path, sha256: Sha256Digest) -> Result<u64, BundleError> {
        let mut reader = File::open(file).map_err(FsError::on("read", file))?;
        let (actual, len) = Sha256Digest::of_reader(&mut reader).map_err(FsError::on("read", file))?;
        if actual != sha256 {
            // It was right when it was fetched: the disk lost it. Gone, it is fetched again by the next call.
            crate::fs::remove_all(file)?;
            let source =
                io::Error::new(io::ErrorKind::InvalidData, format!("sha256 {actual} instead of {sha256}"));
            return Err(crate::debian::DebError::Damaged { path: file.to_owned(), source }.into());
        }
        Deb::open(file).for_each(|entry, content| self.entry(&entry, content))?;
        Ok(len)
    }

    fn entry(&self, entry: &DebEntry, content: &mut dyn Read) -> Result<(), BundleError> {
        // Packages still differ in whether they have /usr before /lib; in the file system there is no difference.
        let path = entry.path.to_string_lossy();
        let path = if path.starts_with("lib") { format!("usr/{path}") } else { path.into_owned() };
        let name = path.rsplit('/').next().unwrap_or(&path).to_owned();
        match &entry.kind {
            EntryKind::File if is_placed(&path) => {
                let staged = self.write(content)?;
                self.taken().placed.insert(path, staged);
            }
            EntryKind::File if is_library(&path) => {
                let staged = self.write(content)?;
                self.taken().libraries.insert(name, staged);
            }
            EntryKind::Symlink(target) if is_library(&path) => {
                let target = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
                self.taken().links.insert(name, target);
            }
            EntryKind::File => {
                if let Some(release) = path.strip_prefix("boot/vmlinuz-") {
                    let staged = self.write(content)?;
                    self.taken().kernel = Some((release.to_owned(), staged));
                } else if path.starts_with("usr/lib/modules/") {
                    self.write_module_file(&path, content)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes `content` to a file with a name of its own.
    fn write(&self, content: &mut dyn Read) -> Result<PathBuf, BundleError> {
        let path = self.dir.join(self.files.fetch_add(1, Ordering::Relaxed).to_string());
        write_new(&path, content)?;
        Ok(path)
    }

    fn write_module_file(&self, path: &str, content: &mut dyn Read) -> Result<(), BundleError> {
        let target = self.modules_root().join(path);
        if let Some(parent) = target.parent() {
            make_dirs(&self.modules_root(), parent)?;
        }
        write_new(&target, content)
    }

    /// Puts programs, files and the libraries they need where they belong in `bundle`.
    pub(super) fn place_programs(&self, bundle: &Path) -> Result<(), BundleError> {
        for dir in ["bin", "etc", "images", "kernel", "lib", "share", "share/qemu"] {
            make_dirs(bundle, &bundle.join(dir))?;
        }
        let taken = self.taken();
        let missing = |path: &str| BundleError::MissingFile { path: path.to_owned(), needed_by: None };
        let mut wanted: Vec<(String, String)> =
            IMPLICIT_LIBRARIES.iter().map(|name| ((*name).to_owned(), "every program".to_owned())).collect();
        for (source, tool) in PROGRAMS {
            let staged = taken.placed.get(*source).ok_or_else(|| missing(source))?;
            wanted.extend(needs(staged, tool.name())?);
            copy(staged, &bundle.join("bin").join(tool.name()))?;
        }
        for (source, place) in FILES {
            let staged = taken.placed.get(*source).ok_or_else(|| missing(source))?;
            copy(staged, &bundle.join(place))?;
        }
        // Breadth first over what is needed; a library is placed under the name by which it is asked for.
        while let Some((name, by)) = wanted.pop() {
            let place = bundle.join("lib").join(&name);
            if place.exists() {
                continue;
            }
            let staged = taken
                .library(&name)
                .ok_or_else(|| BundleError::MissingFile { path: name.clone(), needed_by: Some(by) })?;
            wanted.extend(needs(staged, &name)?);
            copy(staged, &place)?;
        }
        Ok(())
    }

    /// Unpacks the kernel into `bundle`. Returns its release.
    pub(super) fn place_kernel(&self, bundle: &Path) -> Result<String, BundleError> {
        let missing = |path: &str| BundleError::MissingFile { path: path.to_owned(), needed_by: None };
        let (release, staged) = self.taken().kernel.clone().ok_or_else(|| missing("boot/vmlinuz-*"))?;
        let packed = fs::read(&staged).map_err(FsError::on("read", &staged))?;
        let kernel = vmlinux::extract(&packed)
            .map_err(|source| BundleError::Kernel { release: release.clone(), source })?;
        write_new(&bundle.join(VMLINUX), &mut kernel.as_slice())?;
        let modules = modules::tree(&self.modules_root()).join(&release);
        if modules.is_dir() { Ok(release) } else { Err(missing(&format!("usr/lib/modules/{release}"))) }
    }
}

impl Taken {
    /// The file of the library `name`, through links.
    fn library(&self, name: &str) -> Option<&PathBuf> {
        let mut name = name;
        for _ in 0..8 {
            if let Some(file) = self.libraries.get(name) {
                return Some(file);
            }
            name = self.links.get(name)?;
        }
        None
    }
}

/// The libraries that `staged` needs, each with who needs it.
fn needs(staged: &Path, name: &str) -> Result<Vec<(String, String)>, BundleError> {
    let data = fs::read(staged).map_err(FsError::on("read", staged))?;
    let needed = elf::needed(&data)
        .map_err(|error| BundleError::Elf { path: name.to_owned(), problem: error.to_string() })?;
    Ok(needed.into_iter().map(|library| (library, name.to_owned())).collect())
}

fn is_placed(path: &str) -> bool {
    PROGRAMS.iter().any(|(source, _)| *source == path) || FILES.iter().any(|(source, _)| *source == path)
}

/// Whether `path` is a shared library where the loader would look for it.
fn is_library(path: &str) -> bool {
    let file = path
        .strip_prefix("usr/lib/x86_64-linux-gnu/")
        .or_else(|| path.strip_prefix("usr/lib64/"))
        .filter(|name| !name.contains('/'));
    file.is_some_and(|name| name.contains(".so"))
}

/// Writes a file that everyone may read, as the modules of the image have to be; the bundle's own get their modes last.
fn write_new(path: &Path, content: &mut dyn Read) -> Result<(), BundleError> {
    let mut file = File::create_new(path).map_err(FsError::on("create", path))?;
    io::copy(content, &mut file).map_err(FsError::on("write", path))?;
    Ok(set_mode(path, 0o644)?)
}

/// Places a file of the bundle, executable, since the tools of a bundle under construction are run already.
fn copy(from: &Path, to: &Path) -> Result<(), BundleError> {
    fs::copy(from, to).map_err(FsError::on("write", to))?;
    Ok(set_mode(to, 0o755)?)
}

/// Creates the directories from `root` down to `dir` with the same mode whatever the umask.
fn make_dirs(root: &Path, dir: &Path) -> Result<(), BundleError> {
    if dir.is_dir() {
        return Ok(());
    }
    create_dir_all(dir)?;
    for ancestor in dir.ancestors().take_while(|ancestor| ancestor.starts_with(root)) {
        set_mode(ancestor, 0o755)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_through_links() {
        let taken = Taken {
            libraries: HashMap::from([("libz.so.1.3".to_owned(), PathBuf::from("7"))]),
            links: HashMap::from([
                ("libz.so.1".to_owned(), "libz.so.1.3".to_owned()),
                ("loop.so".to_owned(), "pool.so".to_owned()),
                ("pool.so".to_owned(), "loop.so".to_owned()),
            ]),
            ..Taken::default()
        };
        assert_eq!(taken.library("libz.so.1"), Some(&PathBuf::from("7")));
        assert_eq!(taken.library("loop.so"), None);
        assert_eq!(taken.library("liby.so"), None);
    }

    #[test]
    fn only_libraries_the_loader_looks_at_count() {
        for (path, expected) in [
            ("usr/lib/x86_64-linux-gnu/libc.so.6", true),
            ("usr/lib64/ld-linux-x86-64.so.2", true),
            ("usr/lib/x86_64-linux-gnu/gconv/ISO8859-1.so", false),
            ("usr/lib/libfoo.so", false),
            ("usr/share/doc/x.so", false),
        ] {
            assert_eq!(is_library(path), expected, "{path}");
        }
    }
}
