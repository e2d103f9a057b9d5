//! Firecracker's program: one that the user names, else the official release that is pinned here.
//!
//! The release is fetched when somebody first has a use for it, which is on hosts where KVM works. It is kept in the cache below
//! its version, under its final name only once its sha256 was right.

mod release;
mod version;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pyro_protocol::error::{Diagnostic, ErrorKind};
use serde::{Deserialize, Serialize};

use crate::bundle::elf::is_static;
use crate::debian::FetchError;
use crate::debian::download::Patience;
use crate::digest::Sha256Digest;
use crate::env_vars::{EnvVars, Lookup};
use crate::fs::{FsError, Stamp, create_dir_all};
use crate::lock::FileLock;
use crate::paths::Dirs;
use crate::progress::Progress;
use release::{PINNED, fetch};
pub use version::Version;
use version::said_of_version;

/// The oldest version that boots the bundle's kernel through its PVH entry point and describes its devices by ACPI.
const OLDEST: Version = Version(1, 12, 0);
/// Restores every snapshot with a dead virtio socket.
const RESTORES_VSOCK_DEAD: Version = Version(1, 16, 0);
/// The first whose restores take a path for the virtio socket, and work.
const OVERRIDES_VSOCK: Version = Version(1, 16, 1);

/// How long another process may take to fetch it.
const FETCH_PATIENCE: Duration = Duration::from_mins(5);

/// Why there is no usable Firecracker.
#[derive(Debug, thiserror::Error)]
pub enum FirecrackerError {
    /// It cannot be started.
    #[error("cannot run {}", path.display())]
    Run {
        /// The program.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It does not say which version it is.
    #[error("{} is no Firecracker: asked for its version it says {said:?}", path.display())]
    NoVersion {
        /// The program.
        path: PathBuf,
        /// The beginning of what it says.
        said: String,
    },
    /// It is older than what pyro works with.
    #[error("{} is Firecracker {found}, and pyro needs {OLDEST} or later", path.display())]
    TooOld {
        /// The program.
        path: PathBuf,
        /// Its version.
        found: Version,
    },
    /// It needs other files to run, which the jail of a VMM does not have.
    #[error(
        "{} is a script or linked dynamically, and there is neither a shell nor a library in the jail that it runs in",
        path.display()
    )]
    NotStatic {
        /// The program.
        path: PathBuf,
    },
    /// The pinned release is not there, and nobody is to fetch it now.
    #[error("Firecracker {} was not fetched yet", PINNED.version)]
    Missing,
    /// The pinned release cannot be fetched.
    #[error("cannot fetch Firecracker {}", PINNED.version)]
    Fetch(#[source] FetchError),
    /// The pinned release is not what it should be.
    #[error("the archive of Firecracker {} {what}", PINNED.version)]
    Archive {
        /// In what way.
        what: String,
    },
    /// Its path is not text, which other processes are told it in.
    #[error("{} holds a path that is not UTF-8: {}", EnvVars::PYRO_FIRECRACKER_BIN, path.display())]
    NotText {
        /// The path.
        path: PathBuf,
    },
    /// A file of the cache.
    #[error(transparent)]
    Files(#[from] FsError),
}

impl Diagnostic for FirecrackerError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Run { source, .. } => pyro_protocol::error::kind_of_io(source),
            Self::NoVersion { .. } | Self::TooOld { .. } | Self::NotStatic { .. } => ErrorKind::Unsupported,
            Self::Missing => ErrorKind::NotFound,
            Self::Fetch(source) => source.kind(),
            Self::NotText { .. } => ErrorKind::InvalidInput,
            Self::Archive { .. } => ErrorKind::Integrity,
            Self::Files(source) => source.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        let variable = EnvVars::PYRO_FIRECRACKER_BIN;
        match self {
            Self::NotStatic { .. } => Some(format!(
                "name one by {variable} that is linked statically, as the official releases are"
            )),
            Self::Run { .. } | Self::NoVersion { .. } | Self::TooOld { .. } => Some(format!(
                "name another program by {variable}, or leave the variable out, so that Firecracker {} is fetched",
                PINNED.version
            )),
            Self::Missing => Some("`pyro prepare` fetches it".to_owned()),
            Self::Fetch(_) => Some(format!(
                "put the program of the release on this host and name it by {variable}, or choose QEMU by --engine"
            )),
            Self::NotText { .. } => Some("name it by a link whose path is text".to_owned()),
            Self::Archive { .. } => {
                Some("something between here and the release changes what is fetched".to_owned())
            }
            Self::Files(source) => source.hint(),
        }
    }
}

