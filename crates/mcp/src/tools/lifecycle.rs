//! Workspaces from one state to another, and what is known of them.

use super::arguments::{self, InWorkspace, Nothing, workspace};
use super::budget::{self, Listing};
use crate::{Failure, Server};
use pyro::network::{NamePattern, NetworkPolicy, NetworkRules};
use pyro::workspace::{
    CreateWorkspace, NewSecret, SecretName, SecretSource, SnapshotName, WorkspaceDeleted, WorkspaceDiff,
    WorkspaceList, WorkspaceLogs, WorkspaceResetResult, WorkspaceStatus, WorkspaceSummary, WorkspaceUpdate,
};
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CreateArguments {
    /// Environment to work in, such as debian:12 (Git), debian:12-base (core tools), debian:12-build (compilers, Python).
    environment: Option<String>,
    /// Virtual CPUs.
    #[serde(default = "arguments::vcpu_count")]
    vcpu_count: u32,
    /// Guest memory in MiB.
    #[serde(default = "arguments::mem_mib")]
    mem_mib: u32,
    /// The workspace is gone after so many seconds, counted from now; a day at most.
    #[serde(default = "arguments::workspace_ttl_seconds")]
    ttl_seconds: u64,
    /// What the guest may reach: off (nothing), egress (the internet, but not the host's own networks), or
    /// egress+published-ports (that, and its services may be published on 127.0.0.1 of the host).
    #[serde(default)]
    network_policy: NetworkPolicy,
    /// With a network: reach only these hosts; *.example.org stands for all names below example.org. Empty: every host.
    #[serde(default)]
    allow_hosts: Vec<String>,
    /// Where no guest can run, run on the user's own machine WITHOUT ANY ISOLATION. Only when the user has asked for that.
    #[serde(default)]
    allow_host_compat: bool,
    /// Directory or .tar, .tar.gz, .tgz archive on the user's machine to fill /workspace with, whole.
    seed_path: Option<PathBuf>,
    /// A name to find it again by.
    name: Option<String>,
    /// Labels, as {"task": "login-bug"}.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// What commands may be given with secret_env, and is shown nowhere.
    #[serde(default)]
    secrets: Vec<SecretArgument>,
}

/// A secret: its value, or the file on the user's machine that holds it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct SecretArgument {
    /// Its name, as secret_env takes it.
    name: String,
    /// Its value.
    value: Option<String>,
    /// Path of a file on the user's machine that holds the value, 64 KiB at most. Better than a value: nobody sees it.
    file_path: Option<PathBuf>,
}

impl SecretArgument {
    fn into_secret(self) -> Result<NewSecret, Failure> {
        let name = SecretName::parse(&self.name)?;
        let source = match (self.value, self.file_path) {
            (Some(value), None) => SecretSource::Literal(value.into()),
            (None, Some(path)) => SecretSource::File(path),
            _ => {
                let message = format!("the secret `{name}` has no value, or two");
                return Err(Failure::invalid(message, "give it either `value` or `file_path`"));
            }
        };
        Ok(NewSecret { name, source })
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UpdateArguments {
    /// Id of the workspace.
    workspace_id: String,
    /// The new name.
    name: Option<String>,
    /// Take the name away.
    #[serde(default)]
    clear_name: bool,
    /// Labels to add, or to give another value.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Keys of labels to take away.
    #[serde(default)]
    clear_labels: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ResetArguments {
    /// Id of the workspace.
    workspace_id: String,
    /// Snapshot to go back to; baseline is the state at creation.
    #[serde(default = "arguments::baseline")]
    snapshot: String,
}

fn rules(policy: NetworkPolicy, hosts: &[String]) -> Result<NetworkRules, Failure> {
    let pattern = |host: &String| {
        host.parse::<NamePattern>().map_err(|error| {
            Failure::invalid(error.to_string(), "give names of hosts, such as example.org or *.debian.org")
        })
    };
    Ok(NetworkRules { policy, allow_hosts: hosts.iter().map(pattern).collect::<Result<_, _>>()? })
}

#[tool_router(router = lifecycle_tools, vis = "pub(crate)")]
impl Server {
    #[tool(
        description = "Create a workspace: a disposable Linux microVM with the project's files in /workspace, which stays until it is deleted or its time to live passes. Returns its workspace_id, which every other workspace tool needs. Nothing done in it reaches the user's own files.",
        annotations(
            title = "Create a workspace",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn workspace_create(
        &self,
        Parameters(arguments): Parameters<CreateArguments>,
    ) -> Result<Json<WorkspaceStatus>, Failure> {
        let request = CreateWorkspace {
            environment: self.environment(arguments.environment),
            vcpu_count: arguments.vcpu_count,
            mem_mib: arguments.mem_mib,
            ttl_seconds: arguments.ttl_seconds,
            network: rules(arguments.network_policy, &arguments.allow_hosts)?,
            allow_host_compat: arguments.allow_host_compat,
            seed_path: arguments.seed_path,
            project: self.project.clone(),
            name: arguments.name,
            labels: arguments.labels,
            secrets: arguments
                .secrets
                .into_iter()
                .map(SecretArgument::into_secret)
                .collect::<Result<_, _>>()?,
        };
        Ok(Json(self.pyro.create_workspace(request).await?))
    }

    #[tool(
        description = "List all workspaces, the most recently active first: id, name, labels, environment, state, expiry, services.",
        annotations(title = "List workspaces", read_only_hint = true, open_world_hint = false)
    )]
    async fn workspace_list(&self, _: Parameters<Nothing>) -> Result<Json<WorkspaceList>, Failure> {
        Ok(Json(self.pyro.list_workspaces().await?))
    }

    #[tool(
        description = "Give a workspace another name, or add, change and remove labels.",
        annotations(
            title = "Rename or label a workspace",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn workspace_update(
        &self,
        Parameters(arguments): Parameters<UpdateArguments>,
    ) -> Result<Json<WorkspaceStatus>, Failure> {
        let UpdateArguments { workspace_id, name, clear_name, labels, clear_labels } = arguments;
        let update = WorkspaceUpdate { name, clear_name, labels, clear_labels };
        Ok(Json(self.pyro.update_workspace(&workspace(&workspace_id), update).await?))
    }

    #[tool(
        description = "Show a workspace as it stands: state, expiry, how /workspace began, services, resets, snapshots, what the network refused.",
        annotations(title = "Status of a workspace", read_only_hint = true, open_world_hint = false)
    )]
    async fn workspace_status(
        &self,
        Parameters(arguments): Parameters<InWorkspace>,
    ) -> Result<Json<WorkspaceStatus>, Failure> {
        Ok(Json(self.pyro.status_workspace(&workspace(&arguments.workspace_id)).await?))
    }

    #[tool(
        description = "Start a stopped workspace again, from the disk that it was stopped with. Processes, shells and services do not come back.",
        annotations(
            title = "Start a workspace",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn workspace_start(
        &self,
        Parameters(arguments): Parameters<InWorkspace>,
    ) -> Result<Json<WorkspaceStatus>, Failure> {
        Ok(Json(self.pyro.start_workspace(&workspace(&arguments.workspace_id)).await?))
    }

    #[tool(
        description = "Stop a workspace: its files, snapshots and journal are kept, its processes, shells and services end.",
        annotations(
            title = "Stop a workspace",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = false,
            open_world_hint = false
        )
    )]
    async fn workspace_stop(
        &self,
        Parameters(arguments): Parameters<InWorkspace>,
    ) -> Result<Json<WorkspaceStatus>, Failure> {
        Ok(Json(self.pyro.stop_workspace(&workspace(&arguments.workspace_id)).await?))
    }

