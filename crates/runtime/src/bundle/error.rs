//! What can go wrong with a bundle.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use pyro_protocol::error::{Diagnostic, ErrorKind};

use super::vmlinux::VmlinuxError;
use crate::debian::{DebError, DebianError, FetchError};
use crate::env_vars::EnvVars;
use crate::fs::FsError;

/// One difference between a bundle and its manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// A file is not there.
    Missing {
        /// Relative to the bundle.
        path: String,
    },
    /// A file has another content, size, mode or type.
    Changed {
        /// Relative to the bundle.
        path: String,
        /// In what way.
        how: String,
    },
    /// A file is there that should not be.
    Additional {
        /// Relative to the bundle.
        path: String,
    },
    /// The manifest cannot be read, or is not the one the directory is named by.
    Manifest {
        /// In what way.
        how: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { path } => write!(f, "{path} is missing"),
            Self::Changed { path, how } => write!(f, "{path} has changed ({how})"),
            Self::Additional { path } => write!(f, "{path} does not belong"),
            Self::Manifest { how } => write!(f, "manifest.json is unusable ({how})"),
        }
    }
}

/// A failure of the runtime bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file of the host's.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The package source.
    #[error(transparent)]
    Debian(#[from] DebianError),
    /// The bundle is not what its manifest says.
    #[error("the runtime bundle {} is damaged: {}", dir.display(), list(problems))]
    Damaged {
        /// Its directory.
        dir: PathBuf,
        /// Every difference found.
        problems: Vec<Problem>,
        /// Whether it is the user's own directory, which pyro does not repair.
        own: bool,
    },
    /// The packages lack a file that the bundle is made of: Debian arranged them anew.
    #[error("no package has {path}, which the runtime bundle needs{}", needed(needed_by.as_deref()))]
    MissingFile {
        /// The path or the name of the library.
        path: String,
        /// The file that needs it.
        needed_by: Option<String>,
    },
    /// A program or library of a package is no ELF file that could be read.
    #[error("{path} is not a readable ELF file: {problem}")]
    Elf {
        /// Which one.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The kernel cannot be unpacked.
    #[error("cannot unpack the kernel {release}")]
    Kernel {
        /// Which one.
        release: String,
        /// Why.
        #[source]
        source: VmlinuxError,
    },
    /// A kernel module cannot be unpacked or read.
    #[error("the kernel module {name} is unusable: {problem}")]
    Module {
        /// Which one.
        name: String,
        /// Why.
        problem: String,
    },
    /// A tool of the bundle failed.
    #[error("{tool} failed ({status}): {message}")]
    Tool {
        /// Which one.
        tool: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it printed.
        message: String,
    },
    /// A tool of the bundle did not end.
    #[error("{tool} did not finish within {} s", limit.as_secs())]
    ToolTimeout {
        /// Which one.
        tool: &'static str,
        /// The time it had.
        limit: Duration,
    },
    /// Something was too large for its format.
    #[error("{what} is too large for its format")]
    TooLarge {
        /// What.
        what: String,
    },
}

impl From<DebError> for BundleError {
    fn from(error: DebError) -> Self {
        Self::Debian(error.into())
    }
}

impl From<FetchError> for BundleError {
    fn from(error: FetchError) -> Self {
        Self::Debian(error.into())
    }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join(", ")
}

fn needed(by: Option<&str>) -> String {
    by.map_or_else(String::new, |by| format!(" for {by}"))
}

impl Diagnostic for BundleError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Fs(error) => error.kind(),
            Self::Debian(error) => error.kind(),
            Self::Damaged { .. } | Self::Elf { .. } | Self::Module { .. } => ErrorKind::Integrity,
            Self::MissingFile { .. } | Self::Kernel { .. } | Self::TooLarge { .. } => ErrorKind::Unsupported,
            Self::Tool { .. } => ErrorKind::Host,
            Self::ToolTimeout { .. } => ErrorKind::TimedOut,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Fs(error) => error.hint(),
            Self::Debian(error) => error.hint(),
            Self::Damaged { own: true, .. } => {
                Some(format!("Build that directory again, or unset {}.", EnvVars::PYRO_RUNTIME_BUNDLE_DIR))
            }
            Self::Damaged { own: false, .. } => Some("Run `pyro runtime fetch` to repair it.".to_owned()),
            Self::MissingFile { .. } | Self::Elf { .. } | Self::Kernel { .. } | Self::Module { .. } => Some(
                "Debian's packages have changed: use a newer pyro, or pin the packages with --snapshot TIMESTAMP."
                    .to_owned(),
            ),
            Self::Tool { .. } => {
                Some("Check the free disk space, and the tools with `pyro runtime verify`.".to_owned())
            }
            Self::ToolTimeout { .. } | Self::TooLarge { .. } => None,
        }
    }
}
