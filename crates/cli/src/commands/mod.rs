//! The commands. The doc comments of the argument types are the help that users see.

mod check_arguments;
mod completions;
mod demo;
mod doctor;
mod env;
mod host;
mod mcp;
mod prepare;
mod run;
mod runtime;
mod supervise;
mod template_build;
mod workspace;

use crate::printer::{OutputFailed, Printer, diagnostic};
use crate::{reference, settings, signals};
use anyhow::Result;
use clap::{Parser, Subcommand};
use pyro::{Diagnostic, EngineChoice, ErrorKind, PyroError};
use std::process::ExitCode;
use std::time::Duration;

/// Exit status of `run` when pyro itself failed, so that it cannot be taken for the guest command's.
const RELAY_FAILURE: u8 = 125;
/// Exit status when whoever read the output stopped reading: 128 + SIGPIPE.
const CLOSED_PIPE: u8 = 141;
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Disposable Linux workspaces in microVMs, for coding agents.
///
/// The one path: `pyro doctor` (can this host run guests?), `pyro prepare debian:12` (get an environment, and make it start
/// fast), `pyro run debian:12 -- git --version` (run a command in a guest of its own), `pyro host connect claude-code` (give
/// a chat host workspaces); or `pyro workspace create debian:12` for work of your own that goes on, with `pyro workspace
/// reset` as the normal retry.
#[derive(Debug, Parser)]
#[command(name = "pyro", version, propagate_version = true, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Run guests on this engine: auto, firecracker, qemu-kvm, qemu-emulation [default: $PYRO_ENGINE, else auto]
    #[arg(long, global = true, value_name = "ENGINE", value_parser = engine, help_heading = "Global options")]
    engine: Option<EngineChoice>,
}

fn engine(name: &str) -> Result<EngineChoice, String> {
    name.parse().map_err(|error: PyroError| error.to_string())
}

#[derive(Debug, Subcommand)]
enum Command {
    Doctor(doctor::Arguments),
    Prepare(prepare::Arguments),
    Env(env::Arguments),
    Run(run::Arguments),
    Workspace(workspace::Arguments),
    Mcp(mcp::Arguments),
    Host(host::Arguments),
    Demo(demo::Arguments),
    Runtime(runtime::Arguments),
    Completions(completions::Arguments),
    #[command(hide = true)]
    Supervise(supervise::Arguments),
    #[command(hide = true)]
    TemplateBuild(template_build::Arguments),
    #[command(hide = true)]
    CheckArguments(check_arguments::Arguments),
    #[command(hide = true)]
    Reference(reference::Arguments),
}

impl Command {
    fn json(&self) -> bool {
        match self {
            Self::Doctor(arguments) => arguments.json,
            Self::Prepare(arguments) => arguments.json,
            Self::Env(arguments) => arguments.json(),
            Self::Run(arguments) => arguments.json,
            Self::Workspace(arguments) => arguments.json(),
            Self::Demo(arguments) => arguments.json,
            Self::Runtime(arguments) => arguments.json(),
            Self::Host(arguments) => arguments.json(),
            Self::Mcp(_)
            | Self::CheckArguments(_)
            | Self::Completions(_)
            | Self::Supervise(_)
            | Self::TemplateBuild(_)
            | Self::Reference(_) => false,
        }
    }

    /// The command's exit status is the guest's.
    fn relays(&self) -> bool {
        match self {
            Self::Run(_) => true,
            Self::Workspace(arguments) => arguments.relays(),
            _ => false,
        }
    }
}

impl Arguments {
    /// The command is a supervisor: small, long-lived, and ended by what signals do by themselves.
    pub fn supervises(&self) -> bool {
        matches!(self.command, Command::Supervise(_))
    }
}

/// Runs a command to its end, or until a signal asks pyro to end.
pub async fn run(arguments: Arguments) -> ExitCode {
    if let Some(engine) = arguments.engine {
        settings::choose_engine(engine);
    }
    let printer = Printer::new(arguments.command.json());
    let ends_in_order = !arguments.supervises();
    let relays = arguments.command.relays();
    let outcome = tokio::select! {
        outcome = dispatch(arguments.command, printer) => outcome,
        status = signals::asked_to_end(), if ends_in_order => {
            report_cancelled(printer);
            return ExitCode::from(status);
        }
    };
    match outcome {
        Ok(status) => ExitCode::from(status),
        Err(error) if is_closed_pipe(&error) => ExitCode::from(CLOSED_PIPE),
        Err(error) => {
            printer.failure(&error);
            ExitCode::from(failure_status(&error, relays))
        }
    }
}

async fn dispatch(command: Command, printer: Printer) -> Result<u8> {
    match command {
        Command::Doctor(arguments) => doctor::run(arguments, printer).await,
        Command::Prepare(arguments) => prepare::run(arguments, printer).await,
        Command::Workspace(arguments) => workspace::run(arguments, printer).await,
        Command::Supervise(_) => supervise::run().await,
        Command::TemplateBuild(arguments) => template_build::run(arguments).await,
        Command::Env(arguments) => env::run(arguments, printer).await,
        Command::Run(arguments) => run::run(arguments, printer).await,
        Command::Mcp(arguments) => mcp::run(arguments).await,
        Command::Host(arguments) => Box::pin(host::run(arguments, printer)).await,
        Command::Demo(arguments) => demo::run(arguments, printer).await,
        Command::Runtime(arguments) => runtime::run(arguments, printer).await,
        Command::CheckArguments(arguments) => check_arguments::run(arguments),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Reference(arguments) => reference::run(&arguments),
    }
}

fn failure_status(error: &anyhow::Error, relays: bool) -> u8 {
    let kind = diagnostic(error).map_or(ErrorKind::Host, Diagnostic::kind);
    match kind.exit_status() {
        1 if relays => RELAY_FAILURE,
        status => status,
    }
}

/// Whoever read our output has seen enough.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<OutputFailed>()
        .is_some_and(|OutputFailed(error)| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Reports that pyro was asked to end, but not for longer than [`LAST_WORDS`]: a terminal or pipe that nobody reads must
/// not keep it from ending.
fn report_cancelled(printer: Printer) {
    let (reported, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        printer.failure(&PyroError::Cancelled.into());
        reported.send(())
    });
    // Either way it is time to go.
    let _heard = wait.recv_timeout(LAST_WORDS);
}
