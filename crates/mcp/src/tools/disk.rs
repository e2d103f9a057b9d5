//! Disks of stopped workspaces.

use super::arguments::{self, workspace};
use super::budget::{self, Listing};
use crate::{Failure, Server};
use pyro::workspace::{DiskPath, WorkspaceDiskExport, WorkspaceFile, WorkspaceFileList};
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;
use std::path::PathBuf;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListArguments {
    /// Id of a stopped workspace.
    workspace_id: String,
    /// Directory, absolute: anywhere in the machine, not only in /workspace.
    #[serde(default = "arguments::root")]
    path: String,
    /// Everything below it as well.
    #[serde(default)]
    recursive: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReadArguments {
    /// Id of a stopped workspace.
    workspace_id: String,
    /// File, absolute: anywhere in the machine, not only in /workspace.
    path: String,
    /// Bytes to read at most, up to 1 MiB.
    #[serde(default = "arguments::read_bytes")]
    max_bytes: u64,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ExportArguments {
    /// Id of a stopped workspace.
    workspace_id: String,
    /// Path on the user's machine to write the image to; there must be nothing yet.
    output_path: PathBuf,
}

#[tool_router(router = disk_tools, vis = "pub(crate)")]
impl Server {
    #[tool(
        description = "List a directory on the disk of a stopped workspace, anywhere in its machine, without starting it.",
        annotations(
            title = "List the disk of a stopped workspace",
            read_only_hint = true,
            open_world_hint = false
        )
    )]
    async fn workspace_disk_list(
        &self,
        Parameters(arguments): Parameters<ListArguments>,
    ) -> Result<Json<Listing<WorkspaceFileList>>, Failure> {
        let (id, path) = (workspace(&arguments.workspace_id), DiskPath::parse(&arguments.path)?);
        Ok(Json(budget::list(self.pyro.list_workspace_disk(&id, &path, arguments.recursive).await?)))
    }

    #[tool(
        description = "Read a UTF-8 text file on the disk of a stopped workspace, anywhere in its machine, without starting it.",
        annotations(
            title = "Read the disk of a stopped workspace",
            read_only_hint = true,
            open_world_hint = false
        )
    )]
    async fn workspace_disk_read(
        &self,
        Parameters(arguments): Parameters<ReadArguments>,
    ) -> Result<Json<WorkspaceFile>, Failure> {
        let (id, path) = (workspace(&arguments.workspace_id), DiskPath::parse(&arguments.path)?);
        Ok(Json(self.pyro.read_workspace_disk(&id, &path, arguments.max_bytes).await?))
    }

    #[tool(
        description = "Write the whole root file system of a stopped workspace to the user's machine, as one raw ext4 image. It is large: ask the user where to put it.",
        annotations(
            title = "Export the disk of a stopped workspace",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn workspace_disk_export(
        &self,
        Parameters(arguments): Parameters<ExportArguments>,
    ) -> Result<Json<WorkspaceDiskExport>, Failure> {
        let id = workspace(&arguments.workspace_id);
        Ok(Json(self.pyro.export_workspace_disk(&id, &arguments.output_path).await?))
    }
}
