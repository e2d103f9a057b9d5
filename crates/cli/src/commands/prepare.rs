//! `pyro prepare`.

use crate::printer::Printer;
use crate::settings;
use anyhow::Result;
use pyro::{DEFAULT_ENVIRONMENT, Preparation, PrepareRequest, StartKind};

/// Install what is missing, make machines start fast, and prove that the daily loop works here
///
/// Makes a template, from which every machine then starts in a fraction of a second, and runs create, exec, reset and delete
/// once on a throwaway machine. The proof is recorded, and later calls are answered from the record.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Environment, as shown by `pyro env list`
    #[arg(default_value = DEFAULT_ENVIRONMENT)]
    environment: String,
    /// Prove that guests reach a network, too
    #[arg(long)]
    network: bool,
    /// Probe the host, and make the template and the proof, anew, whatever is on record
    #[arg(long)]
    force: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

pub async fn run(arguments: Arguments, printer: Printer) -> Result<u8> {
    let Arguments { environment, network, force, json: _ } = arguments;
    let request = PrepareRequest { environment, force, network };
    let preparation = settings::pyro("prepare")?.prepare_environment(request).await?;
    printer.data(&preparation, text)?;
    Ok(0)
}

fn text(preparation: &Preparation) -> String {
    let Preparation { environment, reused, prepared_at, engine, start, proof, .. } = preparation;
    let proven = if *reused {
        format!("proven {prepared_at:.0}, nothing has changed since")
    } else {
        "proven now".to_owned()
    };
    let starts = match (start, &preparation.cold_start_reason) {
        (StartKind::Warm, _) => "from a template".to_owned(),
        (StartKind::Cold, None) => "by booting their kernel".to_owned(),
        (StartKind::Cold, Some(reason)) => format!("by booting their kernel: {reason}"),
    };
    let mut lines = vec![
        format!("environment: {environment} on {engine}, {proven}"),
        format!("machines:    start {starts}"),
    ];
    if let Some(template) = &preparation.template {
        let mib = template.ram_disk_bytes.div_ceil(1 << 20);
        lines.push(format!(
            "template:    {mib} MiB of memory, {} KiB of state",
            template.state_bytes.div_ceil(1024)
        ));
    }
    lines.push(format!(
        "proof:       create {} ms, exec {} ms, reset {} ms, delete {} ms",
        proof.create_ms, proof.exec_ms, proof.reset_ms, proof.delete_ms
    ));
    if preparation.network_proven {
        lines.push("network:     proven: a guest reached the package mirror".to_owned());
    }
    lines.push(format!("next:        pyro run {environment} -- uname -a"));
    lines.join("\n") + "\n"
}
