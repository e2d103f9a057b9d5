//! Shells: interactive programs in a workspace that go on between calls.
//!
//! They live in the guest, as does what they print; nothing of them is kept on the host. Positions in the output count bytes as
//! they were printed, with marks in the place of secrets, whatever they are shown as.

mod info;

pub use info::{OpenShell, ReadShell, ShellDone, ShellId, ShellInfo, ShellList, ShellRead, ShellSignal};

use super::access::Session;
use super::{WorkspaceError, WorkspaceId, WorkspacePath};
use crate::boxed;
use crate::store::Record;
use crate::{Pyro, PyroError};
use pyro_protocol::limits::{MAX_SHELLS, MAX_TERMINAL_SIZE};
use pyro_protocol::v1::FailureKind;
use pyro_vmm::VmmError;
use pyro_vmm::guest::{ShellOutput, ShellRequest, ShellState, ShellWait, TerminalSize};
use std::time::Duration;

/// Columns of a terminal by default.
pub const DEFAULT_SHELL_COLS: u32 = 120;
/// Rows of a terminal by default.
pub const DEFAULT_SHELL_ROWS: u32 = 30;
/// Characters that are read by default.
pub const DEFAULT_SHELL_CHARS: u64 = 65_536;
/// Most characters of one read: as many bytes are kept.
const MAX_SHELL_CHARS: u64 = 1 << 20;
/// Most bytes of one write.
const MAX_INPUT_BYTES: u64 = 1 << 20;
/// Longest time without output that can be waited for, in milliseconds.
const MAX_IDLE_MS: u64 = 60_000;
/// How long a read waits for a shell to become quiet.
const IDLE_LIMIT: Duration = Duration::from_mins(1);

impl Pyro {
    /// Opens a shell at a terminal of its own.
    #[boxed]
    pub async fn open_shell(&self, id: &WorkspaceId, request: OpenShell) -> Result<ShellInfo, PyroError> {
        let size = size(request.cols, request.rows)?;
        let session = self.session(id, "opening a shell").await?;
        let secrets = session.record.secret_variables(&request.secret_env)?;
        let shell = ShellId::random()?;
        let cwd = cwd_in(&session, &request.cwd);
        let opening = ShellRequest { id: shell.0.clone(), cwd, env: Vec::new(), secrets, size };
        match session.guest.open_shell(opening).await {
            Ok(()) => {}
            Err(VmmError::Refused { kind: FailureKind::Exhausted, .. }) => {
                return Err(
                    WorkspaceError::TooMany { id: id.clone(), what: "shells", max: MAX_SHELLS }.into()
                );
            }
            Err(error) => return Err(self.explain(&session, error).await),
        }
        self.touch(id).await?;
        let state = ShellState { id: shell.0, size, begin: 0, end: 0, exited: None };
        Ok(ShellInfo::new(id, state))
    }

    /// The shells of a workspace, those that have ended and were not closed included.
    #[boxed]
    pub async fn list_shells(&self, id: &WorkspaceId) -> Result<ShellList, PyroError> {
        let session = self.session(id, "listing shells").await?;
        let listed = match session.guest.list_shells().await {
            Ok(listed) => listed,
            Err(error) => return Err(self.explain(&session, error).await),
        };
        let shells: Vec<_> = listed.into_iter().map(|state| ShellInfo::new(id, state)).collect();
        Ok(ShellList { workspace_id: id.clone(), count: shells.len(), shells })
    }

