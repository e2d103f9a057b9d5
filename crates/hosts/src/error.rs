//! What can go wrong between pyro and a chat host.

use crate::Host;
use pyro_protocol::error::{Diagnostic, ErrorKind, kind_of_io};
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// What is told of a host's own words at most.
const SAID_LINES: usize = 6;

/// A failure of an operation on a chat host.
#[derive(Debug, Error)]
pub enum HostError {
    /// The host's program is not there.
    #[error("{} is not installed: there is no `{}` in PATH", host.title(), host.program())]
    NotInstalled {
        /// The host.
        host: Host,
    },
    /// The host's program could not be started, or was lost sight of.
    #[error("cannot run `{command}`")]
    Start {
        /// The command.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// The host's program took too long.
    #[error("`{command}` did not end within {seconds} s")]
    TimedOut {
        /// The command.
        command: String,
        /// Its deadline.
        seconds: u64,
    },
    /// The host's program failed.
    #[error("`{command}` failed ({status}){}", said(output))]
    Failed {
        /// The command.
        command: String,
        /// How it ended.
        status: String,
        /// What it said.
        output: String,
    },
    /// The host's program printed what is not understood.
    #[error("cannot understand what `{command}` printed: {reason}")]
    NotUnderstood {
        /// The command.
        command: String,
        /// In what way.
        reason: String,
    },
    /// The host's program reported success, and its configuration says otherwise.
    #[error("{} reported success, but {path} does not have the entry", host.title(), path = path.display())]
    NotTaken {
        /// The host.
        host: Host,
        /// Its configuration file.
        path: PathBuf,
    },
    /// The entry that was there is gone, the new one was not taken, and putting the old one back failed.
    #[error("the older entry was removed, and could not be put back after the new one was not taken")]
    NotRestored {
        /// Where the configuration as it was is.
        backup: Option<PathBuf>,
        /// Why the new one was not taken.
        source: Box<HostError>,
    },
    /// The entry in force is in a file of the project's.
    #[error("the entry in force is one of this project's, in {}", path.display())]
    OfProject {
        /// That file.
        path: PathBuf,
    },
    /// A file is not what it should be.
    #[error("{} is malformed: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// In what way.
        reason: String,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is larger than any configuration.
    #[error("{} has more than {max} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What is read at most.
        max: u64,
    },
    /// A word of the command is not UTF-8.
    #[error("`{word}` is not UTF-8, as everything in a configuration file has to be")]
    NotText {
        /// The word, with marks where it is none.
        word: String,
    },
    /// The program to register is gone.
    #[error("this pyro was removed since it was started: there is no {}", path.display())]
    ProgramGone {
        /// Where it was.
        path: PathBuf,
    },
    /// There is nothing to register.
    #[error("the command to register is empty")]
    NoCommand,
    /// Nothing says where the user's files are.
    #[error("HOME is not set to an absolute path, so there is no telling where {} keeps its configuration", host.title())]
    NoHome {
        /// The host.
        host: Host,
    },
    /// A file that was given is not one that this host reads.
    #[error("{} is no configuration file of {}", path.display(), host.title())]
    NotItsFile {
        /// The host.
        host: Host,
        /// The file.
        path: PathBuf,
    },
    /// The current directory cannot be told.
    #[error("cannot tell the current directory")]
    NoDirectory {
        /// Why.
        source: io::Error,
    },
}

/// The first lines of what a program printed, after a colon.
fn said(output: &str) -> String {
    let lines: Vec<_> =
        output.lines().map(str::trim_end).filter(|line| !line.is_empty()).take(SAID_LINES).collect();
    if lines.is_empty() { String::new() } else { format!(": {}", lines.join("\n")) }
}

impl Diagnostic for HostError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotInstalled { .. } | Self::ProgramGone { .. } => ErrorKind::NotFound,
            Self::Start { source, .. }
            | Self::Unreadable { source, .. }
            | Self::Unwritable { source, .. }
            | Self::NoDirectory { source } => kind_of_io(source),
            Self::TimedOut { .. } => ErrorKind::TimedOut,
            Self::Failed { .. } | Self::NotUnderstood { .. } | Self::NotTaken { .. } => ErrorKind::Host,
            Self::NotRestored { source, .. } => source.kind(),
            Self::OfProject { .. } => ErrorKind::WrongState,
            Self::Malformed { .. } | Self::TooLarge { .. } => ErrorKind::Integrity,
            Self::NotText { .. } | Self::NoCommand | Self::NoHome { .. } | Self::NotItsFile { .. } => {
                ErrorKind::InvalidInput
            }
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotInstalled { host } => {
                format!("install it (`{}`), or take the entry from `pyro host print-config {host}`", host.install_command())
            }
            Self::Start { .. } | Self::TimedOut { .. } | Self::Failed { .. } | Self::NotUnderstood { .. } => {
                "run that command by hand to see what is wrong with the host; `pyro host print-config` shows the entry to \
                 add without it"
                    .to_owned()
            }
            Self::NotTaken { host, .. } => {
                format!("add the entry by hand: `pyro host print-config {host}` shows it")
            }
            Self::NotRestored { backup: Some(backup), .. } => {
                format!("the configuration as it was is in {}", backup.display())
            }
            Self::NotRestored { backup: None, .. } => "connect again once the host works".to_owned(),
            Self::OfProject { path } => {
                format!("change or remove the entry `pyro` in {}, which others may share", path.display())
            }
            Self::Malformed { path, .. } => {
                format!("mend {} by hand; nothing was changed", path.display())
            }
            Self::Unreadable { .. } | Self::Unwritable { .. } => "check the path and its permissions".to_owned(),
            Self::TooLarge { .. } => "give the path of a configuration file".to_owned(),
            Self::NotText { .. } => "use a path that is UTF-8".to_owned(),
            Self::ProgramGone { .. } => "run the pyro that is to be registered, or give --installed-package".to_owned(),
            Self::NoCommand => "give a program".to_owned(),
            Self::NoHome { .. } => "set HOME".to_owned(),
            Self::NotItsFile { host, .. } => match host {
                Host::ClaudeCode => "give the path of a file named .claude.json".to_owned(),
                Host::Codex => "give the path of a file named config.toml".to_owned(),
                Host::OpenCode => "give the path of a JSON file".to_owned(),
            },
            Self::NoDirectory { .. } => "change to a directory that exists".to_owned(),
        })
    }
}
