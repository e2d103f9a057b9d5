//! Which kind of failure each is, and what to do about it.

use super::WorkspaceError;
use pyro_protocol::error::{Diagnostic, ErrorKind};

impl Diagnostic for WorkspaceError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown { .. }
            | Self::Expired { .. }
            | Self::UnknownSnapshot { .. }
            | Self::UnknownShell { .. }
            | Self::UnknownService { .. }
            | Self::NoProgram => ErrorKind::NotFound,
            Self::SnapshotExists { .. } | Self::ServiceExists { .. } | Self::PortInUse { .. } => {
                ErrorKind::AlreadyExists
            }
            Self::PortForbidden { .. } => ErrorKind::PermissionDenied,
            Self::ServiceFailed { reason: Some(_), .. } => ErrorKind::TimedOut,
            Self::WrongState { .. }
            | Self::ShellEnded { .. }
            | Self::ServiceFailed { .. }
            | Self::Busy { .. }
            | Self::Lingering { .. }
            | Self::Interrupted { .. }
            | Self::PublishingNotAllowed { .. }
            | Self::EnvironmentChanged { .. } => ErrorKind::WrongState,
            Self::NeedsGuest { .. } => ErrorKind::Unsupported,
            Self::BaselineStays { .. }
            | Self::MalformedSnapshotName { .. }
            | Self::MalformedName { .. }
            | Self::MalformedLabel { .. }
            | Self::TooManyLabels { .. }
            | Self::PointlessUpdate { .. }
            | Self::RefusedPath { .. }
            | Self::NotText { .. }
            | Self::MalformedReadiness { .. }
            | Self::CursorBeyondEnd { .. }
            | Self::MalformedServiceName { .. }
            | Self::MalformedPublish { .. }
            | Self::PublishedTwice { .. }
            | Self::TooManyPorts { .. }
            | Self::TooLarge { .. }
            | Self::OutOfRange { .. } => ErrorKind::InvalidInput,
            Self::HalfImported { source, .. } => source.kind(),
            Self::HostFull { .. } | Self::ShellDeaf { .. } | Self::TooMany { .. } => ErrorKind::Exhausted,
            Self::Patch(source) => source.kind(),
            Self::Apply(source) => source.kind(),
            Self::Tree(source) => source.kind(),
            Self::Supervisor { .. } => ErrorKind::Host,
            Self::Disk(source) => source.kind(),
            Self::Secret(source) => source.kind(),
            Self::StartFailed { kind, .. } | Self::Redacted { kind, .. } => *kind,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unknown { near, .. } if near.is_empty() => {
                "list the workspaces with `pyro workspace list`".to_owned()
            }
            Self::Unknown { near, .. } => format!("did you mean {}?", near.join(" or ")),
            Self::Expired { .. } => "create a new one, with a longer --ttl-seconds".to_owned(),
            Self::WrongState { state: "creating", .. } => "try again in a moment".to_owned(),
            Self::WrongState { id, needed: "running", .. } => {
                format!(
                    "start it with `pyro workspace start {id}`, or discard its changes with `pyro workspace reset {id}`"
                )
            }
            Self::WrongState { id, needed: "stopped", .. } => {
                format!("stop it with `pyro workspace stop {id}`")
            }
            Self::WrongState { .. } | Self::Busy { .. } => "try again in a moment".to_owned(),
            Self::Lingering { .. } => {
                "its disk is in use for as long as that takes: a frozen control group or a disk that does not answer may hold it; \
                 try again once that has passed"
                    .to_owned()
            }
            Self::Interrupted { id } => format!("look at it with `pyro workspace status {id}`"),
            Self::NeedsGuest { .. } => {
                "create a workspace where `pyro doctor` says that guests run".to_owned()
            }
            Self::EnvironmentChanged { .. } => {
                "create a new workspace; what is in this one can only be deleted".to_owned()
            }
            Self::UnknownShell { id, existing, .. } if existing.is_empty() => {
                format!("it has none; open one with `pyro workspace shell open {id}`")
            }
            Self::UnknownService { id, existing, .. } if existing.is_empty() => {
                format!("it has none; start one with `pyro workspace service start {id} NAME -- CMD`")
            }
            Self::ServiceExists { id, name } => {
                format!("choose another name, or stop it with `pyro workspace service stop {id} {name}`")
            }
            Self::ServiceFailed { id, name, .. } => {
                format!("its whole log: `pyro workspace service logs {id} {name} --all`")
            }
            Self::MalformedReadiness { .. } | Self::MalformedPublish { .. } => {
                "give it in that form".to_owned()
            }
            Self::PublishedTwice { .. } | Self::TooManyPorts { .. } => "leave some out".to_owned(),
            Self::PortInUse { .. } => {
                "choose another one, or have one chosen: give the guest's port alone".to_owned()
            }
            Self::PortForbidden { .. } => "choose one from 1024 on".to_owned(),
            Self::PublishingNotAllowed { .. } => {
                "create a workspace with --network-policy egress+published-ports".to_owned()
            }
            Self::CursorBeyondEnd { .. } => "go on at the `next_cursor` of the read before".to_owned(),
            Self::ShellDeaf { id, shell_id } => {
                format!("interrupt what runs in it with `pyro workspace shell signal {id} {shell_id}`")
            }
            Self::TooMany { what: "shells", .. } => "close one of them".to_owned(),
            Self::TooMany { .. } => "stop one of them".to_owned(),
            Self::MalformedServiceName { .. } => "choose such a name".to_owned(),
            Self::ShellEnded { id, shell_id } => {
                format!(
                    "read its last words with `pyro workspace shell read {id} {shell_id}`, and open another one"
                )
            }
            Self::UnknownShell { existing, .. }
            | Self::UnknownService { existing, .. }
            | Self::UnknownSnapshot { existing, .. } => format!("choose one of: {}", existing.join(", ")),
            Self::SnapshotExists { id, name } => {
                format!("choose another name, or delete it with `pyro workspace snapshot delete {id} {name}`")
            }
            Self::BaselineStays { .. } => "name a snapshot of your own".to_owned(),
            Self::RefusedPath { .. } => {
                "give a path inside /workspace, such as `src/main.py` or `/workspace/src/main.py`".to_owned()
            }
            Self::NotText { .. } => {
                "export it with `pyro workspace export`, or look at it with a command".to_owned()
            }
            Self::HalfImported { .. } => {
                "go back to a clean state with `pyro workspace reset`, and import again".to_owned()
            }
            Self::Patch(source) => return source.hint(),
            Self::Apply(source) => return source.hint(),
            Self::Tree(source) => return source.hint(),
            Self::HostFull { id, .. } => {
                format!("free some space on the host, then go back with `pyro workspace reset {id}`")
            }
            Self::NoProgram => "set PYRO_PROGRAM to its path".to_owned(),
            Self::Disk(source) => return source.hint(),
            Self::Secret(source) => return source.hint(),
            Self::StartFailed { hint, .. } | Self::Redacted { hint, .. } => return hint.clone(),
            Self::TooLarge { .. } => "import larger files with `pyro workspace sync push`".to_owned(),
            Self::MalformedName { .. } | Self::MalformedSnapshotName { .. } | Self::MalformedLabel { .. } => {
                "choose another one".to_owned()
            }
            Self::TooManyLabels { .. } => "clear some first".to_owned(),
            Self::OutOfRange { .. } => "choose a value in that range".to_owned(),
            Self::PointlessUpdate { .. } => {
                "say what to set or to clear: the name, labels, or both".to_owned()
            }
            Self::Supervisor { .. } => return None,
        })
    }
}