    /// Reads what a shell has printed.
    #[boxed]
    pub async fn read_shell(
        &self,
        id: &WorkspaceId,
        shell: &ShellId,
        request: ReadShell,
    ) -> Result<ShellRead, PyroError> {
        let ReadShell { cursor, max_chars, plain, wait_for_idle_ms } = request;
        within("max_chars", max_chars, MAX_SHELL_CHARS)?;
        let wait = match wait_for_idle_ms {
            None | Some(0) => ShellWait::No,
            Some(ms) => {
                within("wait_for_idle_ms", ms, MAX_IDLE_MS)?;
                ShellWait::Idle { quiet: Duration::from_millis(ms), limit: IDLE_LIMIT }
            }
        };
        // A character has four bytes at most.
        let session = self.session(id, "reading a shell").await?;
        let output = self.shell_output(&session, shell, (cursor, max_chars.saturating_mul(4)), wait).await?;
        let has_ended =
            output.state.exited.is_some() && output.first + output.bytes.len() as u64 == output.state.end;
        let taken = take_chars(&output.bytes, max_chars, has_ended);
        let bytes = &output.bytes[..taken];
        let next_cursor = output.first + taken as u64;
        let TerminalSize { columns, rows } = output.state.size;
        let text = if plain {
            let [cols, rows] = [columns, rows].map(|count| u16::try_from(count).unwrap_or(u16::MAX));
            // What escape sequences stood between is together now.
            session.redaction.text(pyro_screen::render(bytes, cols, rows, &[]).text)
        } else {
            String::from_utf8_lossy(bytes).into_owned()
        };
        Ok(ShellRead {
            cursor: output.first,
            next_cursor,
            missed_bytes: output.first - cursor,
            truncated: next_cursor < output.state.end,
            plain,
            output: text,
            shell: ShellInfo::new(id, output.state),
        })
    }

    /// What a shell has printed from `cursor` on, as it was printed; waits for at most `limit` until there is something, or the
    /// shell has ended. For terminals that show it.
    #[boxed]
    pub async fn follow_shell(
        &self,
        id: &WorkspaceId,
        shell: &ShellId,
        cursor: u64,
        limit: Duration,
    ) -> Result<(u64, Vec<u8>, ShellInfo), PyroError> {
        let session = self.session(id, "reading a shell").await?;
        let output = self.shell_output(&session, shell, (cursor, u64::MAX), ShellWait::Output(limit)).await?;
        Ok((output.first, output.bytes.to_vec(), ShellInfo::new(id, output.state)))
    }

    async fn shell_output(
        &self,
        session: &Session,
        shell: &ShellId,
        (cursor, max_bytes): (u64, u64),
        wait: ShellWait,
    ) -> Result<ShellOutput, PyroError> {
        match session.guest.read_shell(&shell.0, cursor, max_bytes, wait).await {
            Ok(output) => Ok(output),
            Err(VmmError::Refused { kind: FailureKind::Invalid, .. }) => {
                Err(WorkspaceError::CursorBeyondEnd { shell_id: shell.clone(), cursor }.into())
            }
            Err(error) => Err(self.explain_shell(session, shell, error).await),
        }
    }

    /// Types into a shell. Fails when it has ended, and when nothing in it reads for 10 s.
    #[boxed]
    pub async fn write_shell(
        &self,
        id: &WorkspaceId,
        shell: &ShellId,
        input: &[u8],
    ) -> Result<ShellDone, PyroError> {
        let bytes = input.len() as u64;
        if bytes > MAX_INPUT_BYTES {
            return Err(WorkspaceError::TooLarge { what: "the input", bytes, max: MAX_INPUT_BYTES }.into());
        }
        let session = self.session(id, "writing to a shell").await?;
        if let Err(error) = session.guest.write_shell(&shell.0, input).await {
            return Err(self.explain_shell(&session, shell, error).await);
        }
        self.touch(id).await?;
        Ok(ShellDone { input_bytes: Some(bytes), ..ShellDone::new(id, shell) })
    }

    /// Signals what is in the foreground of a shell.
    #[boxed]
    pub async fn signal_shell(
        &self,
        id: &WorkspaceId,
        shell: &ShellId,
        signal: ShellSignal,
    ) -> Result<ShellDone, PyroError> {
        let session = self.session(id, "signalling a shell").await?;
        if let Err(error) = session.guest.signal_shell(&shell.0, signal.number()).await {
            return Err(self.explain_shell(&session, shell, error).await);
        }
        self.touch(id).await?;
        Ok(ShellDone { signal: Some(signal), ..ShellDone::new(id, shell) })
    }

    /// Gives the terminal of a shell another size.
    #[boxed]
    pub async fn resize_shell(
        &self,
        id: &WorkspaceId,
        shell: &ShellId,
        cols: u32,
        rows: u32,
    ) -> Result<ShellDone, PyroError> {
        let size = size(cols, rows)?;
        let session = self.session(id, "resizing a shell").await?;
        match session.guest.resize_shell(&shell.0, size).await {
            Ok(()) => Ok(ShellDone::new(id, shell)),
            Err(error) => Err(self.explain_shell(&session, shell, error).await),
        }
    }

