//! `pyro run`.

use crate::printer::{OutputFailed, Printer, talk};
use crate::settings;
use anyhow::Result;
use pyro::vm::{DEFAULT_MEM_MIB, DEFAULT_TIMEOUT_SECONDS, DEFAULT_TTL_SECONDS, DEFAULT_VCPU_COUNT};
use pyro::{OutputChunk, OutputMode, RunRequest, RunResult};
use tokio::io::{AsyncWriteExt, stderr, stdout};
use tokio::sync::mpsc;

/// Pieces of output on their way to the terminal: enough to keep both ends busy, little enough to hold in memory.
const PIECES_UNDERWAY: usize = 16;

/// Run one command in a machine of its own, which is gone afterwards
///
/// What the machine needs is installed on first use. The exit status is the command's own; 124 when it timed out, 125
/// when pyro itself failed, 126 when the command cannot be executed, 127 when it is not found.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Environment, as shown by `pyro env list`
    environment: String,
    /// Virtual CPUs
    #[arg(long, value_name = "N", default_value_t = DEFAULT_VCPU_COUNT)]
    vcpu_count: u32,
    /// Guest memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = DEFAULT_MEM_MIB)]
    mem_mib: u32,
    /// Kill the command after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_TIMEOUT_SECONDS)]
    timeout_seconds: u64,
    /// Remove the machine after so many seconds, whatever it does
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_TTL_SECONDS)]
    ttl_seconds: u64,
    /// Where no guest can run, run on this host instead, WITHOUT ANY ISOLATION
    #[arg(long)]
    allow_host_compat: bool,
    /// Print one JSON document with output, status and timings
    #[arg(long)]
    pub json: bool,
    /// Program and arguments; no shell is involved
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

pub async fn run(arguments: Arguments, printer: Printer) -> Result<u8> {
    let pyro = settings::pyro("run")?;
    let request = RunRequest {
        environment: arguments.environment,
        command: arguments.command,
        vcpu_count: arguments.vcpu_count,
        mem_mib: arguments.mem_mib,
        timeout_seconds: arguments.timeout_seconds,
        ttl_seconds: arguments.ttl_seconds,
        allow_host_compat: arguments.allow_host_compat,
    };
    if printer.json() {
        let result = pyro.run_in_vm(request, OutputMode::Capture).await?;
        printer.data(&result, |_| String::new())?;
        return Ok(result.exit_code);
    }
    let (sender, receiver) = mpsc::channel(PIECES_UNDERWAY);
    // When nobody reads the output any more, the run is dropped and its machine with it.
    let run = async { Ok(pyro.run_in_vm(request, OutputMode::Stream(sender)).await?) };
    let (result, ()) = tokio::try_join!(run, copy(receiver))?;
    talk(&summary(&result));
    Ok(result.exit_code)
}

async fn copy(receiver: mpsc::Receiver<OutputChunk>) -> Result<()> {
    Ok(copy_chunks(receiver).await.map_err(OutputFailed)?)
}

async fn copy_chunks(mut receiver: mpsc::Receiver<OutputChunk>) -> std::io::Result<()> {
    let (mut stdout, mut stderr) = (stdout(), stderr());
    while let Some(chunk) = receiver.recv().await {
        match chunk {
            OutputChunk::Stdout(data) => stdout.write_all(&data).await?,
            OutputChunk::Stderr(data) => stderr.write_all(&data).await?,
        }
        if receiver.is_empty() {
            stdout.flush().await?;
            stderr.flush().await?;
        }
    }
    stdout.flush().await?;
    stderr.flush().await
}

fn summary(result: &RunResult) -> String {
    let RunResult { environment, execution_mode, exit_code, duration_ms, timed_out, .. } = result;
    let timed_out = if *timed_out { " timed_out=true" } else { "" };
    format!(
        "[run] environment={environment} execution_mode={} exit_code={exit_code} duration_ms={duration_ms}{timed_out}",
        execution_mode.as_str()
    )
}
