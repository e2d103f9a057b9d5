//! Why an operation of the SDK failed.

use crate::project::ProjectError;
use crate::store::StoreError;
use crate::vm::VmId;
use crate::workspace::{SecretError, WorkspaceError};
use pyro_images::ImagesError;
use pyro_protocol::error::{Diagnostic, ErrorKind};
use pyro_protocol::limits::MAX_ARGUMENT_BYTES;
use pyro_runtime::fs::FsError;
use pyro_runtime::paths::PathsError;
use pyro_runtime::{BundleError, DebianError, FirecrackerError};
use pyro_vmm::VmmError;
use std::time::Duration;

/// Every failure of the SDK.
#[derive(Debug, thiserror::Error)]
pub enum PyroError {
    /// The directories cannot be resolved.
    #[error(transparent)]
    Paths(#[from] PathsError),
    /// The runtime bundle is missing or damaged and could not be repaired.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// There is no runtime bundle.
    #[error("the runtime bundle is not installed")]
    NoRuntime,
    /// The package source is misconfigured.
    #[error(transparent)]
    Source(#[from] DebianError),
    /// An environment is unknown, missing, or could not be built.
    #[error(transparent)]
    Environment(#[from] ImagesError),
    /// A machine could not be started, reached or ended.
    #[error(transparent)]
    Vmm(#[from] VmmError),
    /// No guest can run, and running on the host was not allowed.
    #[error("no guest can run here, and nothing was run")]
    FailedClosed(#[source] Box<PyroError>),
    /// The machine's time to live passed before its command was done.
    #[error("the VM `{id}` was removed after its time to live of {} s, before its command was done", ttl.as_secs())]
    Expired {
        /// The machine.
        id: VmId,
        /// Its time to live.
        ttl: Duration,
    },
    /// The caller asked pyro to end.
    #[error("cancelled")]
    Cancelled,
    /// The command's words are too long together.
    #[error("the command has {bytes} bytes; at most {MAX_ARGUMENT_BYTES} are passed to a guest")]
    CommandTooLong {
        /// Their bytes, with an end for each.
        bytes: usize,
    },
    /// There was nothing to run.
    #[error("there is no command to run")]
    NoCommand,
    /// A duration is outside its range.
    #[error("{what} must be between 1 and {max}, not {given}")]
    OutOfRange {
        /// Name of the parameter.
        what: &'static str,
        /// Largest value, in seconds.
        max: u64,
        /// The value given.
        given: u64,
    },
    /// `PYRO_TEMPLATES` has a value without a meaning.
    #[error("PYRO_TEMPLATES is `{given}`; it can be auto, manual or off")]
    TemplatePolicy {
        /// Its value.
        given: String,
    },
    /// An engine that there is not.
    #[error("there is no engine `{given}`; it can be auto, firecracker, qemu-kvm or qemu-emulation")]
    UnknownEngine {
        /// Its name.
        given: String,
    },
    /// The chosen engine needs KVM, and it cannot be used.
    #[error("the engine {engine} needs /dev/kvm, which cannot be used: {why}")]
    NoKvm {
        /// The engine.
        engine: &'static str,
        /// What the host says.
        why: String,
        /// How this user gets access, where that is all that is missing.
        way_out: Option<String>,
    },
    /// The chosen engine is Firecracker, of which there is none that can be used.
    #[error(transparent)]
    Firecracker(#[from] FirecrackerError),
    /// A network policy that there is not.
    #[error("there is no network policy `{given}`")]
    UnknownNetworkPolicy {
        /// Its name, shortened.
        given: String,
    },
    /// Hosts are allowed where there is no network.
    #[error("hosts are allowed by name, and the network policy is `off`")]
    AllowHostWithoutNetwork,
    /// Commands run on the host, where nobody enforces what they reach.
    #[error(
        "what commands may reach cannot be limited, nor their services be published, where they run on the host"
    )]
    NetworkNeedsGuest,
    /// The host's proxy cannot be used for guests.
    #[error("guests cannot be connected through the host's proxy")]
    Proxy(#[source] pyro_net::ProxyError),
    /// A guest with a network did not reach the mirror that packages come from.
    #[error("a guest with a network did not reach {host}:{port}: {why}")]
    NetworkNotProven {
        /// The mirror's host.
        host: String,
        /// Its port.
        port: u16,
        /// What the guest, or its network, said.
        why: String,
    },
    /// A step of the daily loop did something else than it should.
    #[error("{step} could not be proven: a command ended with {exit_code} and printed {stdout:?}")]
    NotProven {
        /// The step.
        step: &'static str,
        /// The exit code of its command.
        exit_code: u8,
        /// What that printed, shortened.
        stdout: String,
    },
    /// There is no machine of this id in this process.
    #[error("there is no VM `{id}`")]
    UnknownVm {
        /// The id.
        id: VmId,
    },
    /// The operation is not legal in the machine's state.
    #[error("the VM `{id}` is {state}; {operation} needs it to be {needed}")]
    WrongVmState {
        /// The machine.
        id: VmId,
        /// Its state.
        state: &'static str,
        /// What was asked.
        operation: &'static str,
        /// The state that it needs.
        needed: &'static str,
    },
    /// A file of a machine or workspace could not be made, read or removed.
    #[error(transparent)]
    Files(#[from] FsError),
    /// An operation on a workspace failed.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// The project source cannot be used.
    #[error(transparent)]
    Project(#[from] ProjectError),
    /// The store of workspaces could not be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PyroError {
    /// Output worth showing besides the error: the end of a console or of a build's log.
    pub fn log(&self) -> Option<&str> {
        match self {
            Self::Environment(source) => source.log(),
            Self::Vmm(source) => source.console(),
            Self::FailedClosed(source) => source.log(),
            Self::Workspace(
                WorkspaceError::StartFailed { log, .. } | WorkspaceError::Redacted { log, .. },
            ) => log.as_deref(),
            Self::Workspace(WorkspaceError::ServiceFailed { log, .. }) => {
                Some(log.as_str()).filter(|log| !log.is_empty())
            }
            _ => None,
        }
    }

    /// The last lines of [`log`](Self::log), as many as are worth showing.
    pub fn end_of_log(&self) -> Option<String> {
        const LINES: usize = 20;
        let log = self.log()?.trim_end();
        let lines: Vec<&str> = log.lines().collect();
        (!log.is_empty()).then(|| lines[lines.len().saturating_sub(LINES)..].join("\n"))
    }

    fn inner(&self) -> Option<&dyn Diagnostic> {
        Some(match self {
            Self::Paths(source) => source,
            Self::Bundle(source) => source,
            Self::Source(source) => source,
            Self::Environment(source) => source,
            Self::Vmm(source) => source,
            Self::FailedClosed(source) => source.as_ref(),
            Self::Files(source) => source,
            Self::Firecracker(source) => source,
            Self::Workspace(source) => source,
            Self::Project(source) => source,
            Self::Store(source) => source,
            Self::NoRuntime
            | Self::Expired { .. }
            | Self::Cancelled
            | Self::CommandTooLong { .. }
            | Self::NoCommand
            | Self::OutOfRange { .. }
            | Self::TemplatePolicy { .. }
            | Self::UnknownEngine { .. }
            | Self::NoKvm { .. }
            | Self::NetworkNotProven { .. }
            | Self::UnknownNetworkPolicy { .. }
            | Self::AllowHostWithoutNetwork
            | Self::Proxy(_)
            | Self::NetworkNeedsGuest
            | Self::NotProven { .. }
            | Self::UnknownVm { .. }
            | Self::WrongVmState { .. } => {
                return None;
            }
        })
    }
}

impl From<SecretError> for PyroError {
    fn from(error: SecretError) -> Self {
        WorkspaceError::from(error).into()
    }
}

impl Diagnostic for PyroError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoCommand
            | Self::CommandTooLong { .. }
            | Self::OutOfRange { .. }
            | Self::TemplatePolicy { .. }
            | Self::UnknownEngine { .. }
            | Self::UnknownNetworkPolicy { .. }
            | Self::AllowHostWithoutNetwork
            | Self::Proxy(_) => ErrorKind::InvalidInput,
            Self::UnknownVm { .. } | Self::NoRuntime => ErrorKind::NotFound,
            Self::WrongVmState { .. } => ErrorKind::WrongState,
            Self::Expired { .. } => ErrorKind::TimedOut,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::NetworkNeedsGuest | Self::NoKvm { .. } => ErrorKind::Unsupported,
            Self::NetworkNotProven { .. } => ErrorKind::Unreachable,
            Self::NotProven { .. } => ErrorKind::GuestMisbehaved,
            other => other.inner().map_or(ErrorKind::Host, Diagnostic::kind),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoCommand => Some("name a program and its arguments, such as `git --version`".to_owned()),
            Self::Expired { .. } => Some("give it a longer --ttl-seconds".to_owned()),
            Self::CommandTooLong { .. } => Some("have the guest read long input from a file".to_owned()),
            Self::OutOfRange { .. } => Some("choose a value in that range".to_owned()),
            Self::TemplatePolicy { .. } | Self::UnknownEngine { .. } => {
                Some("unset it, or set it to one of those".to_owned())
            }
            Self::NoKvm { way_out, .. } => {
                let way_out =
                    way_out.as_deref().unwrap_or("this host has no KVM for you").trim_end_matches('.');
                Some(format!(
                    "{way_out}; without --engine and PYRO_ENGINE an engine is found that works here"
                ))
            }
            Self::UnknownNetworkPolicy { .. } => {
                Some("use one of: off, egress, egress+published-ports".to_owned())
            }
            Self::NetworkNeedsGuest => {
                Some("find out with `pyro doctor` why no guest can run here".to_owned())
            }
            Self::Proxy(_) => {
                Some("name a proxy that is spoken to in plain HTTP, or unset the variable".to_owned())
            }
            Self::AllowHostWithoutNetwork => Some("add --network-policy egress".to_owned()),
            Self::NetworkNotProven { .. } => Some(
                "see whether this host reaches it, and whether it is in a network that guests are refused"
                    .to_owned(),
            ),
            Self::NotProven { .. } => {
                Some("repair the environment with `pyro env pull`, and try again".to_owned())
            }
            Self::NoRuntime => Some("fetch it with `pyro runtime fetch`".to_owned()),
            Self::UnknownVm { .. } => {
                Some("a VM lives in the process that created it, until it is deleted".to_owned())
            }
            other => other.inner().and_then(Diagnostic::hint),
        }
    }
}
