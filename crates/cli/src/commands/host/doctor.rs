//! `pyro host doctor`.

use super::server::Server;
use crate::human::{shell_words, visible};
use crate::printer::Printer;
use anyhow::Result;
use pyro::ProjectReport;
use pyro_hosts::{Diagnosis, Host, Status, Surroundings, without_passwords};
use serde::Serialize;
use std::path::PathBuf;

/// Say of each chat host whether it is installed, and whether it starts this pyro
///
/// Without flags an entry is `ok` when it serves MCP with this program, whatever flags it was registered with; with flags,
/// when it is exactly what they would register. `missing` is no entry, `drifted` another one, `unavailable` no such host. The
/// exit status is 1 when a host that is installed is `drifted`. No entry is changed.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    server: Server,
    /// Configuration file of one host, told by its name: .claude.json, config.toml, or any other for OpenCode
    #[arg(long, value_name = "PATH")]
    config_path: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// How the hosts stand, and what the server would take as the project here.
#[derive(Serialize)]
struct Report {
    hosts: Vec<Diagnosis>,
    project: ProjectReport,
}

pub async fn run(arguments: Arguments, printer: Printer) -> Result<u8> {
    let expected = arguments.server.expected()?;
    let mut surroundings = Surroundings::from_env()?;
    if let Some(path) = &arguments.config_path {
        surroundings = surroundings.with_config_path(path);
    }
    let repair = |host: Host| arguments.repair_command(host);
    let [claude_code, codex, opencode] = Host::ALL.map(repair);
    let (claude_code, codex, opencode) = (claude_code?, codex?, opencode?);
    let hosts = tokio::try_join!(
        pyro_hosts::diagnose(&surroundings, Host::ClaudeCode, &expected, &claude_code),
        pyro_hosts::diagnose(&surroundings, Host::Codex, &expected, &codex),
        pyro_hosts::diagnose(&surroundings, Host::OpenCode, &expected, &opencode),
    )?;
    let project = arguments.server.project().await?;
    let report = Report { hosts: <[Diagnosis; 3]>::from(hosts).into(), project };
    printer.data(&report, text)?;
    Ok(u8::from(report.hosts.iter().any(|host| host.installed && host.status == Status::Drifted)))
}

impl Arguments {
    fn repair_command(&self, host: Host) -> Result<String> {
        let mut command = format!("pyro host repair {host}{}", self.server.typed()?);
        let fits = |path: &PathBuf| {
            Surroundings::from_env().is_ok_and(|it| it.with_config_path_of(host, path).is_ok())
        };
        if let Some(path) = self.config_path.as_ref().filter(|path| fits(path)) {
            let path = std::path::absolute(path)?.to_string_lossy().into_owned();
            command.push_str(" --config-path ");
            command.push_str(&shell_words(&[path]));
        }
        Ok(command)
    }
}

fn text(report: &Report) -> String {
    let hosts = report.hosts.iter().map(host_text);
    let project = format!("project here: {}\n", visible(&report.project.describe()));
    hosts.chain([project]).collect::<Vec<_>>().join("\n")
}

fn host_text(host: &Diagnosis) -> String {
    let version =
        host.version.as_deref().unwrap_or(if host.installed { "installed" } else { "not installed" });
    let mut lines = vec![format!("{}: {} ({})", host.host, host.status.as_str(), visible(version))];
    lines.extend(host.detail.lines().map(|line| format!("  {}", visible(line))));
    if let Some(path) = &host.config_path {
        lines.push(format!("  config:     {}", visible(&path.display().to_string())));
    }
    if let Some(words) = &host.registered {
        lines.push(format!("  registered: {}", shell_words(&without_passwords(words))));
    }
    if host.status != Status::Ok && host.installed {
        lines.push(format!("  expected:   {}", shell_words(&without_passwords(&host.expected))));
    }
    if let Some(repair) = &host.repair {
        lines.push(format!("  -> {}", visible(repair)));
    }
    lines.join("\n") + "\n"
}
