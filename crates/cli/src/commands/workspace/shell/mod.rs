//! `pyro workspace shell`.

mod attach;

use crate::human::table;
use crate::input;
use crate::printer::{Printer, talk, write_out};
use anyhow::Result;
use clap::{Subcommand, ValueEnum};
use pyro::PyroError;
use pyro::workspace::{
    DEFAULT_SHELL_CHARS, DEFAULT_SHELL_COLS, DEFAULT_SHELL_ROWS, OpenShell, ReadShell, ShellId, ShellInfo,
    ShellList, ShellRead, ShellSignal, WorkspaceId, WorkspacePath,
};

/// Use interactive shells that go on between calls
///
/// A shell has a terminal of its own. What it prints is kept, the last MiB of it, and read by position: each read says where the
/// next one goes on. Shells end when they are closed, and with the guest: by stop, reset and delete.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Open a shell
    Open(OpenArguments),
    /// Show the shells of a workspace
    List {
        /// Workspace, as shown by `pyro workspace list`
        #[arg(value_name = "ID", value_parser = input::workspace_id)]
        id: WorkspaceId,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Read what a shell has printed
    Read(ReadArguments),
    /// Type into a shell
    Write(WriteArguments),
    /// Signal what is in the foreground of a shell
    Signal {
        #[command(flatten)]
        of: Which,
        /// Which signal
        #[arg(long, value_enum, default_value_t = Signal::Int, ignore_case = true)]
        signal: Signal,
    },
    /// Sit down at a shell with this terminal; Ctrl-] leaves it
    Attach(attach::Arguments),
    /// End a shell with everything that it has started
    Close {
        #[command(flatten)]
        of: Which,
    },
}