/// Which Firecracker is to be used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FirecrackerSource {
    /// The release that is pinned here.
    #[default]
    Pinned,
    /// The user's own.
    Named(PathBuf),
}

impl FirecrackerSource {
    /// What the environment's `PYRO_FIRECRACKER_BIN` says, for processes in whatever directory. Fails with
    /// [`FirecrackerError::NotText`].
    pub fn resolve(lookup: Lookup<'_>) -> Result<Self, FirecrackerError> {
        let Some(path) = lookup(EnvVars::PYRO_FIRECRACKER_BIN).map(PathBuf::from) else {
            return Ok(Self::Pinned);
        };
        let path = std::path::absolute(&path).unwrap_or(path);
        if path.to_str().is_some() { Ok(Self::Named(path)) } else { Err(FirecrackerError::NotText { path }) }
    }

    /// The program, where nothing has to be fetched for it.
    pub fn at_hand(&self, dirs: &Dirs) -> Result<Option<Firecracker>, FirecrackerError> {
        match self {
            Self::Named(path) => Firecracker::at(path).map(Some),
            Self::Pinned => Ok(Firecracker::at(&place(dirs, PINNED.version)).ok()),
        }
    }

    /// Whether there is such a file; nothing is run.
    pub fn is_there(&self, dirs: &Dirs) -> bool {
        match self {
            Self::Named(path) => path.is_file(),
            Self::Pinned => place(dirs, PINNED.version).is_file(),
        }
    }

    /// The program. The pinned release is fetched where it is missing.
    pub fn get(&self, dirs: &Dirs, progress: &dyn Progress) -> Result<Firecracker, FirecrackerError> {
        if let Some(at_hand) = self.at_hand(dirs)? {
            return Ok(at_hand);
        }
        let target = place(dirs, PINNED.version);
        let directory = dirs.cache().join("firecracker");
        create_dir_all(&directory)?;
        let told = || progress.phase("wait for=\"another process that fetches Firecracker\"");
        let _turn = FileLock::acquire(&directory.join("lock"), FETCH_PATIENCE, &told)?;
        // Whoever had the turn before may have done it.
        if let Some(at_hand) = self.at_hand(dirs)? {
            return Ok(at_hand);
        }
        fetch(&PINNED, &target, &Patience { attempts: 1, ..Patience::default() }, progress)?;
        Firecracker::at(&target)
    }

    /// Tells one program from another without running it, whether or not it is there.
    pub fn mark(&self) -> String {
        match self {
            Self::Pinned => PINNED.version.to_string(),
            Self::Named(path) => {
                let stamp = fs::metadata(path).map(|metadata| Stamp::of(&metadata)).ok();
                format!("{} {stamp:?}", path.display())
            }
        }
    }
}

/// A Firecracker that pyro works with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firecracker {
    path: PathBuf,
    version: Version,
    stamp: Stamp,
}

impl Firecracker {
    /// The program at `path`. Fails when it cannot be run, is something else, is too old, or needs other files to run.
    pub fn at(path: &Path) -> Result<Self, FirecrackerError> {
        let found = Self::asked(path)?;
        match runs_alone(&found.path) {
            Ok(true) => Ok(found),
            Ok(false) => Err(FirecrackerError::NotStatic { path: found.path }),
            Err(source) => Err(FirecrackerError::Run { path: found.path, source }),
        }
    }

    /// What the program at `path` says that it is.
    fn asked(path: &Path) -> Result<Self, FirecrackerError> {
        let failed = |source| FirecrackerError::Run { path: path.to_owned(), source };
        let path = fs::canonicalize(path).map_err(failed)?;
        // Before it is asked: one that is replaced meanwhile is another one.
        let stamp = Stamp::of(&fs::metadata(&path).map_err(failed)?);
        let said = said_of_version(&path).map_err(failed)?;
        let Some(version) = Version::parse(&said) else {
            return Err(FirecrackerError::NoVersion { path, said: said.chars().take(200).collect() });
        };
        if version < OLDEST {
            return Err(FirecrackerError::TooOld { path, found: version });
        }
        Ok(Self { path, version, stamp })
    }

