//! The manifest: what is in a bundle, where it came from, and the digest that names it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::contents;
use super::error::{BundleError, Problem};
use crate::debian::ReleaseInfo;
use crate::digest::Sha256Digest;
use crate::fs::{FsError, write_atomic};

/// Of the manifest itself, and of the bundle's layout: another number is another kind of bundle.
const FORMAT: u32 = 3;

/// What is in a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this format and of the layout.
    pub format: u32,
    /// The digest of `format` and `files`: it names the bundle.
    pub id: Sha256Digest,
    /// When it was built.
    pub created: Timestamp,
    /// The release the packages are of, whichever mirror they came from.
    pub source: ReleaseInfo,
    /// Versions of the parts that matter to users.
    pub components: Components,
    /// Every package something was taken from, or could have been, sorted by name.
    pub packages: Vec<ManifestPackage>,
    /// Every file, sorted by path.
    pub files: Vec<ManifestFile>,
}

/// Versions of the parts that matter to users, as Debian has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Components {
    /// Of QEMU.
    pub qemu: String,
    /// Of the kernel's package.
    pub kernel: String,
    /// What the kernel calls itself.
    pub kernel_release: String,
    /// Of e2fsprogs.
    pub e2fsprogs: String,
    /// Of erofs-utils.
    pub erofs_utils: String,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Digest of its file.
    pub sha256: Sha256Digest,
}

/// A file of the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestFile {
    /// Relative to the bundle.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Digest of its content.
    pub sha256: Sha256Digest,
}

impl Manifest {
    pub(super) fn new(
        source: ReleaseInfo,
        components: Components,
        packages: Vec<ManifestPackage>,
        mut files: Vec<ManifestFile>,
    ) -> Self {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let id = identify(FORMAT, &files);
        Self { format: FORMAT, id, created: Timestamp::now(), source, components, packages, files }
    }

    /// Reads the manifest of the bundle in `dir`; the problem, when it is not one that this pyro can use.
    pub(super) fn load(dir: &Path) -> Result<Self, Problem> {
        let problem = |how: String| Problem::Manifest { how };
        let bytes = fs::read(dir.join(contents::MANIFEST)).map_err(|error| problem(error.to_string()))?;
        let manifest: Self = serde_json::from_slice(&bytes).map_err(|error| problem(error.to_string()))?;
        if manifest.format != FORMAT {
            return Err(problem(format!("its format is {}, not {FORMAT}", manifest.format)));
        }
        if identify(manifest.format, &manifest.files) != manifest.id {
            return Err(problem("its id does not fit its files".to_owned()));
        }
        let leaves =
            |file: &ManifestFile| file.path.split('/').any(|part| part.is_empty() || part.starts_with('.'));
        if let Some(file) = manifest.files.iter().find(|file| leaves(file)) {
            return Err(problem(format!("it has the path {:?}", file.path)));
        }
        Ok(manifest)
    }

    pub(super) fn store(&self, dir: &Path) -> Result<(), BundleError> {
        let path = dir.join(contents::MANIFEST);
        let text =
            serde_json::to_vec_pretty(self).map_err(|error| FsError::on("write", &path)(error.into()))?;
        Ok(write_atomic(&path, &text)?)
    }

    /// Bytes of all files; holes count.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

/// The digest of what makes a bundle what it is.
fn identify(format: u32, files: &[ManifestFile]) -> Sha256Digest {
    let mut text = format!("pyro bundle {format}\n");
    for file in files {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} {:o} {} {}", file.sha256, file.mode, file.size, file.path);
    }
    Sha256Digest::of(text.as_bytes())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn manifest(files: Vec<ManifestFile>) -> Manifest {
        let source = ReleaseInfo {
            suite: "stable".to_owned(),
            codename: "trixie".to_owned(),
            version: Some("13.7".to_owned()),
            date: Timestamp::UNIX_EPOCH,
        };
        let version = || "1.0-1".to_owned();
        let components = Components {
            qemu: version(),
            kernel: version(),
            kernel_release: "6.12-cloud".to_owned(),
            e2fsprogs: version(),
            erofs_utils: version(),
        };
        Manifest::new(source, components, Vec::new(), files)
    }

    fn file(path: &str) -> ManifestFile {
        ManifestFile { path: path.to_owned(), size: 1, mode: 0o644, sha256: Sha256Digest::of(b"x") }
    }

    #[test]
    fn the_id_is_of_the_files() {
        let (a, b) = (manifest(vec![file("a"), file("b")]), manifest(vec![file("b"), file("a")]));
        assert_eq!(a.id, b.id);
        assert_ne!(a.id, manifest(vec![file("a")]).id);
        assert_eq!(a.size(), 2);
    }

    #[test]
    fn only_its_own_kind_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let good = manifest(vec![file("bin/a")]);
        good.store(dir.path()).unwrap();
        assert_eq!(Manifest::load(dir.path()), Ok(good.clone()));
        let text = fs::read_to_string(dir.path().join(contents::MANIFEST)).unwrap();
        for (from, to, how) in [
            ("\"format\": 3", "\"format\": 1", "its format is 1"),
            ("bin/a", "bin/b", "does not fit"),
            ("\"created\"", "\"more\": 1, \"created\"", "unknown field"),
            ("{", "[", "invalid"),
        ] {
            fs::write(dir.path().join(contents::MANIFEST), text.replacen(from, to, 1)).unwrap();
            let problem = Manifest::load(dir.path()).unwrap_err().to_string();
            assert!(problem.contains(how), "{from}: {problem}");
        }
        manifest(vec![file("../escape")]).store(dir.path()).unwrap();
        assert!(Manifest::load(dir.path()).is_err());
    }
}
