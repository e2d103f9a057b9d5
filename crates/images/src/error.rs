//! Why an environment could not be found, built or opened.

use pyro_protocol::error::{Diagnostic, ErrorKind, kind_of_io};
use pyro_runtime::fs::FsError;
use pyro_runtime::{BundleError, DebianError};
use pyro_vmm::VmmError;
use std::io;
use std::path::PathBuf;

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
pub enum ImagesError {
    /// The catalog has no such environment.
    #[error("there is no environment `{name}`")]
    UnknownEnvironment {
        /// The name asked for, cut to 80 characters.
        name: String,
        /// Names of the catalog that are close.
        near: Vec<&'static str>,
    },
    /// The environment is in the catalog but not installed.
    #[error("the environment `{name}` is not installed")]
    NotInstalled {
        /// Its name.
        name: &'static str,
    },
    /// An installed environment is not what was installed.
    #[error("the installed environment `{name}` is broken: {what}")]
    Broken {
        /// Its name.
        name: &'static str,
        /// What is wrong with it, naming the file.
        what: String,
    },
    /// A package source failed.
    #[error("cannot get the packages of `{name}`")]
    Packages {
        /// The environment.
        name: &'static str,
        /// Why.
        #[source]
        source: DebianError,
    },
    /// The runtime bundle failed.
    #[error("the runtime bundle is not usable")]
    Bundle(#[from] BundleError),
    /// A package's archive could not be read.
    #[error("cannot unpack {package}")]
    Unpack {
        /// File name of the package.
        package: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The guest that configures the packages could not be run.
    #[error("cannot run the guest that configures `{name}`")]
    Guest {
        /// The environment.
        name: &'static str,
        /// Why.
        #[source]
        source: VmmError,
    },
    /// A package's configuration failed in the guest.
    #[error("configuring the packages of `{name}` failed with status {exit_code} in phase {phase}")]
    Configure {
        /// The environment.
        name: &'static str,
        /// Exit status of the script.
        exit_code: u8,
        /// The last phase that it had begun.
        phase: String,
        /// The end of its output.
        log: String,
    },
    /// There is too little room for a build.
    #[error("{} has {} MiB free, and building takes up to {} MiB", path.display(), free >> 20, needed >> 20)]
    NoSpace {
        /// Where it would have been built.
        path: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes that may be needed.
        needed: u64,
    },
    /// A file of the cache could not be read or written.
    #[error("the environment cache failed")]
    Cache(#[from] FsError),
    /// Another process held the environment's lock for too long.
    #[error("another pyro is still building `{name}`")]
    Busy {
        /// The environment.
        name: &'static str,
        /// The lock file.
        lock: PathBuf,
    },
}

impl ImagesError {
    /// Output worth showing besides the error: the end of a console or of a build's log.
    pub fn log(&self) -> Option<&str> {
        match self {
            Self::Configure { log, .. } => Some(log),
            Self::Guest { source, .. } => source.console(),
            _ => None,
        }
    }
}

impl Diagnostic for ImagesError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownEnvironment { .. } | Self::NotInstalled { .. } => ErrorKind::NotFound,
            Self::Broken { .. } => ErrorKind::Integrity,
            Self::Packages { source, .. } => source.kind(),
            Self::Bundle(source) => source.kind(),
            Self::Unpack { source, .. } => kind_of_io(source),
            Self::Guest { source, .. } => source.kind(),
            Self::Configure { .. } => ErrorKind::Host,
            Self::Cache(source) => source.kind(),
            Self::Busy { .. } => ErrorKind::TimedOut,
            Self::NoSpace { .. } => ErrorKind::Exhausted,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownEnvironment { near, .. } if near.is_empty() => {
                Some("`pyro env list` shows the catalog".to_owned())
            }
            Self::UnknownEnvironment { near, .. } => {
                Some(format!("did you mean {}? `pyro env list` shows the catalog", near.join(" or ")))
            }
            Self::NotInstalled { name } => Some(format!("install it with `pyro env pull {name}`")),
            Self::Broken { name, .. } => Some(format!("repair it with `pyro env pull {name}`")),
            Self::Packages { source, .. } => source.hint(),
            Self::Bundle(source) => source.hint(),
            Self::Guest { source, .. } => source.hint(),
            Self::Cache(source) => source.hint(),
            Self::Unpack { .. } => Some("the disk may be full; a package that is damaged is fetched again".to_owned()),
            Self::Configure { .. } => {
                Some("the end of the log is below; a full disk and a mirror that is being updated are the usual causes, so try again later".to_owned())
            }
            Self::NoSpace { .. } => {
                Some("free some space, or set PYRO_ENVIRONMENT_CACHE_DIR to a directory on a larger disk".to_owned())
            }
            Self::Busy { lock, .. } => {
                Some(format!("wait for it, or end the process that holds {}", lock.display()))
            }
        }
    }
}
