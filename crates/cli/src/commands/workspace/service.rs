//! `pyro workspace service`.

use crate::human::{ago, shell_words, table, visible};
use crate::input;
use crate::printer::{Printer, write_out};
use anyhow::Result;
use clap::Subcommand;
use pyro::PyroError;
use pyro::workspace::{
    DEFAULT_READY_INTERVAL_MS, DEFAULT_READY_TIMEOUT_SECONDS, DEFAULT_TAIL_LINES, PublishPort, PublishedPort,
    ServiceInfo, ServiceList, ServiceLogs, ServiceReadiness, StartService, WorkspaceId, WorkspacePath,
};

/// Run named commands in the background, with logs and a notion of being ready
///
/// A service lives until it ends or is stopped, and no longer than its guest: after a stop or a restart of the workspace,
/// `service list` shows which ones are lost.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a service, and wait until it is ready
    Start(StartArguments),
    /// Show the services of a workspace
    List {
        /// Workspace, as shown by `pyro workspace list`
        #[arg(value_name = "ID", value_parser = input::workspace_id)]
        id: WorkspaceId,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Show one service
    Status(Service),
    /// Print the end of what a service has printed: its standard output, then its standard error
    Logs {
        #[command(flatten)]
        service: Service,
        /// Lines of each
        #[arg(long, value_name = "N", default_value_t = DEFAULT_TAIL_LINES)]
        tail_lines: u64,
        /// Everything that is kept: the last 512 KiB of each
        #[arg(long, conflicts_with = "tail_lines")]
        all: bool,
    },
    /// End a service with everything that it has started
    Stop(Service),
}

