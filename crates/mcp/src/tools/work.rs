//! Commands in workspaces, and what crosses between them and the user's machine.

use super::arguments::{self, CommandLine, SecretVariables, secret_env, workspace};
use super::budget;
use crate::{Failure, Server};
use pyro::OutputMode;
use pyro::workspace::{
    WorkspaceExec, WorkspaceExecResult, WorkspaceExport, WorkspaceExportRequest, WorkspacePath,
    WorkspaceSync, WorkspaceSyncRequest,
};
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;
use std::path::PathBuf;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ExecArguments {
    /// Id of the workspace.
    workspace_id: String,
    /// What to run in /workspace: a line for sh, or a list of program and arguments, which no shell looks at.
    command: CommandLine,
    /// The command is killed after so many seconds; its exit code is then 124.
    #[serde(default = "arguments::timeout_seconds")]
    timeout_seconds: u64,
    /// Secrets of the workspace to set as variables of the command: {"SECRET_NAME": "VARIABLE"}.
    #[serde(default)]
    secret_env: SecretVariables,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SyncArguments {
    /// Id of the workspace.
    workspace_id: String,
    /// Directory or .tar, .tar.gz, .tgz archive on the user's machine.
    source_path: PathBuf,
    /// Directory in the workspace to put its content in.
    #[serde(default = "arguments::root")]
    dest: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ExportArguments {
    /// Id of the workspace.
    workspace_id: String,
    /// File or directory in /workspace.
    path: String,
    /// Path on the user's machine to write it to; there must be nothing yet.
    output_path: PathBuf,
}

#[tool_router(router = work_tools, vis = "pub(crate)")]
impl Server {
    #[tool(
        description = "Run one command in a workspace, in /workspace, and return stdout, stderr and exit code. What it leaves behind (files, installed packages) stays for the next call; its environment variables and directory do not. Output beyond 32 KiB is shortened in the middle: redirect it to a file to read it in parts.",
        annotations(
            title = "Run a command in a workspace",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn workspace_exec(
        &self,
        Parameters(arguments): Parameters<ExecArguments>,
    ) -> Result<Json<WorkspaceExecResult>, Failure> {
        let exec = WorkspaceExec {
            timeout_seconds: arguments.timeout_seconds,
            secret_env: secret_env(&arguments.secret_env)?,
            ..WorkspaceExec::new(arguments.command.into_argv())
        };
        let id = workspace(&arguments.workspace_id);
        Ok(Json(budget::exec(self.pyro.exec_workspace(&id, exec, OutputMode::Capture).await?)))
    }

    #[tool(
        description = "Copy a directory or archive from the user's machine into a workspace, over what is there. Not atomic: reset the workspace when it fails.",
        annotations(
            title = "Copy files into a workspace",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn workspace_sync_push(
        &self,
        Parameters(arguments): Parameters<SyncArguments>,
    ) -> Result<Json<WorkspaceSync>, Failure> {
        let dest = WorkspacePath::parse(&arguments.dest)?;
        let request = WorkspaceSyncRequest { source_path: arguments.source_path, dest };
        Ok(Json(self.pyro.push_workspace_sync(&workspace(&arguments.workspace_id), request).await?))
    }

    #[tool(
        description = "Copy a file or directory from /workspace to the user's machine, to a path where nothing is yet. The only way in which files leave a workspace: ask the user where to put them.",
        annotations(
            title = "Export from a workspace",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn workspace_export(
        &self,
        Parameters(arguments): Parameters<ExportArguments>,
    ) -> Result<Json<WorkspaceExport>, Failure> {
        let path = WorkspacePath::parse(&arguments.path)?;
        let request = WorkspaceExportRequest { path, output_path: arguments.output_path };
        Ok(Json(self.pyro.export_workspace(&workspace(&arguments.workspace_id), request).await?))
    }
}
