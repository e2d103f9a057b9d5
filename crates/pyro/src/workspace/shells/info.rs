//! What is asked and told of shells.

use super::{DEFAULT_SHELL_CHARS, DEFAULT_SHELL_COLS, DEFAULT_SHELL_ROWS};
use crate::PyroError;
use crate::workspace::{SecretEnv, WorkspaceId, WorkspacePath};
use pyro_vmm::guest::ShellState;
use serde::Serialize;
use std::fmt;

/// Id of a shell: `sh-` and 8 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct ShellId(pub(super) String);

impl ShellId {
    pub(super) fn random() -> Result<Self, PyroError> {
        Ok(Self(format!("sh-{:08x}", crate::vm::random()? >> 32)))
    }

    /// The id as a user wrote it; whether there is such a shell is told by the operation.
    pub fn parse(text: &str) -> Self {
        Self(text.chars().filter(|character| !character.is_control()).take(80).collect())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ShellId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A shell to open.
#[derive(Debug, Clone)]
pub struct OpenShell {
    /// The directory that it starts in.
    pub cwd: WorkspacePath,
    /// Columns of its terminal, 1 to 1,000.
    pub cols: u32,
    /// Rows of its terminal, 1 to 1,000.
    pub rows: u32,
    /// Secrets that become variables of it.
    pub secret_env: Vec<SecretEnv>,
}

impl Default for OpenShell {
    fn default() -> Self {
        Self {
            cwd: WorkspacePath::root(),
            cols: DEFAULT_SHELL_COLS,
            rows: DEFAULT_SHELL_ROWS,
            secret_env: Vec::new(),
        }
    }
}

/// What to read of a shell.
#[derive(Debug, Clone, Copy)]
pub struct ReadShell {
    /// Position of the first byte.
    pub cursor: u64,
    /// Most characters, 1 to 1,048,576.
    pub max_chars: u64,
    /// As a person would see it: without escape sequences, and with what was overwritten gone.
    pub plain: bool,
    /// Wait until nothing was printed for so long, for a minute at most.
    pub wait_for_idle_ms: Option<u64>,
}

impl Default for ReadShell {
    fn default() -> Self {
        Self { cursor: 0, max_chars: DEFAULT_SHELL_CHARS, plain: false, wait_for_idle_ms: None }
    }
}

/// A shell, as it stands.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ShellInfo {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The shell.
    pub shell_id: ShellId,
    /// `running` or `exited`.
    pub state: &'static str,
    /// Its exit status, or 128 and the signal; absent while it runs.
    pub exit_code: Option<u8>,
    /// Columns of its terminal.
    pub cols: u32,
    /// Rows of its terminal.
    pub rows: u32,
    /// Position of the oldest byte that is kept.
    pub begin_cursor: u64,
    /// Position after the last byte.
    pub end_cursor: u64,
}

/// The shells of a workspace.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ShellList {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// How many.
    pub count: usize,
    /// Which, in the order in which they were opened.
    pub shells: Vec<ShellInfo>,
}

/// What was read of a shell.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ShellRead {
    /// The shell, when it was read.
    #[serde(flatten)]
    pub shell: ShellInfo,
    /// Position of the first byte that was read.
    pub cursor: u64,
    /// Where to go on reading.
    pub next_cursor: u64,
    /// Bytes between the cursor that was asked for and the first one that is still kept.
    pub missed_bytes: u64,
    /// There is more beyond `next_cursor`.
    pub truncated: bool,
    /// It is shown as a person would see it.
    pub plain: bool,
    /// The text, with U+FFFD for what is not UTF-8.
    pub output: String,
}

/// What was done to a shell.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ShellDone {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The shell.
    pub shell_id: ShellId,
    /// Bytes that were typed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_bytes: Option<u64>,
    /// The signal that was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<ShellSignal>,
}

/// A signal for what is in the foreground of a shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum ShellSignal {
    /// Hang up.
    Hup,
    /// Interrupt, as Ctrl-C does.
    Int,
    /// End.
    Term,
    /// End at once.
    Kill,
}

impl ShellSignal {
    pub(super) fn number(self) -> i32 {
        match self {
            Self::Hup => 1,
            Self::Int => 2,
            Self::Term => 15,
            Self::Kill => 9,
        }
    }
}

impl ShellInfo {
    pub(super) fn new(id: &WorkspaceId, state: ShellState) -> Self {
        Self {
            workspace_id: id.clone(),
            shell_id: ShellId(state.id),
            state: if state.exited.is_some() { "exited" } else { "running" },
            exit_code: state.exited.map(|status| status.exit_code),
            cols: state.size.columns,
            rows: state.size.rows,
            begin_cursor: state.begin,
            end_cursor: state.end,
        }
    }
}

impl ShellDone {
    pub(super) fn new(id: &WorkspaceId, shell: &ShellId) -> Self {
        Self { workspace_id: id.clone(), shell_id: shell.clone(), input_bytes: None, signal: None }
    }
}
