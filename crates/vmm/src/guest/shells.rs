//! Shells of the guest's, which go on between calls.

use super::call::Call;
use super::exec::ExitStatus;
use super::secrets::{self, SecretVariable};
use super::stream::StreamOpener;
use super::within;
use crate::VmmError;
use bytes::{Bytes, BytesMut};
use pyro_protocol::limits::{
    MAX_CHUNK_BYTES, MAX_SHELL_WAIT, MAX_SHELLS, MAX_TERMINAL_SIZE, SHELL_BUFFER_BYTES, SHELL_WRITE_DEADLINE,
};
use pyro_protocol::v1::{self, reply::Reply, request};
use std::time::Duration;

/// How long one of these calls may take, beyond what it waits for on purpose.
const DEADLINE: Duration = Duration::from_secs(30);

const OPEN: &str = "open_shell";
const READ: &str = "read_shell";
const WRITE: &str = "write_shell";
const CLOSE: &str = "close_shell";
const LIST: &str = "list_shells";

/// Columns and rows of a terminal, 1 to 1,000 each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub columns: u32,
    /// Rows.
    pub rows: u32,
}

/// A shell to open.
#[derive(Debug, Clone)]
pub struct ShellRequest {
    /// Letters, digits and hyphens.
    pub id: String,
    /// Absolute path of the directory that it starts in.
    pub cwd: Vec<u8>,
    /// Names and values of variables beyond the usual ones.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// Secrets of the guest's that become variables.
    pub secrets: Vec<SecretVariable>,
    /// Size of its terminal.
    pub size: TerminalSize,
}

/// What to wait for before a shell is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShellWait {
    /// Nothing.
    No,
    /// That nothing was printed for so long; for a minute at most, less where `limit` says so.
    Idle {
        /// How long nothing may be printed.
        quiet: Duration,
        /// How long to wait for that.
        limit: Duration,
    },
    /// That there is something beyond the cursor, or the shell has ended; for so long at most.
    Output(Duration),
}

/// A shell, as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShellState {
    /// Its id.
    pub id: String,
    /// Size of its terminal.
    pub size: TerminalSize,
    /// Position of the oldest byte that is kept.
    pub begin: u64,
    /// Position after the last byte.
    pub end: u64,
    /// `None` while it runs.
    pub exited: Option<ExitStatus>,
}

/// What a shell has printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShellOutput {
    /// Position of the first byte: beyond the cursor where what lay between is not kept any more.
    pub first: u64,
    /// As it was printed.
    pub bytes: Bytes,
    /// The shell, when it was read.
    pub state: ShellState,
}

impl ShellState {
    fn checked(state: Option<v1::ShellState>) -> Result<Self, &'static str> {
        let state = state.ok_or("it told of a shell without a state")?;
        let v1::ShellState { id, columns, rows, begin, end, exited } = state;
        let sizes = 1..=MAX_TERMINAL_SIZE;
        if !sizes.contains(&columns) || !sizes.contains(&rows) {
            return Err("it told of a terminal that is too large or too small");
        }
        if !is_id(&id) {
            return Err("it told of a shell with a malformed id");
        }
        if begin > end || end - begin > SHELL_BUFFER_BYTES as u64 {
            return Err("it told of more output than a shell keeps");
        }
        let exited = exited.map(ExitStatus::from);
        Ok(Self { id, size: TerminalSize { columns, rows }, begin, end, exited })
    }
}

fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

pub(super) async fn open(streams: &StreamOpener, request: ShellRequest) -> Result<(), VmmError> {
    let env =
        request.env.into_iter().map(|(name, value)| v1::EnvVar { name: name.into(), value: value.into() });
    let request = v1::OpenShell {
        id: request.id,
        argv: Vec::new(),
        cwd: request.cwd.into(),
        env: env.collect(),
        columns: request.size.columns,
        rows: request.size.rows,
        secrets: secrets::variables(request.secrets),
    };
    within(OPEN, DEADLINE, async {
        let mut call = Call::open(streams, OPEN, request::Call::OpenShell(request)).await?;
        match call.replies.next().await? {
            Reply::Started(_) => Ok(()),
            _ => Err(call.misbehaved("it answered something else")),
        }
    })
    .await
}

