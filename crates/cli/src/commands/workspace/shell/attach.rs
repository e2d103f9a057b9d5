//! A person at a shell: this terminal is passed through to the shell's, until Ctrl-] or the shell's end.
//!
//! The terminal is raw meanwhile, and put back however this ends. What the shell has printed before is shown from the beginning of
//! the last screenful on.

use super::Which;
use crate::input::InputError;
use crate::printer::talk;
use anyhow::Result;
use pyro::Pyro;
use pyro::workspace::{ShellId, ShellInfo, WorkspaceId};
use rustix::stdio::{stdin, stdout};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::select;
use tokio::signal::unix::{SignalKind, signal};

/// What leaves the shell.
const LEAVE: u8 = 0x1d;
/// How much of what was printed before is shown.
const SHOWN_BEFORE: u64 = 4096;
/// How long one read waits for output.
const WAIT: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    of: Which,
}

/// This terminal, raw as long as this lives.
struct Raw {
    before: Termios,
}

impl Raw {
    fn new() -> Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        // What was typed ahead is typed there.
        tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing put back.
        let _gone = tcsetattr(stdin(), OptionalActions::Drain, &self.before);
    }
}

/// Returns the exit status of the shell, or 0 when it was left.
pub async fn run(arguments: Arguments) -> Result<u8> {
    if !isatty(stdin()) || !isatty(stdout()) {
        return Err(InputError::NoTerminal.into());
    }
    let Which { id, shell, .. } = arguments.of;
    let pyro = super::super::pyro()?;
    fit(&pyro, &id, &shell).await?;
    let raw = Raw::new()?;
    let ended = select! {
        ended = show(&pyro, &id, &shell) => ended.map(Some),
        typed = pass_on(&pyro, &id, &shell) => typed.map(|()| None),
    };
    drop(raw);
    let Some(info) = ended? else {
        talk(&format!("\r\n[shell] left {shell}, which goes on"));
        return Ok(0);
    };
    talk(&format!("\r\n[shell] {} has ended", info.shell_id));
    Ok(info.exit_code.unwrap_or_default())
}

/// Gives the shell the size of this terminal.
async fn fit(pyro: &Pyro, id: &WorkspaceId, shell: &ShellId) -> Result<()> {
    let size = tcgetwinsize(stdout())?;
    if size.ws_col > 0 && size.ws_row > 0 {
        pyro.resize_shell(id, shell, size.ws_col.into(), size.ws_row.into()).await?;
    }
    Ok(())
}

/// Shows what the shell prints, until it has ended.
async fn show(pyro: &Pyro, id: &WorkspaceId, shell: &ShellId) -> Result<ShellInfo> {
    let mut out = tokio::io::stdout();
    let (_, _, info) = pyro.follow_shell(id, shell, 0, Duration::ZERO).await?;
    let mut cursor = info.begin_cursor.max(info.end_cursor.saturating_sub(SHOWN_BEFORE));
    loop {
        let (first, bytes, info) = pyro.follow_shell(id, shell, cursor, WAIT).await?;
        out.write_all(&bytes).await?;
        out.flush().await?;
        cursor = first + bytes.len() as u64;
        if info.exit_code.is_some() && cursor >= info.end_cursor {
            return Ok(info);
        }
    }
}

/// Types what is typed here, and follows this terminal's size, until [`LEAVE`].
async fn pass_on(pyro: &Pyro, id: &WorkspaceId, shell: &ShellId) -> Result<()> {
    let mut input = tokio::io::stdin();
    let mut resized = signal(SignalKind::window_change())?;
    let mut buffer = [0; 4096];
    loop {
        let count = select! {
            count = input.read(&mut buffer) => count?,
            _ = resized.recv() => {
                fit(pyro, id, shell).await?;
                continue;
            }
        };
        let typed = &buffer[..count];
        let (typed, leaves) = match typed.iter().position(|byte| *byte == LEAVE) {
            Some(position) => (&typed[..position], true),
            None => (typed, count == 0),
        };
        if !typed.is_empty() {
            pyro.write_shell(id, shell, typed).await?;
        }
        if leaves {
            return Ok(());
        }
    }
}
