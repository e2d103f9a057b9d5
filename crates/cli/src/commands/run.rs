//! `pyro run`.

use crate::human;
use crate::input::AllowedHosts;
use crate::printer::{Printer, talk};
use crate::settings;
use crate::streaming::streamed;
use anyhow::Result;
use pyro::network::{NetworkPolicy, NetworkRules};
use pyro::vm::{DEFAULT_MEM_MIB, DEFAULT_TIMEOUT_SECONDS, DEFAULT_TTL_SECONDS, DEFAULT_VCPU_COUNT};
use pyro::{OutputMode, RunRequest, RunResult};

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
    /// Connect the machine to the network: outbound, and not to this host's own networks
    #[arg(long)]
    network: bool,
    #[command(flatten)]
    allowed: AllowedHosts,
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
    let policy = if arguments.network { NetworkPolicy::Egress } else { NetworkPolicy::Off };
    let request = RunRequest {
        environment: arguments.environment,
        command: arguments.command,
        vcpu_count: arguments.vcpu_count,
        mem_mib: arguments.mem_mib,
        timeout_seconds: arguments.timeout_seconds,
        ttl_seconds: arguments.ttl_seconds,
        network: NetworkRules { policy, allow_hosts: arguments.allowed.allow_hosts },
        allow_host_compat: arguments.allow_host_compat,
    };
    if printer.json() {
        let result = pyro.run_in_vm(request, OutputMode::Capture).await?;
        printer.data(&result, |_| String::new())?;
        return Ok(result.exit_code);
    }
    let result = streamed(|output| pyro.run_in_vm(request, output)).await?;
    for refused in &result.refused_destinations {
        talk(&format!("[run] refused {}", human::refused(refused)));
    }
    talk(&summary(&result));
    Ok(result.exit_code)
}

fn summary(result: &RunResult) -> String {
    let RunResult { environment, execution_mode, exit_code, duration_ms, timed_out, .. } = result;
    let timed_out = if *timed_out { " timed_out=true" } else { "" };
    format!(
        "[run] environment={environment} execution_mode={} exit_code={exit_code} duration_ms={duration_ms}{timed_out}",
        execution_mode.as_str()
    )
}
