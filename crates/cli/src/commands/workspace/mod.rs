//! `pyro workspace`.

mod create;
mod delete;
mod diff;
mod disk;
mod exec;
mod export;
mod file;
mod list;
mod logs;
mod network;
mod patch;
mod reset;
mod service;
mod shell;
mod snapshot;
mod start;
mod status;
mod stop;
mod summary;
mod sync;
mod update;

use crate::printer::Printer;
use crate::settings;
use anyhow::Result;
use clap::Subcommand;
use pyro::Pyro;

/// Work in machines that stay: create, run commands, edit, compare, reset, export, delete
///
/// A workspace is a machine with a disk of its own, whose `/workspace` is yours to work in. It stays for all later calls
/// until it is deleted or its time to live has passed. When something went wrong, `pyro workspace reset` is the normal
/// retry: it beats repairing.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(create::Arguments),
    List(list::Arguments),
    Status(status::Arguments),
    Update(update::Arguments),
    Exec(exec::Arguments),
    Shell(shell::Arguments),
    Service(service::Arguments),
    File(file::Arguments),
    Patch(patch::Arguments),
    Sync(sync::Arguments),
    Diff(diff::Arguments),
    Export(export::Arguments),
    Disk(disk::Arguments),
    Snapshot(snapshot::Arguments),
    Reset(reset::Arguments),
    Logs(logs::Arguments),
    Network(network::Arguments),
    Summary(summary::Arguments),
    Stop(stop::Arguments),
    Start(start::Arguments),
    Delete(delete::Arguments),
}

impl Arguments {
    pub fn json(&self) -> bool {
        match &self.command {
            Command::Create(arguments) => arguments.json,
            Command::List(arguments) => arguments.json,
            Command::Status(arguments) => arguments.json,
            Command::Update(arguments) => arguments.json,
            Command::Exec(arguments) => arguments.json,
            Command::Shell(arguments) => arguments.json(),
            Command::Service(arguments) => arguments.json(),
            Command::File(arguments) => arguments.json(),
            Command::Patch(arguments) => arguments.json(),
            Command::Sync(arguments) => arguments.json(),
            Command::Diff(arguments) => arguments.json,
            Command::Export(arguments) => arguments.json,
            Command::Disk(arguments) => arguments.json(),
            Command::Snapshot(arguments) => arguments.json(),
            Command::Reset(arguments) => arguments.json,
            Command::Logs(arguments) => arguments.json,
            Command::Network(arguments) => arguments.json,
            Command::Summary(arguments) => arguments.json,
            Command::Stop(arguments) => arguments.json,
            Command::Start(arguments) => arguments.json,
            Command::Delete(arguments) => arguments.json,
        }
    }

    /// The command's exit status is the guest's.
    pub fn relays(&self) -> bool {
        matches!(self.command, Command::Exec(_))
    }
}

pub async fn run(arguments: Arguments, printer: Printer) -> Result<u8> {
    match arguments.command {
        Command::Create(arguments) => create::run(arguments, printer).await,
        Command::List(_) => list::run(printer).await,
        Command::Status(arguments) => status::run(arguments, printer).await,
        Command::Update(arguments) => update::run(arguments, printer).await,
        Command::Exec(arguments) => exec::run(arguments, printer).await,
        Command::Shell(arguments) => shell::run(arguments, printer).await,
        Command::Service(arguments) => service::run(arguments, printer).await,
        Command::File(arguments) => file::run(arguments, printer).await,
        Command::Patch(arguments) => patch::run(arguments, printer).await,
        Command::Sync(arguments) => sync::run(arguments, printer).await,
        Command::Diff(arguments) => diff::run(arguments, printer).await,
        Command::Export(arguments) => export::run(arguments, printer).await,
        Command::Disk(arguments) => disk::run(arguments, printer).await,
        Command::Snapshot(arguments) => snapshot::run(arguments, printer).await,
        Command::Reset(arguments) => reset::run(arguments, printer).await,
        Command::Logs(arguments) => logs::run(arguments, printer).await,
        Command::Network(arguments) => network::run(arguments, printer).await,
        Command::Summary(arguments) => summary::run(arguments, printer).await,
        Command::Stop(arguments) => stop::run(arguments, printer).await,
        Command::Start(arguments) => start::run(arguments, printer).await,
        Command::Delete(arguments) => delete::run(arguments, printer).await,
    }
}

/// The SDK's handle, with progress as `[workspace] phase=…`.
fn pyro() -> Result<Pyro> {
    settings::pyro("workspace")
}
