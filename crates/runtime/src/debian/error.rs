//! What can go wrong between a mirror and a verified package.

use jiff::Timestamp;
use pyro_protocol::error::{Diagnostic, ErrorKind};

use super::deb::DebError;
use super::fetch::FetchError;
use crate::env_vars::EnvVars;
use crate::fs::FsError;

/// A failure of the package source.
#[derive(Debug, thiserror::Error)]
pub enum DebianError {
    /// A file of the host's.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// A download.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A package file.
    #[error(transparent)]
    Deb(#[from] DebError),
    /// The mirror's URL is none.
    #[error("not an http or https URL of a Debian mirror: {url}")]
    MirrorUrl {
        /// As it was given.
        url: String,
    },
    /// A point in time was asked for, and no archive that has it is configured.
    #[error("{} names no snapshot archive with a place for the time", EnvVars::PYRO_DEBIAN_SNAPSHOT_URL)]
    NoSnapshotUrl,
    /// The time of a snapshot is none.
    #[error("not a snapshot time: {text}")]
    SnapshotTime {
        /// As it was given.
        text: String,
    },
    /// The embedded keyring cannot be read: pyro itself is damaged.
    #[error("the archive keyring {name} is unusable")]
    Keyring {
        /// Which part of it.
        name: String,
        /// What the OpenPGP library said.
        #[source]
        source: Box<pgp::errors::Error>,
    },
    /// The release file is not a signed text.
    #[error("{url} is not a signed release file")]
    NotSigned {
        /// Where it came from.
        url: String,
        /// What the OpenPGP library said.
        #[source]
        source: Box<pgp::errors::Error>,
    },
    /// No signature of the release file is by a key that is trusted and valid.
    #[error("{url} has no valid signature by a Debian archive key ({})", problems.join("; "))]
    Signature {
        /// Where it came from.
        url: String,
        /// What is wrong with each signature.
        problems: Vec<String>,
    },
    /// The release file is for another release.
    #[error("{url} is for {found}, not for {wanted}")]
    WrongSuite {
        /// Where it came from.
        url: String,
        /// The suite or codename asked for.
        wanted: String,
        /// What the file says it is.
        found: String,
    },
    /// The release file must not be used any more: an old one may be replayed to hide security updates.
    #[error("{url} expired on {valid_until}")]
    Expired {
        /// Where it came from.
        url: String,
        /// Since when.
        valid_until: Timestamp,
    },
    /// The release file is from the future: a clock is wrong.
    #[error("{url} is dated {date}, which is in the future")]
    FromTheFuture {
        /// Where it came from.
        url: String,
        /// Its date.
        date: Timestamp,
    },
    /// A signed file does not have the form it should have.
    #[error("{what} is malformed: {problem}")]
    Malformed {
        /// Which file, or which field of which file.
        what: String,
        /// In what way.
        problem: String,
    },
    /// The release has no such package.
    #[error("{release} has no package named {name}")]
    NoPackage {
        /// The release's codename.
        release: String,
        /// The name asked for.
        name: String,
    },
    /// A dependency cannot be met.
    #[error("{relation} cannot be met in {release}, needed by {}", chain.join(" ← "))]
    Unsatisfiable {
        /// The release's codename.
        release: String,
        /// The relation, as the package has it.
        relation: String,
        /// The package that has the relation, the one that needs that, and so on up to the one asked for.
        chain: Vec<String>,
    },
}

impl Diagnostic for DebianError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Fs(error) => error.kind(),
            Self::Fetch(error) => error.kind(),
            Self::Deb(error) => error.kind(),
            Self::MirrorUrl { .. } | Self::NoSnapshotUrl | Self::SnapshotTime { .. } => {
                ErrorKind::InvalidInput
            }
            Self::NoPackage { .. } | Self::Unsatisfiable { .. } => ErrorKind::NotFound,
            Self::Keyring { .. }
            | Self::NotSigned { .. }
            | Self::Signature { .. }
            | Self::WrongSuite { .. }
            | Self::Expired { .. }
            | Self::FromTheFuture { .. }
            | Self::Malformed { .. } => ErrorKind::Integrity,
        }
    }

    fn hint(&self) -> Option<String> {
        let mirror = EnvVars::PYRO_DEBIAN_MIRROR;
        match self {
            Self::Fs(error) => error.hint(),
            Self::Fetch(error) => error.hint(),
            Self::Deb(error) => error.hint(),
            Self::MirrorUrl { .. } => {
                Some(format!("Set {mirror} to a URL such as http://mirror.example/debian, or unset it."))
            }
            Self::NoSnapshotUrl => Some(format!(
                "Set {} to the archive's URL with {{timestamp}} where the time goes.",
                EnvVars::PYRO_DEBIAN_SNAPSHOT_URL
            )),
            Self::SnapshotTime { .. } => {
                Some("Give the time as YYYYMMDDTHHMMSSZ, for example 20260912T000000Z.".to_owned())
            }
            Self::Keyring { .. } => Some("Build pyro again from a clean checkout.".to_owned()),
            Self::NotSigned { .. }
            | Self::Signature { .. }
            | Self::WrongSuite { .. }
            | Self::Malformed { .. } => Some(format!(
                "Something between you and the Debian archive changed the file, or this is no mirror of it: set \
                     {mirror} to another mirror."
            )),
            Self::Expired { .. } => Some(format!(
                "The mirror is out of date, or this host's clock is wrong: set the clock, or set {mirror} to another \
                 mirror."
            )),
            Self::FromTheFuture { .. } => Some("Set this host's clock.".to_owned()),
            Self::NoPackage { .. } => None,
            Self::Unsatisfiable { .. } => Some(format!(
                "The mirror may be in the middle of an update: try again later, or set {mirror}."
            )),
        }
    }
}
