//! One-shot machines.

use super::arguments::CommandLine;
use super::arguments::{self, Nothing};
use super::budget;
use super::environment::Environments;
use crate::{Failure, Server};
use pyro::network::{NetworkPolicy, NetworkRules};
use pyro::{CreateVm, NetworkInfo, OutputMode, Reaped, RunRequest, RunResult, VmExec, VmId, VmStatus};
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RunArguments {
    /// Environment to run in, such as debian:12, debian:12-base, debian:12-build.
    environment: Option<String>,
    /// What to run: a line for sh, or a list of program and arguments, which no shell looks at.
    command: CommandLine,
    /// Virtual CPUs.
    #[serde(default = "arguments::vcpu_count")]
    vcpu_count: u32,
    /// Guest memory in MiB.
    #[serde(default = "arguments::mem_mib")]
    mem_mib: u32,
    /// The command is killed after so many seconds; its exit code is then 124.
    #[serde(default = "arguments::timeout_seconds")]
    timeout_seconds: u64,
    /// The guest is gone after so many seconds, whatever it does.
    #[serde(default = "arguments::vm_ttl_seconds")]
    ttl_seconds: u64,
    /// Let the guest reach the internet. The host's own networks stay out of reach.
    #[serde(default)]
    network: bool,
    /// Where no guest can run, run on the user's own machine WITHOUT ANY ISOLATION. Only when the user has asked for that.
    #[serde(default)]
    allow_host_compat: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CreateArguments {
    /// Environment to run in, such as debian:12, debian:12-base, debian:12-build.
    environment: Option<String>,
    /// Virtual CPUs.
    #[serde(default = "arguments::vcpu_count")]
    vcpu_count: u32,
    /// Guest memory in MiB.
    #[serde(default = "arguments::mem_mib")]
    mem_mib: u32,
    /// The guest is gone after so many seconds, whatever it does.
    #[serde(default = "arguments::vm_ttl_seconds")]
    ttl_seconds: u64,
    /// Let the guest reach the internet. The host's own networks stay out of reach.
    #[serde(default)]
    network: bool,
    /// Where no guest can run, run on the user's own machine WITHOUT ANY ISOLATION. Only when the user has asked for that.
    #[serde(default)]
    allow_host_compat: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ExecArguments {
    /// Id of the machine, as `vm_create` gives it.
    vm_id: String,
    /// What to run: a line for sh, or a list of program and arguments, which no shell looks at.
    command: CommandLine,
    /// The command is killed after so many seconds; its exit code is then 124.
    #[serde(default = "arguments::timeout_seconds")]
    timeout_seconds: u64,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct InVm {
    /// Id of the machine, as `vm_create` gives it.
    vm_id: String,
}

/// A machine that is gone.
#[derive(Serialize, JsonSchema)]
struct VmDeleted {
    /// Which.
    vm_id: VmId,
    /// It is gone.
    deleted: bool,
}

/// What a guest with or without a network may reach.
fn rules(network: bool) -> NetworkRules {
    let policy = if network { NetworkPolicy::Egress } else { NetworkPolicy::Off };
    NetworkRules { policy, ..NetworkRules::default() }
}

#[tool_router(router = vm_tools, vis = "pub(crate)")]
impl Server {
    #[tool(
        description = "Run one command in a fresh Linux microVM and return its output and exit code; the machine and everything it did are gone afterwards. Nothing of the user's files is in there. For work that goes on over several calls use a workspace.",
        annotations(
            title = "Run a command in a throwaway microVM",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn vm_run(
        &self,
        Parameters(arguments): Parameters<RunArguments>,
    ) -> Result<Json<RunResult>, Failure> {
        let request = RunRequest {
            environment: self.environment(arguments.environment),
            command: arguments.command.into_argv(),
            vcpu_count: arguments.vcpu_count,
            mem_mib: arguments.mem_mib,
            timeout_seconds: arguments.timeout_seconds,
            ttl_seconds: arguments.ttl_seconds,
            network: rules(arguments.network),
            allow_host_compat: arguments.allow_host_compat,
        };
        Ok(Json(budget::run(self.pyro.run_in_vm(request, OutputMode::Capture).await?)))
    }

    #[tool(
        description = "List the environments that machines and workspaces can be created from, and which are installed. One that is not installed is installed on first use, which takes minutes.",
        annotations(title = "List environments", read_only_hint = true, open_world_hint = false)
    )]
    async fn vm_list_environments(&self, _: Parameters<Nothing>) -> Result<Json<Environments>, Failure> {
        Ok(Json(self.pyro.list_environments().await?.into()))
    }

    #[tool(
        description = "Create a one-shot machine for exactly one command, without starting it. Start it with vm_start, run the command with vm_exec. vm_run does all of that in one call.",
        annotations(
            title = "Create a one-shot microVM",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = false
        )
    )]
    async fn vm_create(
        &self,
        Parameters(arguments): Parameters<CreateArguments>,
    ) -> Result<Json<VmStatus>, Failure> {
        let request = CreateVm {
            environment: self.environment(arguments.environment),
            vcpu_count: arguments.vcpu_count,
            mem_mib: arguments.mem_mib,
            ttl_seconds: arguments.ttl_seconds,
            network: rules(arguments.network),
            allow_host_compat: arguments.allow_host_compat,
        };
        Ok(Json(self.pyro.create_vm(request).await?))
    }

    #[tool(
        description = "Start a machine that vm_create made.",
        annotations(
            title = "Start a one-shot microVM",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn vm_start(&self, Parameters(arguments): Parameters<InVm>) -> Result<Json<VmStatus>, Failure> {
        Ok(Json(self.pyro.start_vm(&VmId::parse(&arguments.vm_id)).await?))
    }

    #[tool(
        description = "Run the one command of a started machine and return its output and exit code. The machine is gone afterwards.",
        annotations(
            title = "Run a one-shot microVM's command",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn vm_exec(
        &self,
        Parameters(arguments): Parameters<ExecArguments>,
    ) -> Result<Json<RunResult>, Failure> {
        let ExecArguments { vm_id, command, timeout_seconds } = arguments;
        let exec = VmExec { command: command.into_argv(), timeout_seconds };
        Ok(Json(budget::run(self.pyro.exec_vm(&VmId::parse(&vm_id), exec, OutputMode::Capture).await?)))
    }

    #[tool(
        description = "End a started machine at once, without running anything in it. Only vm_delete is left for it then.",
        annotations(
            title = "Stop a one-shot microVM",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = false,
            open_world_hint = false
        )
    )]
    async fn vm_stop(&self, Parameters(arguments): Parameters<InVm>) -> Result<Json<VmStatus>, Failure> {
        Ok(Json(self.pyro.stop_vm(&VmId::parse(&arguments.vm_id)).await?))
    }

    #[tool(
        description = "Remove a machine that vm_create made, with all its files, whatever state it is in.",
        annotations(
            title = "Delete a one-shot microVM",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn vm_delete(&self, Parameters(arguments): Parameters<InVm>) -> Result<Json<VmDeleted>, Failure> {
        let vm_id = VmId::parse(&arguments.vm_id);
        self.pyro.delete_vm(&vm_id).await?;
        Ok(Json(VmDeleted { vm_id, deleted: true }))
    }

    #[tool(
        description = "Say where a machine that vm_create made is in its life, and when it will be gone.",
        annotations(title = "Status of a one-shot microVM", read_only_hint = true, open_world_hint = false)
    )]
    async fn vm_status(&self, Parameters(arguments): Parameters<InVm>) -> Result<Json<VmStatus>, Failure> {
        Ok(Json(self.pyro.status_vm(&VmId::parse(&arguments.vm_id)).await?))
    }

    #[tool(
        description = "Say how a machine that vm_create made is connected: policy, interfaces, traffic, and what it was refused.",
        annotations(title = "Network of a one-shot microVM", read_only_hint = true, open_world_hint = false)
    )]
    async fn vm_network_info(
        &self,
        Parameters(arguments): Parameters<InVm>,
    ) -> Result<Json<NetworkInfo>, Failure> {
        Ok(Json(self.pyro.network_info_vm(&VmId::parse(&arguments.vm_id)).await?))
    }

    #[tool(
        description = "Remove the machines of vm_create whose time to live has passed. It happens by itself, too.",
        annotations(
            title = "Remove expired microVMs",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn vm_reap_expired(&self, _: Parameters<Nothing>) -> Result<Json<Reaped>, Failure> {
        Ok(Json(self.pyro.reap_expired().await?))
    }
}
