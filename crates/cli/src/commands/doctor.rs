//! `pyro doctor`.

use crate::printer::Printer;
use crate::settings;
use anyhow::Result;
use pyro::{DEFAULT_ENVIRONMENT, JailReport, Readiness};

/// Say whether this host can run guests, how fast, and what to do next
///
/// Boots a guest once to find out which acceleration really works; the answer is kept for this host.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Platform to report on; anything but this host's is answered from what is known
    #[arg(long)]
    platform: Option<String>,
    /// Environment whose readiness is reported
    #[arg(long, default_value = DEFAULT_ENVIRONMENT)]
    environment: String,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

pub async fn run(arguments: Arguments, printer: Printer) -> Result<u8> {
    // In a directory that is gone there is no project.
    let cwd = std::env::current_dir().unwrap_or_default();
    let pyro = settings::pyro("doctor")?;
    let readiness = pyro.readiness(arguments.platform.as_deref(), &arguments.environment, &cwd).await?;
    printer.data(&readiness, text)?;
    Ok(u8::from(!readiness.runtime.pass))
}

fn text(readiness: &Readiness) -> String {
    let yes = |it: bool| if it { "yes" } else { "no" };
    let Readiness { runtime, acceleration, capabilities, environment, .. } = readiness;
    let mut lines = vec![
        format!("platform:     {}", readiness.platform),
        format!("runtime:      {} ({})", if runtime.pass { "PASS" } else { "FAIL" }, runtime.detail),
        format!(
            "kvm:          exists {}, readable {}, writable {}, boots a guest: {}",
            yes(acceleration.kvm.exists),
            yes(acceleration.kvm.readable),
            yes(acceleration.kvm.writable),
            acceleration.kvm.boots_guest.map_or("not tried", yes),
        ),
        format!("acceleration: {}", acceleration.selected.unwrap_or("unknown")),
        format!("engine:       {} ({})", acceleration.engine.unwrap_or("unknown"), acceleration.reason),
        format!("firecracker:  {}", acceleration.firecracker.as_deref().unwrap_or("not installed")),
        format!("jail:         {}", acceleration.jail.as_ref().map_or("unknown".to_owned(), jail)),
        format!(
            "capabilities: vm_boot {}, guest_exec {}, guest_network {}",
            yes(capabilities.vm_boot),
            yes(capabilities.guest_exec),
            yes(capabilities.guest_network)
        ),
        format!("networking:   {} (off by default)", readiness.networking.join(", ")),
        format!("cache:        {}", readiness.cache_dir.display()),
        format!("catalog:      {}", readiness.catalog_version),
        format!("environment:  {} is {}", environment.name, environment.state.as_str()),
        format!(
            "daily loop:   {}{}",
            environment.daily_loop.as_str(),
            because(environment.stale_reason.as_deref())
        ),
        format!(
            "starts:       {}{}",
            environment.next_start.as_str(),
            because(environment.cold_start_reason.as_deref())
        ),
    ];
    lines.push(format!("project:      {}", readiness.project.describe()));
    for issue in &readiness.issues {
        lines.push(format!("issue:        {}", issue.problem));
        lines.push(format!("              -> {}", issue.way_out));
    }
    lines.push(format!("next:         {}", readiness.next_command));
    lines.join("\n") + "\n"
}

fn jail(jail: &JailReport) -> String {
    let of_their_own = match (&jail.obstacle, jail.own_user) {
        (None, true) => "a root, network and user of their own".to_owned(),
        (None, false) => "a root and network of their own".to_owned(),
        (Some(obstacle), _) => format!("no root and network of their own ({obstacle})"),
    };
    let cgroup = if jail.cgroup { "limits by a control group" } else { "no control group" };
    format!("{of_their_own}; seccomp; Landlock {}; {cgroup}", jail.landlock)
}

fn because(reason: Option<&str>) -> String {
    reason.map(|reason| format!(" ({reason})")).unwrap_or_default()
}