    /// Whether it is still the program that was asked for its version.
    pub fn is_as_it_was(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|metadata| Stamp::of(&metadata) == self.stamp)
    }

    /// The program.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Tells one program from another, and from what it was before it was changed.
    pub fn identity(&self) -> Sha256Digest {
        let Self { path: _, version, stamp } = self;
        Sha256Digest::of(format!("{version} {stamp:?}").as_bytes())
    }

    /// Whether what it restores from a snapshot can be reached.
    pub fn restores(&self) -> bool {
        self.version != RESTORES_VSOCK_DEAD
    }

    /// Whether a restore takes the path of the virtio socket.
    pub fn overrides_vsock(&self) -> bool {
        self.version >= OVERRIDES_VSOCK
    }
}

fn runs_alone(program: &Path) -> io::Result<bool> {
    const BEGINNING: u64 = 4096;
    let mut beginning = Vec::new();
    fs::File::open(program)?.take(BEGINNING).read_to_end(&mut beginning)?;
    Ok(is_static(&beginning))
}

fn place(dirs: &Dirs, version: Version) -> PathBuf {
    dirs.cache().join("firecracker").join(version.to_string()).join("firecracker")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::write_program;
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::PermissionsExt;

    fn script(path: &Path, says: &str) {
        write_program(path, format!("#!/bin/sh\necho '{says}'\n").as_bytes()).unwrap();
    }

    #[test]
    fn a_program_is_named_for_every_directory() {
        assert_eq!(FirecrackerSource::resolve(&|_| None).unwrap(), FirecrackerSource::Pinned);
        let named = FirecrackerSource::resolve(&|_| Some("bin/firecracker".into())).unwrap();
        let here = std::env::current_dir().unwrap();
        assert_eq!(named, FirecrackerSource::Named(here.join("bin/firecracker")));
        assert_ne!(named.mark(), FirecrackerSource::Pinned.mark());
        let not_text = OsString::from_vec(b"bin/\xff".to_vec());
        let refused = FirecrackerSource::resolve(&|_| Some(not_text.clone())).unwrap_err();
        assert!(matches!(refused, FirecrackerError::NotText { .. }), "{refused}");
    }

    #[test]
    fn a_program_that_is_no_use_is_named_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("firecracker");
        let refused = || Firecracker::at(&path).unwrap_err();
        assert!(matches!(refused(), FirecrackerError::Run { .. }));
        script(&path, "Firecracker v1.7.0");
        let old = refused();
        assert!(old.to_string().contains("is Firecracker 1.7.0, and pyro needs 1.12.0 or later"), "{old}");
        assert!(old.hint().unwrap().contains("PYRO_FIRECRACKER_BIN"));
        script(&path, "no such thing");
        assert!(refused().to_string().contains("no such thing"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(refused(), FirecrackerError::Run { .. }));
    }

    #[test]
    fn a_program_that_needs_other_files_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("firecracker");
        script(&path, "Firecracker v1.16.1");
        let refused = Firecracker::at(&path).unwrap_err();
        assert!(matches!(refused, FirecrackerError::NotStatic { .. }), "{refused}");
        assert!(!runs_alone(&std::env::current_exe().unwrap()).unwrap());
        write_program(&path, crate::AGENT).unwrap();
        assert!(runs_alone(&path).unwrap());
    }

    #[test]
    fn what_a_program_can_do_goes_by_its_version() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("firecracker");
        let can = |version: &str| {
            script(&path, &format!("Firecracker v{version}"));
            let program = Firecracker::asked(&path).unwrap();
            (program.restores(), program.overrides_vsock())
        };
        assert_eq!(can("1.15.1"), (true, false));
        assert_eq!(can("1.16.0"), (false, false));
        assert_eq!(can("1.16.1"), (true, true));
        let before = Firecracker::asked(&path).unwrap().identity();
        script(&path, "Firecracker v1.16.1");
        assert_ne!(Firecracker::asked(&path).unwrap().identity(), before, "another file");
    }
}
