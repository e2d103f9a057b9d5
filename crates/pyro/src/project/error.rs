//! Why a project cannot be taken as the source of a workspace.

use pyro_protocol::error::{Diagnostic, ErrorKind, kind_of_io};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Every failure that is about the project source alone.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// Options that exclude each other.
    #[error("{first} and {second} contradict each other")]
    Contradiction {
        /// One option.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// A reference without the repository that it is of.
    #[error("--repo-ref says what to take of a repository, and there is no --repo-url")]
    ReferenceWithoutUrl,
    /// An address that is not cloned.
    #[error("--repo-url is not an address that is cloned: {why}")]
    BadUrl {
        /// What is wrong with it. The address itself may hold a password.
        why: &'static str,
    },
    /// A reference that names nothing.
    #[error("--repo-ref cannot be `{}`: {why}", given.escape_debug())]
    BadReference {
        /// The reference, shortened.
        given: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The path that was named cannot be looked at.
    #[error("cannot look at the project path {}", shown(path))]
    BadPath {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The path that was named is in no checkout.
    #[error("{} is not a Git checkout, and in none", shown(path))]
    NotCheckout {
        /// The path.
        path: PathBuf,
    },
    /// The repository's configuration places its files somewhere else.
    #[error(
        "the repository at {} says that its files are somewhere else, which is not followed",
        shown(root)
    )]
    Elsewhere {
        /// Where the repository was found.
        root: PathBuf,
    },
    /// Nothing of the checkout would get into a workspace.
    #[error("no file of {} can be taken: {}", shown(root), nothing(*tracked))]
    Nothing {
        /// Root of the checkout.
        root: PathBuf,
        /// Files that Git tracks, none of which is there.
        tracked: u64,
    },
    /// Tracked files that the user may not read.
    #[error(
        "{} is tracked by Git and cannot be read{}",
        shown(path),
        more(count.saturating_sub(1))
    )]
    Unreadable {
        /// The first of them, relative to the root.
        path: PathBuf,
        /// How many there are.
        count: u64,
    },
    /// The index names what Git itself would never track.
    #[error("the index of {} names {}, which Git does not track", shown(root), shown(name))]
    UnsafeName {
        /// Root of the checkout.
        root: PathBuf,
        /// The name.
        name: PathBuf,
    },
    /// More submodules, or deeper ones, than are followed.
    #[error("{} has too many submodules, or submodules nested too deep", shown(root))]
    TooManySubmodules {
        /// Root of the checkout.
        root: PathBuf,
    },
    /// The program `git` cannot be started.
    #[error("cannot start the program `git`")]
    NoGit(#[source] io::Error),
    /// `git` could not be waited for.
    #[error("lost the program `git`")]
    LostGit(#[source] io::Error),
    /// `git` took too long.
    #[error("`git {command}` was not done within {} s", deadline.as_secs())]
    TimedOut {
        /// Its subcommand.
        command: &'static str,
        /// How long it had.
        deadline: Duration,
    },
    /// `git` printed more than is read.
    #[error("`git {command}` printed more than {most} bytes")]
    TooMuch {
        /// Its subcommand.
        command: &'static str,
        /// What is read.
        most: u64,
    },
    /// Git refuses a repository that belongs to another user.
    #[error("Git refuses the repository at {}, which belongs to another user", shown(root))]
    DubiousOwner {
        /// Where the repository is.
        root: PathBuf,
    },
    /// The index cannot be read.
    #[error("the Git index of {} cannot be read: {message}", shown(root))]
    BadIndex {
        /// Root of the checkout.
        root: PathBuf,
        /// What `git` said.
        message: String,
    },
    /// The remote repository has no such reference.
    #[error("{url} has no branch, tag or commit `{reference}`")]
    NoReference {
        /// The address, without credentials.
        url: String,
        /// The reference.
        reference: String,
    },
    /// The remote repository has no commit.
    #[error("{url} has no commit that could be taken")]
    EmptyRepository {
        /// The address, without credentials.
        url: String,
    },
    /// The remote repository could not be fetched.
    #[error("cannot clone {url}: {message}")]
    NotCloned {
        /// The address, without credentials.
        url: String,
        /// What `git` said, without credentials.
        message: String,
    },
    /// `git` failed for another reason.
    #[error("`git {command}` failed in {}: {message}", shown(root))]
    Git {
        /// Its subcommand.
        command: &'static str,
        /// Where it ran.
        root: PathBuf,
        /// What it said.
        message: String,
    },
}

impl Diagnostic for ProjectError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Contradiction { .. }
            | Self::ReferenceWithoutUrl
            | Self::BadUrl { .. }
            | Self::BadReference { .. }
            | Self::NotCheckout { .. }
            | Self::Elsewhere { .. }
            | Self::UnsafeName { .. } => ErrorKind::InvalidInput,
            Self::BadPath { source, .. } if source.kind() == io::ErrorKind::NotADirectory => {
                ErrorKind::InvalidInput
            }
            Self::BadPath { source, .. } => kind_of_io(source),
            Self::Nothing { .. } | Self::NoReference { .. } | Self::EmptyRepository { .. } => {
                ErrorKind::NotFound
            }
            Self::Unreadable { .. } | Self::DubiousOwner { .. } => ErrorKind::PermissionDenied,
            Self::NoGit(_) => ErrorKind::Unsupported,
            Self::TimedOut { .. } => ErrorKind::TimedOut,
            Self::TooMuch { .. } | Self::TooManySubmodules { .. } => ErrorKind::Exhausted,
            Self::BadIndex { .. } => ErrorKind::Integrity,
            Self::NotCloned { .. } => ErrorKind::Unreachable,
            Self::LostGit(_) | Self::Git { .. } => ErrorKind::Host,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Contradiction { .. } => "give only one of them".to_owned(),
            Self::ReferenceWithoutUrl => "add --repo-url, or leave --repo-ref out".to_owned(),
            Self::BadUrl { .. } => {
                "give an https, http, ssh, git or file URL, host:path, or the path of a repository".to_owned()
            }
            Self::BadReference { .. } => "give a branch, a tag or a commit".to_owned(),
            Self::BadPath { .. } | Self::NotCheckout { .. } => {
                "name a directory of a Git checkout with --project-path; a directory that is none is taken \
                 whole by seed_path (--seed-path)"
                    .to_owned()
            }
            Self::Nothing { .. } => format!("track files with `git add`, or {OTHERWISE}"),
            Self::Unreadable { .. } => format!("make it readable for the user who runs pyro, or {OTHERWISE}"),
            Self::NoGit(_) => "install Git on this host, or give a directory or an archive as seed_path \
                               (--seed-path), or start with --no-project-source"
                .to_owned(),
            Self::DubiousOwner { root } => format!(
                "if you trust it, run `git config --global --add safe.directory {}`; else {OTHERWISE}",
                quoted(root)
            ),
            Self::BadIndex { .. } => format!("repair it (`git status` says more), or {OTHERWISE}"),
            Self::NoReference { .. } => {
                "see what there is with `git ls-remote`, and give that as --repo-ref".to_owned()
            }
            Self::NotCloned { .. } => {
                "see whether `git ls-remote` reaches it without asking anything, or clone it yourself and use \
                 --project-path"
                    .to_owned()
            }
            Self::TimedOut { command: "fetch", .. } | Self::EmptyRepository { .. } => {
                "clone it yourself and use --project-path, or start with --no-project-source".to_owned()
            }
            Self::TimedOut { .. }
            | Self::Elsewhere { .. }
            | Self::UnsafeName { .. }
            | Self::TooManySubmodules { .. }
            | Self::TooMuch { .. }
            | Self::Git { .. } => OTHERWISE.to_owned(),
            Self::LostGit(_) => return None,
        })
    }
}

/// The ways around a checkout that cannot be taken.
const OTHERWISE: &str = "take a clean clone with --repo-url, another checkout with --project-path, a directory whole \
                         with seed_path (--seed-path), or nothing with --no-project-source";

fn nothing(tracked: u64) -> String {
    match tracked {
        0 => "Git tracks none".to_owned(),
        tracked => format!("Git tracks {tracked}, and none of them is there"),
    }
}

fn more(others: u64) -> String {
    if others == 0 { String::new() } else { format!(", nor can {others} more") }
}

/// A path for a person: whatever is in it, it stays on one line.
pub(super) fn shown(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}

/// A path as a word of a shell's.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}
