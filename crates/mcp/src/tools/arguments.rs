//! Arguments that several tools have, and what they are by default.

use crate::Failure;
use pyro::vm::{DEFAULT_MEM_MIB, DEFAULT_TIMEOUT_SECONDS, DEFAULT_TTL_SECONDS, DEFAULT_VCPU_COUNT};
use pyro::workspace::{
    DEFAULT_READ_BYTES, DEFAULT_READY_INTERVAL_MS, DEFAULT_READY_TIMEOUT_SECONDS, DEFAULT_SHELL_CHARS,
    DEFAULT_SHELL_COLS, DEFAULT_SHELL_ROWS, DEFAULT_TAIL_LINES, DEFAULT_WORKSPACE_TTL_SECONDS, SecretEnv,
    SnapshotName, WorkspaceId, WorkspacePath,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Names variables of commands for secrets: `{"API_TOKEN": "TOKEN"}`.
pub(super) type SecretVariables = BTreeMap<String, String>;

/// A workspace.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct InWorkspace {
    /// Id of the workspace, as `workspace_create` and `workspace_list` give it.
    pub workspace_id: String,
}

/// A command, as models write them.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub(super) enum CommandLine {
    /// A line for sh.
    Shell(String),
    /// Program and arguments.
    Argv(Vec<String>),
}

impl CommandLine {
    pub(super) fn into_argv(self) -> Vec<String> {
        match self {
            Self::Shell(line) if line.trim().is_empty() => Vec::new(),
            Self::Shell(line) => vec!["sh".to_owned(), "-c".to_owned(), line],
            Self::Argv(argv) => argv,
        }
    }
}

/// No arguments at all.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// Whether there is such a workspace is told by the operation.
pub(super) fn workspace(id: &str) -> WorkspaceId {
    WorkspaceId::parse(id)
}

pub(super) fn secret_env(variables: &SecretVariables) -> Result<Vec<SecretEnv>, Failure> {
    let secret = |(name, variable): (&String, &String)| SecretEnv::new(name, Some(variable));
    Ok(variables.iter().map(secret).collect::<Result<_, _>>()?)
}

/// Values of arguments that are not given.
macro_rules! defaults {
    ($($name:ident: $type:ty = $value:expr;)+) => {
        $(pub(super) fn $name() -> $type {
            $value
        })+
    };
}

defaults! {
    vcpu_count: u32 = DEFAULT_VCPU_COUNT;
    mem_mib: u32 = DEFAULT_MEM_MIB;
    timeout_seconds: u64 = DEFAULT_TIMEOUT_SECONDS;
    vm_ttl_seconds: u64 = DEFAULT_TTL_SECONDS;
    workspace_ttl_seconds: u64 = DEFAULT_WORKSPACE_TTL_SECONDS;
    root: String = WorkspacePath::root().to_string();
    baseline: String = SnapshotName::BASELINE.to_owned();
    read_bytes: u64 = DEFAULT_READ_BYTES;
    shell_cols: u32 = DEFAULT_SHELL_COLS;
    shell_rows: u32 = DEFAULT_SHELL_ROWS;
    shell_chars: u64 = DEFAULT_SHELL_CHARS;
    ready_timeout_seconds: u64 = DEFAULT_READY_TIMEOUT_SECONDS;
    ready_interval_ms: u64 = DEFAULT_READY_INTERVAL_MS;
    tail_lines: u64 = DEFAULT_TAIL_LINES;
    yes: bool = true;
}
