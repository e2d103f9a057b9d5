//! Snapshots of workspaces.

use super::arguments::{InWorkspace, workspace};
use crate::{Failure, Server};
use pyro::workspace::{SnapshotDeleted, SnapshotInfo, SnapshotList, SnapshotName};
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SnapshotArguments {
    /// Id of the workspace.
    workspace_id: String,
    /// Name of the snapshot: letters, digits, `.`, `_` and `-`.
    snapshot_name: String,
}

#[tool_router(router = snapshot_tools, vis = "pub(crate)")]
impl Server {
    #[tool(
        description = "Keep the present state of a workspace's disk under a name, for workspace_reset to go back to.",
        annotations(
            title = "Take a snapshot",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = false
        )
    )]
    async fn snapshot_create(
        &self,
        Parameters(arguments): Parameters<SnapshotArguments>,
    ) -> Result<Json<SnapshotInfo>, Failure> {
        let name = SnapshotName::parse(&arguments.snapshot_name)?;
        Ok(Json(self.pyro.create_snapshot(&workspace(&arguments.workspace_id), &name).await?))
    }

    #[tool(
        description = "List the snapshots of a workspace; baseline, its state at creation, is always among them.",
        annotations(title = "List snapshots", read_only_hint = true, open_world_hint = false)
    )]
    async fn snapshot_list(
        &self,
        Parameters(arguments): Parameters<InWorkspace>,
    ) -> Result<Json<SnapshotList>, Failure> {
        Ok(Json(self.pyro.list_snapshots(&workspace(&arguments.workspace_id)).await?))
    }

    #[tool(
        description = "Delete a snapshot of a workspace. The baseline cannot be deleted.",
        annotations(
            title = "Delete a snapshot",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = false,
            open_world_hint = false
        )
    )]
    async fn snapshot_delete(
        &self,
        Parameters(arguments): Parameters<SnapshotArguments>,
    ) -> Result<Json<SnapshotDeleted>, Failure> {
        let name = SnapshotName::parse(&arguments.snapshot_name)?;
        Ok(Json(self.pyro.delete_snapshot(&workspace(&arguments.workspace_id), &name).await?))
    }
}
