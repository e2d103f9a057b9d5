//! `pyro workspace exec`.

use crate::human::visible;
use crate::input;
use crate::printer::{Printer, talk};
use crate::streaming::streamed;
use anyhow::Result;
use pyro::OutputMode;
use pyro::vm::DEFAULT_TIMEOUT_SECONDS;
use pyro::workspace::{WorkspaceExec, WorkspaceExecResult, WorkspaceId};

/// Run one command in /workspace of a running workspace
///
/// The exit status is the command's own; 124 when it timed out, 125 when pyro itself failed, 126 when the command cannot be
/// executed, 127 when it is not found. What it printed is kept for `pyro workspace logs`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Workspace, as shown by `pyro workspace list`
    #[arg(value_name = "ID", value_parser = input::workspace_id)]
    id: WorkspaceId,
    /// Kill the command after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_TIMEOUT_SECONDS)]
    timeout_seconds: u64,
    /// Secret of the workspace's that becomes a variable, of its own name or another; may be given several times
    #[arg(long, value_name = "NAME[=ENV_VAR]")]
    secret_env: Vec<String>,
    /// Print one JSON document with output and status
    #[arg(long)]
    pub json: bool,
    /// Program and arguments; no shell is involved
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

pub async fn run(arguments: Arguments, printer: Printer) -> Result<u8> {
    let Arguments { id, timeout_seconds, secret_env, json: _, command } = arguments;
    let secret_env = input::secret_env(&secret_env)?;
    let pyro = super::pyro()?;
    let exec = WorkspaceExec { command, timeout_seconds, secret_env };
    if printer.json() {
        let result = pyro.exec_workspace(&id, exec, OutputMode::Capture).await?;
        printer.data(&result, |_| String::new())?;
        return Ok(result.exit_code);
    }
    let result = streamed(|output| pyro.exec_workspace(&id, exec, output)).await?;
    talk(&outcome(&result));
    Ok(result.exit_code)
}

fn outcome(result: &WorkspaceExecResult) -> String {
    let WorkspaceExecResult { workspace_id, exit_code, duration_ms, timed_out, flush_error, .. } = result;
    let mut line =
        format!("[exec] workspace_id={workspace_id} exit_code={exit_code} duration_ms={duration_ms}");
    if *timed_out {
        line.push_str(" timed_out=true");
    }
    if let Some(error) = flush_error {
        line.push_str(" flushed=false\n[exec] what it wrote may be lost in a crash: ");
        line.push_str(&visible(error));
    }
    line
}