    #[tool(
        description = "Delete a workspace with everything in it. Export first what is to be kept.",
        annotations(
            title = "Delete a workspace",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = false,
            open_world_hint = false
        )
    )]
    async fn workspace_delete(
        &self,
        Parameters(arguments): Parameters<InWorkspace>,
    ) -> Result<Json<WorkspaceDeleted>, Failure> {
        Ok(Json(self.pyro.delete_workspace(&workspace(&arguments.workspace_id)).await?))
    }

    #[tool(
        description = "Take a workspace back to its baseline, or to a snapshot: the whole machine, not only /workspace. The normal way to try again; it takes a fraction of a second. Clears journal, shells and services; id, name, labels and snapshots stay.",
        annotations(
            title = "Reset a workspace",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn workspace_reset(
        &self,
        Parameters(arguments): Parameters<ResetArguments>,
    ) -> Result<Json<WorkspaceResetResult>, Failure> {
        let snapshot = SnapshotName::parse(&arguments.snapshot)?;
        Ok(Json(self.pyro.reset_workspace(&workspace(&arguments.workspace_id), &snapshot).await?))
    }

    #[tool(
        description = "Show every command that ran in a workspace since its last reset, with exit code, duration and output; long outputs are shortened.",
        annotations(title = "Journal of a workspace", read_only_hint = true, open_world_hint = false)
    )]
    async fn workspace_logs(
        &self,
        Parameters(arguments): Parameters<InWorkspace>,
    ) -> Result<Json<WorkspaceLogs>, Failure> {
        Ok(Json(budget::logs(self.pyro.logs_workspace(&workspace(&arguments.workspace_id)).await?)))
    }

    #[tool(
        description = "Sum up what happened in a workspace since its last reset: commands and failures, edits, changes against the baseline, services, exports, snapshots, and a line about the outcome. Good for a report or a pull request.",
        annotations(title = "Summary of a workspace", read_only_hint = true, open_world_hint = false)
    )]
    async fn workspace_summary(
        &self,
        Parameters(arguments): Parameters<InWorkspace>,
    ) -> Result<Json<WorkspaceSummary>, Failure> {
        Ok(Json(self.pyro.summarize_workspace(&workspace(&arguments.workspace_id)).await?))
    }

    #[tool(
        description = "Compare /workspace with its baseline, the state at creation: what was added, modified and deleted, and a unified diff of text files. Empty when nothing has changed.",
        annotations(title = "Diff of a workspace", read_only_hint = true, open_world_hint = false)
    )]
    async fn workspace_diff(
        &self,
        Parameters(arguments): Parameters<InWorkspace>,
    ) -> Result<Json<Listing<WorkspaceDiff>>, Failure> {
        Ok(Json(budget::diff(self.pyro.diff_workspace(&workspace(&arguments.workspace_id)).await?)))
    }
}
