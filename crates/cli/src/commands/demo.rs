//! `pyro demo`.

use crate::printer::{Printer, talk};
use crate::settings;
use anyhow::Result;
use pyro::{DEFAULT_ENVIRONMENT, OutputMode, RunRequest, RunResult};
use serde::Serialize;

/// Show a guest at work: who it is, what it has, and that it cannot reach out
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// What is shown, and the command that shows it.
const STEPS: [(&str, &[&str]); 3] = [
    (
        "a kernel and a root of its own",
        &["sh", "-c", "uname -sr; . /etc/os-release; echo \"$PRETTY_NAME\"; id -un"],
    ),
    ("Git is there", &["git", "--version"]),
    ("no network but its own loopback", &["sh", "-c", "ls /sys/class/net"]),
];

#[derive(Serialize)]
struct DemoResult {
    environment: &'static str,
    steps: Vec<Step>,
}

#[derive(Serialize)]
struct Step {
    shows: &'static str,
    result: RunResult,
}

pub async fn run(_arguments: Arguments, printer: Printer) -> Result<u8> {
    let pyro = settings::pyro("demo")?;
    let mut steps = Vec::new();
    for (shows, command) in STEPS {
        let request = RunRequest::new(DEFAULT_ENVIRONMENT, command.iter().copied());
        let result = pyro.run_in_vm(request, OutputMode::Capture).await?;
        if !printer.json() {
            talk(&format!("{shows} ({} ms in all)", result.timings.total_ms));
        }
        steps.push(Step { shows, result });
    }
    let failed = steps.iter().any(|step| step.result.exit_code != 0);
    printer.data(&DemoResult { environment: DEFAULT_ENVIRONMENT, steps }, |result| {
        let outputs =
            result.steps.iter().flat_map(|step| [step.result.stdout.as_str(), step.result.stderr.as_str()]);
        outputs.collect()
    })?;
    Ok(u8::from(failed))
}
