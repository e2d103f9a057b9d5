//! `pyro workspace create`.

use super::status::{expiry, seed, standing};
use crate::input::{self, AllowedHosts};
use crate::printer::{Printer, talk, write_out};
use anyhow::Result;
use pyro::network::{NetworkPolicy, NetworkRules};
use pyro::vm::{DEFAULT_MEM_MIB, DEFAULT_VCPU_COUNT};
use pyro::workspace::{CreateWorkspace, DEFAULT_WORKSPACE_TTL_SECONDS, WorkspaceStatus};
use std::path::PathBuf;

/// Create a workspace and start its machine
///
/// What the machine needs is installed on first use. What /workspace holds after the seed is the baseline, which `diff`
/// compares with and `reset` goes back to.
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
    /// Remove the workspace after so many seconds, whatever it does
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_WORKSPACE_TTL_SECONDS)]
    ttl_seconds: u64,
    /// Network policy: off, egress, or egress+published-ports
    #[arg(long, value_name = "POLICY", default_value = NetworkPolicy::Off.as_str())]
    network_policy: String,
    #[command(flatten)]
    allowed: AllowedHosts,
    /// Where no guest can run, run on this host instead, WITHOUT ANY ISOLATION
    #[arg(long)]
    allow_host_compat: bool,
    /// Fill /workspace from a directory, or a .tar, .tar.gz or .tgz archive
    #[arg(long, value_name = "PATH")]
    seed_path: Option<PathBuf>,
    /// Name, for people
    #[arg(long)]
    name: Option<String>,
    /// Label, for programs; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = input::label)]
    labels: Vec<(String, String)>,
    /// Secret, for --secret-env and as a file in /run/pyro-secrets; may be given several times. Other users of this host can see
    /// it in the list of processes while the command runs: prefer --secret-file
    #[arg(long = "secret", value_name = "NAME=VALUE")]
    secrets: Vec<String>,
    /// The same, with what a file holds now, up to 64 KiB; the value is in no list of processes
    #[arg(long = "secret-file", value_name = "NAME=PATH")]
    secret_files: Vec<String>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
    /// Print nothing but the id
    #[arg(long, conflicts_with = "json")]
    id_only: bool,
}

pub async fn run(arguments: Arguments, printer: Printer) -> Result<u8> {
    let request = CreateWorkspace {
        environment: arguments.environment,
        vcpu_count: arguments.vcpu_count,
        mem_mib: arguments.mem_mib,
        ttl_seconds: arguments.ttl_seconds,
        network: NetworkRules {
            policy: arguments.network_policy.parse()?,
            allow_hosts: arguments.allowed.allow_hosts,
        },
        allow_host_compat: arguments.allow_host_compat,
        seed_path: arguments.seed_path,
        project: pyro::Project::None,
        name: arguments.name,
        labels: arguments.labels.into_iter().collect(),
        secrets: input::new_secrets(arguments.secrets, arguments.secret_files)?,
    };
    let status = super::pyro()?.create_workspace(request).await?;
    if arguments.id_only {
        write_out(&format!("{}\n", status.workspace_id))?;
        return Ok(0);
    }
    printer.data(&status, text)?;
    if !printer.json() {
        talk(&next_steps(&status));
    }
    Ok(0)
}

fn text(status: &WorkspaceStatus) -> String {
    let lines = [
        format!("workspace:   {}", status.workspace_id),
        format!("environment: {}", status.environment),
        format!("state:       {}", standing(status.state, status.stop_reason.as_deref())),
        format!("seed:        {}", seed(&status.workspace_seed)),
        format!("expires:     {}", expiry(status)),
    ];
    lines.join("\n") + "\n"
}

fn next_steps(status: &WorkspaceStatus) -> String {
    let id = &status.workspace_id;
    let lines = [
        format!("next: pyro workspace exec {id} -- ls -la"),
        format!("      pyro workspace diff {id}"),
        format!("      pyro workspace reset {id}"),
        format!("      pyro workspace delete {id}"),
    ];
    lines.join("\n")
}
