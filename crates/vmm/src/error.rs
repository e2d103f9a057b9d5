//! Why a machine could not be started, reached or ended.

use pyro_protocol::error::{Diagnostic, ErrorKind, kind_of_io};
use pyro_protocol::frame::FrameError;
use pyro_protocol::v1::{Failure, FailureKind};
use std::path::PathBuf;
use std::time::Duration;

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
pub enum VmmError {
    /// A number of a machine's specification is outside its range.
    #[error("{what} must be between {min} and {max}, not {given}")]
    OutOfRange {
        /// Name of the parameter.
        what: &'static str,
        /// Smallest value accepted.
        min: u32,
        /// Largest value accepted.
        max: u32,
        /// The value that was given.
        given: u32,
    },
    /// The VMM's process could not be started.
    #[error("cannot start {program}")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// An operating-system call on the host failed.
    #[error("cannot {action}")]
    Host {
        /// What was tried, as "open /dev/kvm".
        action: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    Files(#[from] pyro_runtime::fs::FsError),
    /// The VMM ended before the guest answered.
    #[error("the virtual machine ended before its agent answered ({status})")]
    DiedEarly {
        /// How the VMM's process ended.
        status: String,
        /// The last lines of the guest's console and the VMM's own messages.
        console: String,
    },
    /// The guest did not answer in time after its start.
    #[error("the guest did not come up within {} s", waited.as_secs())]
    BootTimeout {
        /// How long was waited.
        waited: Duration,
        /// The last lines of the guest's console and the VMM's own messages.
        console: String,
    },
    /// The guest ended in the middle of a call.
    #[error("the guest died during {call}")]
    DiedMidway {
        /// The call, as "exec".
        call: &'static str,
        /// The last lines of the guest's console and the VMM's own messages.
        console: String,
    },
    /// The channel to the guest ended in the middle of a call.
    #[error("the guest went away during {call}")]
    ChannelClosed {
        /// The call, as "exec".
        call: &'static str,
    },
    /// The guest did not answer a call in time.
    #[error("the guest did not answer {call} within {} s", waited.as_secs_f32())]
    CallTimeout {
        /// The call, as "exec".
        call: &'static str,
        /// How long was waited.
        waited: Duration,
    },
    /// The guest sent something that the protocol does not allow.
    #[error("the guest broke the protocol during {call}: {what}")]
    Misbehaved {
        /// The call, as "exec".
        call: &'static str,
        /// What it did.
        what: &'static str,
    },
    /// A frame of the channel could not be read or written.
    #[error("the channel to the guest failed during {call}")]
    Channel {
        /// The call, as "exec".
        call: &'static str,
        /// What is wrong with the frame or the stream.
        #[source]
        source: FrameError,
    },
    /// The agent refused or failed a call.
    #[error("{call} failed in the guest: {message}")]
    Refused {
        /// The call, as "exec".
        call: &'static str,
        /// The agent's kind.
        kind: FailureKind,
        /// The agent's words, bounded.
        message: String,
    },
    /// A guest that was restored from a snapshot does not answer on its virtio socket.
    #[error("the restored guest's virtio socket did not answer within {} s", waited.as_secs())]
    VsockDead {
        /// How long was waited.
        waited: Duration,
    },
    /// Firecracker did not do as it was asked.
    #[error("Firecracker refused {request}: {message}")]
    Api {
        /// The request, as "PUT /snapshot/load".
        request: String,
        /// Its words.
        message: String,
    },
    /// QEMU's monitor did not do as it was asked.
    #[error("QEMU's monitor failed at {command}: {message}")]
    Monitor {
        /// The QMP command.
        command: &'static str,
        /// Its words.
        message: String,
    },
}

impl VmmError {
    /// What the guest and the VMM last said, for failures to start.
    pub fn console(&self) -> Option<&str> {
        match self {
            Self::DiedEarly { console, .. }
            | Self::BootTimeout { console, .. }
            | Self::DiedMidway { console, .. } => Some(console),
            _ => None,
        }
    }

    /// Adds what the machine last said, where the error is that it went away.
    #[must_use]
    pub fn with_console(self, machine: &dyn crate::Machine) -> Self {
        match self {
            Self::ChannelClosed { call } => Self::DiedMidway { call, console: machine.console_tail() },
            other => other,
        }
    }

    pub(crate) fn host(action: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::Host { action: action.into(), source: source.into() }
    }

    pub(crate) fn refused(call: &'static str, failure: &Failure) -> Self {
        let kind = failure.kind();
        let mut message: String = failure.message.chars().filter(|c| !c.is_control()).collect();
        if message.len() > pyro_protocol::limits::MAX_MESSAGE_BYTES {
            let cut = message.floor_char_boundary(pyro_protocol::limits::MAX_MESSAGE_BYTES);
            message.truncate(cut);
        }
        if !failure.path.is_empty() {
            let path = String::from_utf8_lossy(&failure.path[..failure.path.len().min(256)])
                .escape_debug()
                .to_string();
            if !message.contains(&path) {
                message = format!("{message} ({path})");
            }
        }
        Self::Refused { call, kind, message }
    }
}

impl Diagnostic for VmmError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::OutOfRange { .. } => ErrorKind::InvalidInput,
            Self::Spawn { source, .. } | Self::Host { source, .. } => kind_of_io(source),
            Self::DiedEarly { .. }
            | Self::BootTimeout { .. }
            | Self::DiedMidway { .. }
            | Self::ChannelClosed { .. }
            | Self::VsockDead { .. }
            // What configures a guest was not the user's to say.
            | Self::Refused { call: "configure", .. } => ErrorKind::GuestUnavailable,
            Self::CallTimeout { .. } => ErrorKind::TimedOut,
            Self::Misbehaved { .. } | Self::Channel { .. } => ErrorKind::GuestMisbehaved,
            Self::Refused { kind, .. } => match kind {
                FailureKind::Invalid | FailureKind::UnsafePath => ErrorKind::InvalidInput,
                FailureKind::Unsupported => ErrorKind::Unsupported,
                FailureKind::NotFound => ErrorKind::NotFound,
                FailureKind::AlreadyExists => ErrorKind::AlreadyExists,
                FailureKind::PermissionDenied | FailureKind::NotExecutable => ErrorKind::PermissionDenied,
                FailureKind::WrongState => ErrorKind::WrongState,
                FailureKind::Exhausted => ErrorKind::Exhausted,
                FailureKind::Io | FailureKind::Unspecified => ErrorKind::GuestMisbehaved,
            },
            Self::Files(source) => source.kind(),
            Self::Monitor { .. } | Self::Api { .. } => ErrorKind::Host,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Files(source) => return source.hint(),
            Self::DiedEarly { .. } | Self::BootTimeout { .. } => {
                "`pyro runtime verify` checks the boot files, `pyro doctor` the host; many more virtual CPUs than the \
                 host has make a guest slow to come up, and too little memory keeps it from coming up"
            }
            Self::ChannelClosed { .. } | Self::DiedMidway { .. } => {
                "the guest crashed or ran out of memory: try again, with more --mem-mib if the command needs it"
            }
            Self::CallTimeout { .. } => {
                "the guest is stuck or overloaded: give it more time, or start a new one"
            }
            Self::Misbehaved { .. } | Self::Channel { .. } => {
                "do not trust what this guest produced; start a new one"
            }
            Self::Refused { call: "configure", .. } => {
                "remove the bundle with `pyro runtime remove`, so that the next command makes its files again"
            }
            Self::Refused { kind: FailureKind::Exhausted, .. } => {
                "give the guest more --mem-mib, or free its disk"
            }
            Self::Refused { kind: FailureKind::UnsafePath, .. } => {
                "name what lies in the directory itself: links in a guest are never followed from outside"
            }
            Self::Refused { kind: FailureKind::NotFound, .. } => "look at what is there, and name that",
            Self::Refused { kind: FailureKind::AlreadyExists, .. } => {
                "remove what is in the way, or name another path"
            }
            Self::Spawn { .. } => {
                "`pyro runtime verify` checks the bundle's programs, and `pyro runtime fetch` repairs them; another Firecracker \
                 is named by PYRO_FIRECRACKER_BIN"
            }
            Self::Host { source, .. } if kind_of_io(source) == ErrorKind::Exhausted => {
                "free some disk space or memory on the host and try again"
            }
            Self::OutOfRange { .. } => "choose a value in that range",
            Self::VsockDead { .. } => {
                "the next start boots the guest's kernel instead; `pyro prepare --force` makes a new template"
            }
            Self::Api { .. } => {
                "where another Firecracker is at hand, name it by PYRO_FIRECRACKER_BIN; `--engine qemu-kvm` does without one"
            }
            Self::Host { .. } | Self::Refused { .. } | Self::Monitor { .. } => {
                return None;
            }
        };
        Some(hint.to_owned())
    }
}
