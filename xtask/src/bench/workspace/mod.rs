//! Workspaces, as an agent uses them: through the SDK, with supervisors that are the release binary.

mod list;
mod live;
mod mcp;
mod network;
mod seeds;
mod steps;
mod tree;

use super::machine;
use super::plan::{Figure, Plan};
use super::series::{Collected, Series};
use anyhow::{Context, Result, bail};
use pyro::workspace::{CreateWorkspace, WorkspaceExec, WorkspaceId, WorkspaceStatus};
use pyro::{OutputMode, Pyro, StartKind};
use std::path::{Path, PathBuf};
use steps::Steps;

/// How long a workspace of a benchmark lives at most.
const TTL_SECONDS: u64 = 3600;
/// How long its commands may take.
const TIMEOUT_SECONDS: u64 = 300;

/// Measures the figures of workspaces that the plan names.
pub async fn measure(binary: &Path, pyro: &Pyro, plan: &Plan) -> Result<Vec<Series>> {
    let mut measured = Vec::new();
    if plan.has(Figure::Workspace) {
        let mut floor = Series::times("floor, beside workspaces");
        let mut steps = Steps::new()?;
        for _ in 0..plan.runs() {
            floor.push_time(machine::floor(pyro).await?);
            steps.measure(pyro).await?;
        }
        let steps = steps.into_series(&floor);
        measured.push(floor);
        measured.extend(steps);
    }
    let mut floor = Series::times("floor, beside live workspaces");
    let mut live = Collected::new("workspace");
    let mut network = Collected::new("network");
    if plan.has(Figure::WorkspaceLive) || plan.has(Figure::Network) {
        for _ in 0..plan.runs() {
            floor.push_time(machine::floor(pyro).await?);
            if plan.has(Figure::WorkspaceLive) {
                live::measure(pyro, &mut live).await?;
            }
            if plan.has(Figure::Network) {
                network::measure(pyro, &mut network).await?;
            }
        }
        measured.extend(live.into_series(&floor));
        measured.extend(network.into_series(&floor));
        measured.push(floor);
    }
    if plan.has(Figure::Mcp) {
        let mut floor = Series::times("floor, beside the MCP server");
        let mut served = Collected::new("mcp");
        for _ in 0..plan.runs() {
            floor.push_time(machine::floor(pyro).await?);
            mcp::measure(binary, &mut served)?;
        }
        measured.extend(served.into_series(&floor));
        measured.push(floor);
    }
    if plan.has(Figure::WorkspaceDiff) {
        measured.extend(tree::measure(pyro, plan.runs()).await?);
    }
    if plan.has(Figure::WorkspaceList) {
        measured.extend(list::measure(binary, pyro, plan.runs()).await?);
    }
    Ok(measured)
}

/// Creates a workspace of the default shape. Fails when its guest did not come up from its template.
async fn create(pyro: &Pyro, seed_path: Option<PathBuf>) -> Result<WorkspaceStatus> {
    create_with(pyro, CreateWorkspace { seed_path, ..CreateWorkspace::new(super::ENVIRONMENT) }).await
}

/// The same as `request` says, but for how long it lives.
async fn create_with(pyro: &Pyro, request: CreateWorkspace) -> Result<WorkspaceStatus> {
    let request = CreateWorkspace { ttl_seconds: TTL_SECONDS, ..request };
    let created = pyro.create_workspace(request).await?;
    if created.start != Some(StartKind::Warm) {
        let why = created.cold_start_reason.unwrap_or_else(|| "this engine has no templates".to_owned());
        bail!("the guest of a workspace booted its kernel: {why}");
    }
    Ok(created)
}

/// Runs a shell's command that is to succeed.
async fn shell(pyro: &Pyro, id: &WorkspaceId, script: &str) -> Result<()> {
    output(pyro, id, script).await.map(drop)
}

/// The same, for what it prints.
async fn output(pyro: &Pyro, id: &WorkspaceId, script: &str) -> Result<String> {
    let command = ["sh", "-c", script].map(ToOwned::to_owned).to_vec();
    let exec = WorkspaceExec { timeout_seconds: TIMEOUT_SECONDS, ..WorkspaceExec::new(command) };
    let result = pyro.exec_workspace(id, exec, OutputMode::Capture).await?;
    if result.exit_code != 0 {
        bail!("`{script}` in a workspace ended with {}: {}", result.exit_code, result.stderr);
    }
    Ok(result.stdout)
}

/// The process that has the lock of a workspace's supervisor.
fn supervisor_pid(pyro: &Pyro, id: &WorkspaceId) -> Result<u32> {
    let file = pyro.dirs().data().join("workspaces").join(id.as_str()).join("alive");
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(text.trim().parse()?)
}