    /// Ends a shell with everything that it has started, and forgets it.
    #[boxed]
    pub async fn close_shell(&self, id: &WorkspaceId, shell: &ShellId) -> Result<ShellInfo, PyroError> {
        let session = self.session(id, "closing a shell").await?;
        let state = match session.guest.close_shell(&shell.0).await {
            Ok(state) => state,
            Err(error) => return Err(self.explain_shell(&session, shell, error).await),
        };
        self.touch(id).await?;
        Ok(ShellInfo::new(id, state))
    }

    async fn touch(&self, id: &WorkspaceId) -> Result<(), PyroError> {
        let id = id.clone();
        self.transact(move |store| Record::touch(store, &id)).await
    }

    async fn explain_shell(&self, session: &Session, shell: &ShellId, error: VmmError) -> PyroError {
        let (id, shell_id) = (session.record.id.clone(), shell.clone());
        match &error {
            VmmError::Refused { kind: FailureKind::NotFound, .. } => {
                let listed = session.guest.list_shells().await.unwrap_or_default();
                let existing = listed.into_iter().map(|state| state.id).collect();
                WorkspaceError::UnknownShell { id, shell_id, existing }.into()
            }
            VmmError::Refused { call: "write_shell", kind: FailureKind::Exhausted, .. } => {
                WorkspaceError::ShellDeaf { id, shell_id }.into()
            }
            VmmError::Refused { kind: FailureKind::WrongState, .. } => {
                WorkspaceError::ShellEnded { id, shell_id }.into()
            }
            _ => self.explain(session, error).await,
        }
    }
}

fn size(cols: u32, rows: u32) -> Result<TerminalSize, PyroError> {
    within("cols", cols.into(), MAX_TERMINAL_SIZE.into())?;
    within("rows", rows.into(), MAX_TERMINAL_SIZE.into())?;
    Ok(TerminalSize { columns: cols, rows })
}

/// The absolute path of a directory of the workspace in its guest.
pub(super) fn cwd_in(session: &Session, cwd: &WorkspacePath) -> Vec<u8> {
    let mut path = session.root.clone();
    if !cwd.is_root() {
        path.push(b'/');
        path.extend_from_slice(cwd.relative().as_bytes());
    }
    path
}

/// Fails unless `given` is 1 to `max`.
pub(super) fn within(what: &'static str, given: u64, max: u64) -> Result<(), PyroError> {
    if (1..=max).contains(&given) {
        return Ok(());
    }
    Err(WorkspaceError::OutOfRange { what, max, given }.into())
}

/// How many of `bytes` are `most` characters at most. A character that may go on beyond the end is left for the next read, unless
/// `is_last` says that nothing more comes.
fn take_chars(bytes: &[u8], most: u64, is_last: bool) -> usize {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let (mut taken, mut count) = (0, 0);
    for chunk in bytes.utf8_chunks() {
        let mut characters = chunk.valid().char_indices();
        if let Some((cut, _)) = characters.nth(most - count) {
            return taken + cut;
        }
        count += chunk.valid().chars().count();
        taken += chunk.valid().len();
        let invalid = chunk.invalid();
        if invalid.is_empty() {
            continue;
        }
        let may_go_on = taken + invalid.len() == bytes.len()
            && std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
        if count == most || may_go_on && !is_last {
            return taken;
        }
        count += 1;
        taken += invalid.len();
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_counted_and_never_cut() {
        let cases: [(&[u8], u64, bool, usize); 10] = [
            (b"", 5, false, 0),
            (b"abc", 2, false, 2),
            (b"abc", 3, false, 3),
            ("äöü".as_bytes(), 2, false, 4),
            ("ä€".as_bytes(), 9, false, 5),
            (&"ä€".as_bytes()[..4], 9, false, 2),
            (&"ä€".as_bytes()[..4], 9, true, 4),
            (b"a\xFFb", 2, false, 2),
            (b"a\xFFb", 3, false, 3),
            (b"a\xFF", 1, false, 1),
        ];
        for (bytes, most, is_last, expected) in cases {
            assert_eq!(take_chars(bytes, most, is_last), expected, "{bytes:?} {most} {is_last}");
        }
    }
}
