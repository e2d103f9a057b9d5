//! Workspaces: guests that persist across calls and processes, with their files, journal and snapshots.
//!
//! - [`create`], [`lifecycle`] (start, stop, delete), [`reset`], [`snapshots`]: from one state to another;
//! - [`exec`], [`shells`], [`services`], [`files`], [`patch`], [`sync`], [`export`]: work inside, which goes to the guest through its supervisor;
//! - [`disk`]: the disk of a stopped workspace, looked at without a guest;
//! - [`secrets`]: what commands may have and nothing shows;
//! - [`list`], [`status`], [`update`], [`logs`], [`diff`], [`summary`]: what is known;
//! - [`access`]: how each operation finds its workspace, and sets right what a crash left behind;
//! - [`supervisor`]: the process that owns the guest; [`directory`]: the files.
//!
//! Whoever takes a workspace from one state to another holds its lock; work inside takes none, and fails when the guest goes
//! away under it. Records are only changed after the files are in place, so that a crash at any point leaves a workspace that
//! is either as before or as after.

mod access;
mod create;
mod diff;
mod directory;
mod disk;
mod error;
mod exec;
mod export;
mod files;
mod lifecycle;
mod list;
mod logs;
mod names;
mod network;
mod patch;
mod reset;
mod secrets;
mod seed;
mod services;
mod settle;
mod shells;
mod snapshots;
mod status;
mod stream;
mod summary;
mod supervisor;
mod sync;
#[cfg(test)]
mod tests;
mod update;

pub(crate) use access::Session;
pub use create::CreateWorkspace;
pub use diff::{DiffEntry, DiffSummary, WorkspaceDiff};
pub(crate) use directory::WorkspaceDirectory;
pub use disk::{DiskPath, WorkspaceDiskError, WorkspaceDiskExport};
pub use error::WorkspaceError;
pub use exec::{WorkspaceExec, WorkspaceExecResult};
pub use export::{WorkspaceExport, WorkspaceExportRequest};
pub use files::{ArtifactType, FileListEntry, WorkspaceFile, WorkspaceFileList, WorkspaceFileWritten};
pub use lifecycle::WorkspaceDeleted;
pub use list::{WorkspaceList, WorkspaceListEntry};
pub use logs::{CommandState, LogEntry, WorkspaceLogs};
pub use names::{SnapshotName, WorkspaceId, WorkspacePath};
pub use network::WorkspaceNetwork;
pub use patch::{PatchedFile, WorkspacePatched};
pub use reset::{WorkspaceReset, WorkspaceResetResult};
pub use secrets::{
    MAX_SECRET_NAME_CHARS, NewSecret, SecretEnv, SecretError, SecretInfo, SecretName, SecretSource,
    SecretSourceKind, SecretValue,
};
pub(crate) use secrets::{Redaction, SecretValues};
pub use services::{
    DEFAULT_READY_INTERVAL_MS, DEFAULT_READY_TIMEOUT_SECONDS, DEFAULT_TAIL_LINES, PublishPort, PublishedPort,
    ServiceInfo, ServiceList, ServiceLogs, ServiceReadiness, StartService,
};
pub use shells::{
    DEFAULT_SHELL_CHARS, DEFAULT_SHELL_COLS, DEFAULT_SHELL_ROWS, OpenShell, ReadShell, ShellDone, ShellId,
    ShellInfo, ShellList, ShellRead, ShellSignal,
};
pub use snapshots::{SnapshotDeleted, SnapshotInfo, SnapshotKind, SnapshotList};
pub use status::{Seed, SeedMode, WorkspaceStatus};
pub use summary::{
    SummaryArtifacts, SummaryChange, SummaryChanges, SummaryCommand, SummaryCommands, SummaryEdits,
    SummaryExport, SummaryServices, SummarySnapshots, WorkspaceSummary,
};
pub use supervisor::supervise;
pub use sync::{WorkspaceSync, WorkspaceSyncRequest};
pub use update::WorkspaceUpdate;

/// Time to live of a workspace by default, in seconds.
pub const DEFAULT_WORKSPACE_TTL_SECONDS: u64 = 600;
/// Largest text that is read, written, or patched, in bytes.
pub const MAX_TEXT_BYTES: u64 = 1 << 20;
/// Bytes of a file that are read by default.
pub const DEFAULT_READ_BYTES: u64 = 65_536;