pub(super) async fn read(
    streams: &StreamOpener,
    id: &str,
    cursor: u64,
    max_bytes: u64,
    wait: ShellWait,
) -> Result<ShellOutput, VmmError> {
    let (quiet, follow, limit) = match wait {
        ShellWait::No => (Duration::ZERO, false, Duration::ZERO),
        ShellWait::Idle { quiet, limit } => (quiet, false, limit),
        ShellWait::Output(limit) => (Duration::ZERO, true, limit),
    };
    let milliseconds = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    let limit = limit.min(MAX_SHELL_WAIT);
    let max_bytes = max_bytes.min(SHELL_BUFFER_BYTES as u64);
    let request = v1::ReadShell {
        id: id.to_owned(),
        cursor,
        max_bytes,
        idle_ms: milliseconds(quiet),
        follow,
        limit_ms: milliseconds(limit),
    };
    within(READ, limit + DEADLINE, async {
        let mut call = Call::open(streams, READ, request::Call::ReadShell(request)).await?;
        let Reply::ShellOutput(output) = call.replies.next().await? else {
            return Err(call.misbehaved("it answered something else"));
        };
        let state = ShellState::checked(output.state).map_err(|what| call.misbehaved(what))?;
        if output.bytes > max_bytes
            || output.first < cursor
            || output.first.saturating_add(output.bytes) > state.end
        {
            return Err(call.misbehaved("it sent other output than was asked for"));
        }
        let mut bytes = BytesMut::new();
        loop {
            match call.replies.next().await? {
                Reply::Data(data) if !data.data.is_empty() => bytes.extend_from_slice(&data.data),
                Reply::Done(_) if bytes.len() as u64 == output.bytes => break,
                _ => return Err(call.misbehaved("it sent something else than the announced output")),
            }
            if bytes.len() as u64 > output.bytes {
                return Err(call.misbehaved("it sent more output than it announced"));
            }
        }
        Ok(ShellOutput { first: output.first, bytes: bytes.freeze(), state })
    })
    .await
}

pub(super) async fn write(streams: &StreamOpener, id: &str, data: &[u8]) -> Result<(), VmmError> {
    for data in data.chunks(MAX_CHUNK_BYTES) {
        let request = v1::WriteShell { id: id.to_owned(), data: Bytes::copy_from_slice(data) };
        within(WRITE, SHELL_WRITE_DEADLINE + DEADLINE, async {
            let mut call = Call::open(streams, WRITE, request::Call::WriteShell(request)).await?;
            match call.replies.next().await? {
                Reply::Done(_) => Ok(()),
                _ => Err(call.misbehaved("it answered something else")),
            }
        })
        .await?;
    }
    Ok(())
}

pub(super) async fn close(streams: &StreamOpener, id: &str) -> Result<ShellState, VmmError> {
    let request = v1::CloseShell { id: id.to_owned() };
    within(CLOSE, DEADLINE, async {
        let mut call = Call::open(streams, CLOSE, request::Call::CloseShell(request)).await?;
        match call.replies.next().await? {
            Reply::ShellOutput(output) => {
                ShellState::checked(output.state).map_err(|what| call.misbehaved(what))
            }
            _ => Err(call.misbehaved("it answered something else")),
        }
    })
    .await
}

pub(super) async fn list(streams: &StreamOpener) -> Result<Vec<ShellState>, VmmError> {
    within(LIST, DEADLINE, async {
        let mut call = Call::open(streams, LIST, request::Call::ListShells(v1::ListShells {})).await?;
        let Reply::Shells(shells) = call.replies.next().await? else {
            return Err(call.misbehaved("it answered something else"));
        };
        if shells.shells.len() > MAX_SHELLS {
            return Err(call.misbehaved("it told of more shells than there can be"));
        }
        let checked = shells.shells.into_iter().map(|state| ShellState::checked(Some(state)));
        checked.collect::<Result<_, _>>().map_err(|what| call.misbehaved(what))
    })
    .await
}