/// Which shell.
#[derive(Debug, clap::Args)]
struct Which {
    /// Workspace, as shown by `pyro workspace list`
    #[arg(value_name = "ID", value_parser = input::workspace_id)]
    id: WorkspaceId,
    /// Shell, as shown by `pyro workspace shell list`
    #[arg(value_name = "SHELL", value_parser = input::shell_id)]
    shell: ShellId,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct OpenArguments {
    /// Workspace, as shown by `pyro workspace list`
    #[arg(value_name = "ID", value_parser = input::workspace_id)]
    id: WorkspaceId,
    /// Directory that it starts in
    #[arg(long, value_name = "PATH", default_value = "/workspace")]
    cwd: String,
    /// Columns of its terminal
    #[arg(long, value_name = "N", default_value_t = DEFAULT_SHELL_COLS)]
    cols: u32,
    /// Rows of its terminal
    #[arg(long, value_name = "N", default_value_t = DEFAULT_SHELL_ROWS)]
    rows: u32,
    /// Secret of the workspace's that becomes a variable, of its own name or another; may be given several times
    #[arg(long, value_name = "NAME[=ENV_VAR]")]
    secret_env: Vec<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Print just the shell's id
    #[arg(long, conflicts_with = "json")]
    id_only: bool,
}

#[derive(Debug, clap::Args)]
struct ReadArguments {
    #[command(flatten)]
    of: Which,
    /// Position to read from: what the read before said
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    cursor: u64,
    /// Read so many characters at most
    #[arg(long, value_name = "N", default_value_t = DEFAULT_SHELL_CHARS)]
    max_chars: u64,
    /// As a person would see it, without escape sequences and what was overwritten
    #[arg(long)]
    plain: bool,
    /// First wait until nothing was printed for so many milliseconds, for a minute at most
    #[arg(long, value_name = "MS")]
    wait_for_idle_ms: Option<u64>,
}

#[derive(Debug, clap::Args)]
struct WriteArguments {
    #[command(flatten)]
    of: Which,
    /// What to type
    #[arg(long, allow_hyphen_values = true)]
    input: String,
    /// Do not press Enter after it
    #[arg(long)]
    no_newline: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Signal {
    #[value(name = "HUP")]
    Hup,
    #[value(name = "INT")]
    Int,
    #[value(name = "TERM")]
    Term,
    #[value(name = "KILL")]
    Kill,
}

impl From<Signal> for ShellSignal {
    fn from(signal: Signal) -> Self {
        match signal {
            Signal::Hup => Self::Hup,
            Signal::Int => Self::Int,
            Signal::Term => Self::Term,
            Signal::Kill => Self::Kill,
        }
    }
}

impl Arguments {
    pub fn json(&self) -> bool {
        match &self.command {
            Command::Open(OpenArguments { json, .. }) | Command::List { json, .. } => *json,
            Command::Read(ReadArguments { of, .. })
            | Command::Write(WriteArguments { of, .. })
            | Command::Signal { of, .. }
            | Command::Close { of } => of.json,
            Command::Attach(_) => false,
        }
    }
}

pub async fn run(arguments: Arguments, printer: Printer) -> Result<u8> {
    match arguments.command {
        Command::Open(arguments) => open(arguments, printer).await?,
        Command::List { id, .. } => {
            printer.data(&super::pyro()?.list_shells(&id).await?, list_text)?;
        }
        Command::Read(arguments) => read(&arguments, printer).await?,
        Command::Write(WriteArguments { of, mut input, no_newline }) => {
            if !no_newline {
                input.push('\n');
            }
            let done = super::pyro()?.write_shell(&of.id, &of.shell, input.as_bytes()).await?;
            printer.data(&done, |done| format!("typed {} bytes\n", done.input_bytes.unwrap_or_default()))?;
        }
        Command::Signal { of, signal } => {
            let done = super::pyro()?.signal_shell(&of.id, &of.shell, signal.into()).await?;
            printer.data(&done, |done| format!("signalled {}\n", done.shell_id))?;
        }
        Command::Attach(arguments) => return attach::run(arguments).await,
        Command::Close { of } => {
            let closed = super::pyro()?.close_shell(&of.id, &of.shell).await?;
            printer.data(&closed, |closed| format!("{} is closed\n", closed.shell_id))?;
        }
    }
    Ok(0)
}

async fn open(arguments: OpenArguments, printer: Printer) -> Result<()> {
    let cwd = WorkspacePath::parse(&arguments.cwd).map_err(PyroError::from)?;
    let secret_env = input::secret_env(&arguments.secret_env)?;
    let request = OpenShell { cwd, cols: arguments.cols, rows: arguments.rows, secret_env };
    let opened = super::pyro()?.open_shell(&arguments.id, request).await?;
    if arguments.id_only {
        return write_out(&format!("{}\n", opened.shell_id));
    }
    printer.data(&opened, |opened| {
        let ShellInfo { shell_id, cols, rows, .. } = opened;
        format!("{shell_id} is open, {cols} by {rows}\n")
    })
}

async fn read(arguments: &ReadArguments, printer: Printer) -> Result<()> {
    let ReadArguments { of, cursor, max_chars, plain, wait_for_idle_ms } = arguments;
    let request = ReadShell {
        cursor: *cursor,
        max_chars: *max_chars,
        plain: *plain,
        wait_for_idle_ms: *wait_for_idle_ms,
    };
    let read = super::pyro()?.read_shell(&of.id, &of.shell, request).await?;
    if printer.json() {
        return printer.data(&read, |_| String::new());
    }
    write_out(&read.output)?;
    talk(&position(&read));
    Ok(())
}

fn position(read: &ShellRead) -> String {
    let mut words = vec![format!("cursor={}", read.cursor), format!("next_cursor={}", read.next_cursor)];
    if read.missed_bytes > 0 {
        words.push(format!("missed_bytes={}", read.missed_bytes));
    }
    if read.truncated {
        words.push("truncated=true".to_owned());
    }
    words.push(format!("state={}", read.shell.state));
    if let Some(exit_code) = read.shell.exit_code {
        words.push(format!("exit_code={exit_code}"));
    }
    format!("[shell] {}", words.join(" "))
}

fn list_text(list: &ShellList) -> String {
    if list.shells.is_empty() {
        return "no shells\n".to_owned();
    }
    let row = |shell: &ShellInfo| {
        let state = match shell.exit_code {
            Some(exit_code) => format!("exited {exit_code}"),
            None => shell.state.to_owned(),
        };
        [
            shell.shell_id.to_string(),
            state,
            format!("{}x{}", shell.cols, shell.rows),
            shell.end_cursor.to_string(),
        ]
    };
    let rows: Vec<_> = list.shells.iter().map(row).collect();
    table(["SHELL", "STATE", "SIZE", "PRINTED"], &rows)
}
