//! Files of workspaces.

use super::arguments::{self, workspace};
use super::budget::{self, Listing};
use crate::{Failure, Server};
use pyro::workspace::{
    WorkspaceFile, WorkspaceFileList, WorkspaceFileWritten, WorkspacePatched, WorkspacePath,
};
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListArguments {
    /// Id of the workspace.
    workspace_id: String,
    /// Directory, absolute below /workspace or relative to it.
    #[serde(default = "arguments::root")]
    path: String,
    /// Everything below it as well.
    #[serde(default)]
    recursive: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReadArguments {
    /// Id of the workspace.
    workspace_id: String,
    /// File, absolute below /workspace or relative to it.
    path: String,
    /// Bytes to read at most, up to 1 MiB.
    #[serde(default = "arguments::read_bytes")]
    max_bytes: u64,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WriteArguments {
    /// Id of the workspace.
    workspace_id: String,
    /// File, absolute below /workspace or relative to it; directories on the way to it are made.
    path: String,
    /// The whole new content, up to 1 MiB.
    text: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PatchArguments {
    /// Id of the workspace.
    workspace_id: String,
    /// Unified diff with paths relative to /workspace (a/ and b/ before them are fine), up to 1 MiB. It may add, modify and
    /// delete files; /dev/null stands for none.
    patch: String,
}

#[tool_router(router = file_tools, vis = "pub(crate)")]
impl Server {
    #[tool(
        description = "List a directory of a workspace: path, type, size, target of links; sorted.",
        annotations(title = "List files of a workspace", read_only_hint = true, open_world_hint = false)
    )]
    async fn workspace_file_list(
        &self,
        Parameters(arguments): Parameters<ListArguments>,
    ) -> Result<Json<Listing<WorkspaceFileList>>, Failure> {
        let (id, path) = (workspace(&arguments.workspace_id), WorkspacePath::parse(&arguments.path)?);
        Ok(Json(budget::list(self.pyro.list_workspace_files(&id, &path, arguments.recursive).await?)))
    }

    #[tool(
        description = "Read a UTF-8 text file of a workspace, from its beginning.",
        annotations(title = "Read a file of a workspace", read_only_hint = true, open_world_hint = false)
    )]
    async fn workspace_file_read(
        &self,
        Parameters(arguments): Parameters<ReadArguments>,
    ) -> Result<Json<WorkspaceFile>, Failure> {
        let (id, path) = (workspace(&arguments.workspace_id), WorkspacePath::parse(&arguments.path)?);
        Ok(Json(self.pyro.read_workspace_file(&id, &path, arguments.max_bytes).await?))
    }

    #[tool(
        description = "Write a text file of a workspace, whole: it is created or replaced, in one step. For a change to a part of it use workspace_patch_apply.",
        annotations(
            title = "Write a file of a workspace",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn workspace_file_write(
        &self,
        Parameters(arguments): Parameters<WriteArguments>,
    ) -> Result<Json<WorkspaceFileWritten>, Failure> {
        let (id, path) = (workspace(&arguments.workspace_id), WorkspacePath::parse(&arguments.path)?);
        Ok(Json(self.pyro.write_workspace_file(&id, &path, &arguments.text).await?))
    }

    #[tool(
        description = "Apply a unified diff to a workspace: all of it, or nothing when any hunk does not fit. Renames, copies, mode changes and binary patches are refused.",
        annotations(
            title = "Patch files of a workspace",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = false,
            open_world_hint = false
        )
    )]
    async fn workspace_patch_apply(
        &self,
        Parameters(arguments): Parameters<PatchArguments>,
    ) -> Result<Json<WorkspacePatched>, Failure> {
        let id = workspace(&arguments.workspace_id);
        Ok(Json(self.pyro.apply_workspace_patch(&id, &arguments.patch).await?))
    }
}
