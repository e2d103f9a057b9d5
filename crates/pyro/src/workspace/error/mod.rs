//! Why an operation on a workspace failed.

mod diagnostic;

use super::disk::WorkspaceDiskError;
use super::names::{MAX_LABEL_KEY_CHARS, MAX_LABELS, MAX_NAME_CHARS, MAX_SNAPSHOT_NAME_CHARS, WorkspaceId};
use super::secrets::SecretError;
use super::shells::ShellId;
use pyro_patch::{ApplyError, PatchError};
use pyro_protocol::error::ErrorKind;
use pyro_tree::TreeError;
use std::path::PathBuf;

/// Every failure that is about workspaces alone.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// There is no such workspace.
    #[error("there is no workspace `{id}`")]
    Unknown {
        /// The id.
        id: WorkspaceId,
        /// Workspaces that may be meant, with their names.
        near: Vec<String>,
    },
    /// Its time to live has passed.
    #[error("the workspace `{id}` is gone: its time to live of {ttl_seconds} s has passed")]
    Expired {
        /// The id.
        id: WorkspaceId,
        /// Its time to live.
        ttl_seconds: u64,
    },
    /// The operation is not legal in the workspace's state.
    #[error("the workspace `{id}` is {state}{}; {operation} needs it to be {needed}", because(reason.as_deref()))]
    WrongState {
        /// The workspace.
        id: WorkspaceId,
        /// Its state.
        state: &'static str,
        /// Why it is in that state, where nobody asked for it.
        reason: Option<String>,
        /// What was asked.
        operation: &'static str,
        /// The state that it needs.
        needed: &'static str,
    },
    /// Another process is taking the workspace to another state.
    #[error("the workspace `{id}` is busy: another process is starting, resetting, stopping or copying it")]
    Busy {
        /// The workspace.
        id: WorkspaceId,
    },
    /// The VMM of a workspace was killed and has not ended.
    #[error("the VMM of the workspace in {} was killed and has not ended", path.display())]
    Lingering {
        /// The workspace's directory.
        path: PathBuf,
    },
    /// The workspace was reset, stopped or deleted while something was done in it.
    #[error("the workspace `{id}` was reset, stopped or deleted during the operation")]
    Interrupted {
        /// The workspace.
        id: WorkspaceId,
    },
    /// The workspace runs on the host itself, which cannot do this.
    #[error("the workspace `{id}` runs on the host, without a guest, where {operation} is not possible")]
    NeedsGuest {
        /// The workspace.
        id: WorkspaceId,
        /// What was asked.
        operation: &'static str,
    },
    /// The environment has been replaced since the workspace was created.
    #[error("the environment `{environment}` is not the one that the workspace `{id}` was created with")]
    EnvironmentChanged {
        /// The workspace.
        id: WorkspaceId,
        /// The environment.
        environment: String,
    },
    /// There is no such snapshot.
    #[error("the workspace `{id}` has no snapshot `{name}`")]
    UnknownSnapshot {
        /// The workspace.
        id: WorkspaceId,
        /// The name.
        name: String,
        /// The snapshots that there are.
        existing: Vec<String>,
    },
    /// There is no such shell.
    #[error("the workspace `{id}` has no shell `{shell_id}`")]
    UnknownShell {
        /// The workspace.
        id: WorkspaceId,
        /// The shell.
        shell_id: ShellId,
        /// The shells that there are.
        existing: Vec<String>,
    },
    /// The shell has ended.
    #[error("the shell `{shell_id}` of the workspace `{id}` has ended")]
    ShellEnded {
        /// The workspace.
        id: WorkspaceId,
        /// The shell.
        shell_id: ShellId,
    },
    /// The cursor is beyond what the shell has printed.
    #[error("the cursor {cursor} is beyond the end of what the shell `{shell_id}` has printed")]
    CursorBeyondEnd {
        /// The shell.
        shell_id: ShellId,
        /// The cursor.
        cursor: u64,
    },
    /// Nothing in the shell reads what is typed.
    #[error("nothing in the shell `{shell_id}` reads what is typed; a part of it may have been taken")]
    ShellDeaf {
        /// The workspace.
        id: WorkspaceId,
        /// The shell.
        shell_id: ShellId,
    },
    /// There are too many shells or services.
    #[error("the workspace `{id}` has {max} {what} already")]
    TooMany {
        /// The workspace.
        id: WorkspaceId,
        /// Of what.
        what: &'static str,
        /// How many there can be.
        max: usize,
    },
    /// There is no such service.
    #[error("the workspace `{id}` has no service `{name}`")]
    UnknownService {
        /// The workspace.
        id: WorkspaceId,
        /// The name.
        name: String,
        /// The services that there are.
        existing: Vec<String>,
    },
    /// There is a service of that name that has not ended.
    #[error("the workspace `{id}` has a service `{name}` already")]
    ServiceExists {
        /// The workspace.
        id: WorkspaceId,
        /// The name.
        name: String,
    },
    /// A service has ended before it was ready, or was not ready in time.
    #[error("the service `{name}` did not start: {}", failure(*exit_code, reason.as_deref()))]
    ServiceFailed {
        /// The workspace.
        id: WorkspaceId,
        /// The service.
        name: String,
        /// Its exit status.
        exit_code: Option<u8>,
        /// Why, where it is not its exit status.
        reason: Option<String>,
        /// The end of what it printed.
        log: String,
    },
    /// The name of a service is malformed.
    #[error("`{given}` cannot be the name of a service: up to 64 letters, digits, `.`, `_` and `-`")]
    MalformedServiceName {
        /// The name, shortened.
        given: String,
    },
    /// What is to make a service ready is malformed.
    #[error("`{given}` cannot make a service ready: it has to be {expected}")]
    MalformedReadiness {
        /// What was given, shortened.
        given: String,
        /// What it should look like.
        expected: &'static str,
    },
    /// What is to be published is malformed.
    #[error("`{given}` cannot be published: it has to be GUEST or HOST:GUEST, ports from 1 to 65535")]
    MalformedPublish {
        /// What was given, shortened.
        given: String,
    },
    /// A port is to be published twice.
    #[error("the port {port} is to be published twice")]
    PublishedTwice {
        /// The port.
        port: u16,
    },
    /// Too many ports of one service are to be published.
    #[error("a service has at most {max} published ports")]
    TooManyPorts {
        /// How many there can be.
        max: usize,
    },
    /// Somebody else listens at the port.
    #[error("the port {port} of 127.0.0.1 is in use")]
    PortInUse {
        /// The port on the host.
        port: u16,
    },
    /// This user may not listen at the port.
    #[error("this user may not listen at the port {port} of 127.0.0.1")]
    PortForbidden {
        /// The port on the host.
        port: u16,
    },
    /// The workspace's policy allows no published ports.
    #[error("services of the workspace `{id}` cannot be published: its network policy is {policy}")]
    PublishingNotAllowed {
        /// The workspace.
        id: WorkspaceId,
        /// Its policy.
        policy: &'static str,
    },
    /// There is such a snapshot already.
    #[error("the workspace `{id}` has a snapshot `{name}` already")]
    SnapshotExists {
        /// The workspace.
        id: WorkspaceId,
        /// The name.
        name: String,
    },
    /// The snapshot from the creation stays.
    #[error("the snapshot `baseline` cannot be {action}: it is what diff and reset go back to")]
    BaselineStays {
        /// What was to be done with it.
        action: &'static str,
    },
    /// The name of a snapshot is malformed.
    #[error(
        "`{given}` cannot be the name of a snapshot: up to {MAX_SNAPSHOT_NAME_CHARS} letters, digits, `.`, `_` and `-`, beginning with a letter or digit"
    )]
    MalformedSnapshotName {
        /// The name, shortened.
        given: String,
    },
    /// The name of a workspace is malformed.
    #[error("`{given}` cannot be the name of a workspace: one line of at most {MAX_NAME_CHARS} characters")]
    MalformedName {
        /// The name, shortened.
        given: String,
    },
    /// A label is malformed.
    #[error(
        "the label `{key}` is malformed: the key is up to {MAX_LABEL_KEY_CHARS} letters, digits, `.`, `_`, `-` and `/`, the value one line of at most {MAX_NAME_CHARS} characters"
    )]
    MalformedLabel {
        /// Its key, shortened.
        key: String,
    },
    /// There are too many labels.
    #[error("a workspace has at most {MAX_LABELS} labels, not {count}")]
    TooManyLabels {
        /// How many there would be.
        count: usize,
    },
    /// An update that says nothing, or contradicts itself.
    #[error("the update {why}")]
    PointlessUpdate {
        /// What is wrong with it.
        why: &'static str,
    },
    /// A path is not inside the workspace.
    #[error("the path `{path}` is refused: {why}")]
    RefusedPath {
        /// The path, shortened.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A file that is to be read as text is none.
    #[error("`{path}` is not a UTF-8 text")]
    NotText {
        /// The file.
        path: String,
    },
    /// A text is over its limit.
    #[error("{what} has {bytes} bytes; at most {max} are accepted")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Its size, or a lower bound of it.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// A number is outside its range.
    #[error("{what} must be between 1 and {max}, not {given}")]
    OutOfRange {
        /// Name of the parameter.
        what: &'static str,
        /// Largest value.
        max: u64,
        /// The value given.
        given: u64,
    },
    /// Something failed in the middle of an import.
    #[error("the import stopped midway: part of `{source_path}` may be in the workspace")]
    HalfImported {
        /// What was imported.
        source_path: String,
        /// Why.
        #[source]
        source: Box<crate::PyroError>,
    },
    /// The host has no room for what the guest writes.
    #[error("the host's disk is full, and the guest of the workspace `{id}` cannot write to its own")]
    HostFull {
        /// The workspace.
        id: WorkspaceId,
        /// What the guest said.
        #[source]
        source: Box<crate::PyroError>,
    },
    /// A patch is malformed, or asks for what patches cannot.
    #[error("the patch was not applied")]
    Patch(#[from] PatchError),
    /// A patch does not fit a file.
    #[error("the patch was not applied")]
    Apply(#[from] ApplyError),
    /// Something about the disk of a stopped workspace.
    #[error(transparent)]
    Disk(#[from] WorkspaceDiskError),
    /// A secret was refused, or is not there.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// An error whose words showed the value of a secret.
    #[error("{message}")]
    Redacted {
        /// What kind of failure it was.
        kind: ErrorKind,
        /// The whole cause, without the value.
        message: String,
        /// What the user can do about it.
        hint: Option<String>,
        /// Output that belongs to it.
        log: Option<String>,
    },
    /// An archive or tree was refused.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// There is no `pyro` program to be the supervisor.
    #[error("the `pyro` program was not found, which has to supervise the workspace's guest")]
    NoProgram,
    /// The supervisor could not be started or talked to.
    #[error("the supervisor of the workspace cannot be {action}")]
    Supervisor {
        /// What was tried.
        action: &'static str,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The supervisor could not bring up the guest.
    #[error("{message}")]
    StartFailed {
        /// What kind of failure it was.
        kind: ErrorKind,
        /// The whole cause.
        message: String,
        /// What the user can do about it.
        hint: Option<String>,
        /// The end of the console.
        log: Option<String>,
    },
}

fn failure(exit_code: Option<u8>, reason: Option<&str>) -> String {
    match (reason, exit_code) {
        (Some(reason), _) => reason.to_owned(),
        (None, Some(exit_code)) => format!("it ended with status {exit_code} before it was ready"),
        (None, None) => "it ended before it was ready".to_owned(),
    }
}

fn because(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(" ({reason})"))
}
