//! Services of workspaces.

use super::arguments::{self, CommandLine, InWorkspace, SecretVariables, secret_env, workspace};
use crate::{Failure, Server};
use pyro::workspace::{
    PublishPort, ServiceInfo, ServiceList, ServiceLogs, ServiceReadiness, StartService, WorkspacePath,
};
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct StartArguments {
    /// Id of the workspace.
    workspace_id: String,
    /// Name of the service: letters, digits, `.`, `_` and `-`.
    service_name: String,
    /// What to run: a line for sh, or a list of program and arguments, which no shell looks at. It must stay in the foreground.
    command: CommandLine,
    /// Directory to run it in.
    #[serde(default = "arguments::root")]
    cwd: String,
    /// What makes it ready. Without it, it is ready when it has run for a moment.
    readiness: Option<ReadinessArgument>,
    /// It is ended when it is not ready after so many seconds.
    #[serde(default = "arguments::ready_timeout_seconds")]
    ready_timeout_seconds: u64,
    /// Milliseconds between two looks at whether it is ready.
    #[serde(default = "arguments::ready_interval_ms")]
    ready_interval_ms: u64,
    /// Secrets of the workspace to set as variables of the service: {"SECRET_NAME": "VARIABLE"}.
    #[serde(default)]
    secret_env: SecretVariables,
    /// Ports to publish on 127.0.0.1 of the user's machine, for as long as the service runs. The workspace needs the network
    /// policy egress+published-ports.
    #[serde(default)]
    published_ports: Vec<PortArgument>,
}

/// A readiness probe: exactly one of these.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct ReadinessArgument {
    /// Path that exists once it is ready.
    file: Option<String>,
    /// PORT or HOST:PORT that accepts connections once it is ready.
    tcp: Option<String>,
    /// http:// address that answers with a status of 200 to 399 once it is ready.
    http: Option<String>,
    /// Line of shell that succeeds once it is ready.
    command: Option<String>,
}

/// A port to publish.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct PortArgument {
    /// Port in the guest.
    #[schemars(range(min = 1))]
    guest_port: u16,
    /// Port on the user's machine; without it a free one is chosen.
    #[schemars(range(min = 1))]
    host_port: Option<u16>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct InService {
    /// Id of the workspace.
    workspace_id: String,
    /// Name of the service.
    service_name: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LogsArguments {
    /// Id of the workspace.
    workspace_id: String,
    /// Name of the service.
    service_name: String,
    /// Last lines of each output to return.
    #[serde(default = "arguments::tail_lines")]
    tail_lines: u64,
}

impl ReadinessArgument {
    fn into_readiness(self) -> Result<ServiceReadiness, Failure> {
        let Self { file, tcp, http, command } = self;
        let given = [
            file.map(ServiceReadiness::File),
            tcp.map(ServiceReadiness::Tcp),
            http.map(ServiceReadiness::Http),
            command.map(ServiceReadiness::Command),
        ];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(readiness), None) => Ok(readiness),
            _ => Err(Failure::invalid(
                "`readiness` does not say exactly one thing",
                "give it exactly one of `file`, `tcp`, `http` and `command`, or leave it out",
            )),
        }
    }
}

#[tool_router(router = service_tools, vis = "pub(crate)")]
impl Server {
    #[tool(
        description = "Start a program in a workspace that goes on running, such as a web server, and wait until it is ready. When it is not, it is ended, and the result has the end of its log. Other calls reach it at 127.0.0.1 inside the workspace.",
        annotations(
            title = "Start a service",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn service_start(
        &self,
        Parameters(arguments): Parameters<StartArguments>,
    ) -> Result<Json<ServiceInfo>, Failure> {
        let port =
            |port: PortArgument| PublishPort { host_port: port.host_port, guest_port: port.guest_port };
        let request = StartService {
            cwd: WorkspacePath::parse(&arguments.cwd)?,
            readiness: arguments.readiness.map(ReadinessArgument::into_readiness).transpose()?,
            ready_timeout_seconds: arguments.ready_timeout_seconds,
            ready_interval_ms: arguments.ready_interval_ms,
            publish: arguments.published_ports.into_iter().map(port).collect(),
            secret_env: secret_env(&arguments.secret_env)?,
            ..StartService::new(arguments.service_name, arguments.command.into_argv())
        };
        Ok(Json(self.pyro.start_service(&workspace(&arguments.workspace_id), request).await?))
    }

    #[tool(
        description = "List the services of a workspace and how they stand.",
        annotations(title = "List services", read_only_hint = true, open_world_hint = false)
    )]
    async fn service_list(
        &self,
        Parameters(arguments): Parameters<InWorkspace>,
    ) -> Result<Json<ServiceList>, Failure> {
        Ok(Json(self.pyro.list_services(&workspace(&arguments.workspace_id)).await?))
    }

    #[tool(
        description = "Show one service: state, when it was ready, exit code, published ports.",
        annotations(title = "Status of a service", read_only_hint = true, open_world_hint = false)
    )]
    async fn service_status(
        &self,
        Parameters(arguments): Parameters<InService>,
    ) -> Result<Json<ServiceInfo>, Failure> {
        let id = workspace(&arguments.workspace_id);
        Ok(Json(self.pyro.status_service(&id, &arguments.service_name).await?))
    }

    #[tool(
        description = "Read the end of what a service has printed.",
        annotations(title = "Log of a service", read_only_hint = true, open_world_hint = false)
    )]
    async fn service_logs(
        &self,
        Parameters(arguments): Parameters<LogsArguments>,
    ) -> Result<Json<ServiceLogs>, Failure> {
        let id = workspace(&arguments.workspace_id);
        let tail = Some(arguments.tail_lines);
        Ok(Json(self.pyro.logs_service(&id, &arguments.service_name, tail).await?))
    }

    #[tool(
        description = "End a service and everything that it has started.",
        annotations(
            title = "Stop a service",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = false,
            open_world_hint = false
        )
    )]
    async fn service_stop(
        &self,
        Parameters(arguments): Parameters<InService>,
    ) -> Result<Json<ServiceInfo>, Failure> {
        let id = workspace(&arguments.workspace_id);
        Ok(Json(self.pyro.stop_service(&id, &arguments.service_name).await?))
    }
}
