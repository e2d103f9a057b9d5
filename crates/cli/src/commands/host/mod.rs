//! `pyro host`.

mod connect;
mod doctor;
mod print_config;
mod repair;
mod server;

use crate::human::{shell_words, visible};
use crate::printer::Printer;
use anyhow::Result;
use clap::Subcommand;
use pyro_hosts::{Connected, without_passwords};

/// Register pyro with a chat host: claude-code, codex or opencode
///
/// `pyro host connect` does it, `pyro host doctor` says how it stands, `pyro host repair` mends it, `pyro host print-config`
/// shows the entry for a file that you edit yourself. The hosts start `pyro mcp serve` in the directory that they are started
/// in themselves, so one entry serves all projects.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Connect(connect::Arguments),
    PrintConfig(print_config::Arguments),
    Doctor(doctor::Arguments),
    Repair(repair::Arguments),
}

impl Arguments {
    pub fn json(&self) -> bool {
        match &self.command {
            Command::Connect(arguments) => arguments.json,
            Command::PrintConfig(arguments) => arguments.json,
            Command::Doctor(arguments) => arguments.json,
            Command::Repair(arguments) => arguments.json,
        }
    }
}

pub async fn run(arguments: Arguments, printer: Printer) -> Result<u8> {
    match arguments.command {
        Command::Connect(arguments) => connect::run(arguments, printer).await,
        Command::PrintConfig(arguments) => print_config::run(&arguments, printer),
        Command::Doctor(arguments) => doctor::run(arguments, printer).await,
        Command::Repair(arguments) => repair::run(arguments, printer).await,
    }
}

/// What was done, for people.
fn connected_text(connected: &Connected) -> String {
    let Connected { host, changed, command, replaced, config_path, backup_path, overridden_by } = connected;
    let path = |path: &std::path::Path| visible(&path.display().to_string());
    let title = host.title();
    let mut lines = vec![
        if *changed { format!("{title} now starts pyro") } else { format!("{title} starts pyro already") },
        format!("command:  {}", shell_words(&without_passwords(command))),
        format!("config:   {}", path(config_path)),
    ];
    lines
        .extend(replaced.iter().map(|words| format!("replaced: {}", shell_words(&without_passwords(words)))));
    lines.extend(backup_path.iter().map(|backup| format!("backup:   {}", path(backup))));
    lines.extend(
        overridden_by.iter().map(|file| {
            format!("but:      in this project another entry is in force, that in {}", path(file))
        }),
    );
    lines.join("\n") + "\n"
}
