//! `pyro template-build`, hidden: what a cold start leaves behind to be made by a process of its own.

use crate::settings;
use anyhow::Result;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    environment: String,
    #[arg(long)]
    vcpu_count: u32,
    #[arg(long)]
    mem_mib: u32,
}

pub async fn run(arguments: Arguments) -> Result<u8> {
    let Arguments { environment, vcpu_count, mem_mib } = arguments;
    settings::pyro("template")?.build_template(&environment, vcpu_count, mem_mib).await?;
    Ok(0)
}