/// Which service.
#[derive(Debug, clap::Args)]
struct Service {
    /// Workspace, as shown by `pyro workspace list`
    #[arg(value_name = "ID", value_parser = input::workspace_id)]
    id: WorkspaceId,
    /// Name of the service
    name: String,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct StartArguments {
    #[command(flatten)]
    service: Service,
    /// Directory that it starts in
    #[arg(long, value_name = "PATH", default_value = "/workspace")]
    cwd: String,
    #[command(flatten)]
    ready: ReadyArguments,
    /// End it when it is not ready after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_READY_TIMEOUT_SECONDS)]
    ready_timeout_seconds: u64,
    /// Look at least so often whether it is ready
    #[arg(long, value_name = "MS", default_value_t = DEFAULT_READY_INTERVAL_MS)]
    ready_interval_ms: u64,
    /// Port of the guest's to publish on 127.0.0.1 of the host for as long as the service lives: at a free port, or at HOST;
    /// may be given several times
    #[arg(long, value_name = "[HOST:]GUEST")]
    publish: Vec<PublishPort>,
    /// Secret of the workspace's that becomes a variable, of its own name or another; may be given several times
    #[arg(long, value_name = "NAME[=ENV_VAR]")]
    secret_env: Vec<String>,
    /// Program and arguments; no shell is involved
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

/// What makes it ready; nothing: that it runs.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct ReadyArguments {
    /// It is ready when there is something at this path
    #[arg(long = "ready-file", value_name = "PATH")]
    file: Option<String>,
    /// It is ready when it accepts connections at this port
    #[arg(long = "ready-tcp", value_name = "[HOST:]PORT")]
    tcp: Option<String>,
    /// It is ready when this address answers with a status of 200 to 399
    #[arg(long = "ready-http", value_name = "URL")]
    http: Option<String>,
    /// It is ready when this line of shell succeeds
    #[arg(long = "ready-command", value_name = "LINE")]
    line: Option<String>,
}

impl ReadyArguments {
    fn readiness(self) -> Option<ServiceReadiness> {
        let Self { file, tcp, http, line } = self;
        file.map(ServiceReadiness::File)
            .or_else(|| tcp.map(ServiceReadiness::Tcp))
            .or_else(|| http.map(ServiceReadiness::Http))
            .or_else(|| line.map(ServiceReadiness::Command))
    }
}

impl Arguments {
    pub fn json(&self) -> bool {
        match &self.command {
            Command::Start(StartArguments { service, .. })
            | Command::Status(service)
            | Command::Logs { service, .. }
            | Command::Stop(service) => service.json,
            Command::List { json, .. } => *json,
        }
    }
}

pub async fn run(arguments: Arguments, printer: Printer) -> Result<u8> {
    match arguments.command {
        Command::Start(arguments) => {
            let cwd = WorkspacePath::parse(&arguments.cwd).map_err(PyroError::from)?;
            let Service { id, name, .. } = arguments.service;
            let request = StartService {
                cwd,
                readiness: arguments.ready.readiness(),
                ready_timeout_seconds: arguments.ready_timeout_seconds,
                ready_interval_ms: arguments.ready_interval_ms,
                publish: arguments.publish,
                secret_env: input::secret_env(&arguments.secret_env)?,
                ..StartService::new(name, arguments.command)
            };
            let started = super::pyro()?.start_service(&id, request).await?;
            printer.data(&started, |started| {
                format!("{} is ready\n{}", started.service_name, published(&started.published_ports))
            })?;
        }
        Command::List { id, .. } => {
            printer.data(&super::pyro()?.list_services(&id).await?, list_text)?;
        }
        Command::Status(Service { id, name, .. }) => {
            printer.data(&super::pyro()?.status_service(&id, &name).await?, status_text)?;
        }
        Command::Logs { service: Service { id, name, .. }, tail_lines, all } => {
            let tail = (!all).then_some(tail_lines);
            let logs = super::pyro()?.logs_service(&id, &name, tail).await?;
            if printer.json() {
                printer.data(&logs, |_| String::new())?;
            } else {
                let ServiceLogs { stdout, stderr, .. } = logs;
                write_out(&stdout)?;
                write_out(&stderr)?;
            }
        }
        Command::Stop(Service { id, name, .. }) => {
            let stopped = super::pyro()?.stop_service(&id, &name).await?;
            printer.data(&stopped, |stopped| format!("{} is {}\n", stopped.service_name, stopped.state))?;
        }
    }
    Ok(0)
}

fn published(ports: &[PublishedPort]) -> String {
    ports.iter().flat_map(|port| ["published ".to_owned(), port.to_string(), "\n".to_owned()]).collect()
}

fn state(service: &ServiceInfo) -> String {
    match service.exit_code {
        Some(exit_code) => format!("{} ({exit_code})", service.state),
        None => service.state.clone(),
    }
}

fn list_text(list: &ServiceList) -> String {
    if list.services.is_empty() {
        return "no services\n".to_owned();
    }
    let row = |service: &ServiceInfo| {
        let started = service.started_at.map_or_else(String::new, |at| ago(at.as_second()));
        let ports: Vec<_> = service.published_ports.iter().map(ToString::to_string).collect();
        let ports = if ports.is_empty() { "-".to_owned() } else { ports.join(", ") };
        [service.service_name.clone(), state(service), started, ports, shell_words(&service.command)]
    };
    let rows: Vec<_> = list.services.iter().map(row).collect();
    table(["NAME", "STATE", "STARTED", "PUBLISHED", "COMMAND"], &rows)
}

fn status_text(service: &ServiceInfo) -> String {
    let mut lines = vec![
        format!("service:   {}", service.service_name),
        format!("state:     {}", state(service)),
        format!("command:   {}", shell_words(&service.command)),
        format!("directory: {}", visible(&service.cwd)),
    ];
    lines.extend(service.published_ports.iter().map(|port| format!("published: {port}")));
    if let Some(readiness) = &service.readiness {
        lines.push(format!("readiness: {}", visible(readiness)));
    }
    let times = [("started", service.started_at), ("ready", service.ready_at), ("ended", service.ended_at)];
    for (what, at) in times {
        if let Some(at) = at {
            lines.push(format!("{:<10} {}", format!("{what}:"), ago(at.as_second())));
        }
    }
    if let Some(reason) = &service.reason {
        lines.push(format!("reason:    {}", visible(reason)));
    }
    lines.join("\n") + "\n"
}
