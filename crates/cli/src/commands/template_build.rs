//! `pyro template-build`, hidden: what a cold start leaves behind to be made by a process of its own.

use crate::settings;
use anyhow::Result;
use rustix::process::{nice, setsid};

/// Behind everything that somebody waits for.
const NICENESS: i32 = 10;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    environment: String,
    #[arg(long)]
    vcpu_count: u32,
    #[arg(long)]
    mem_mib: u32,
}

pub async fn run(arguments: Arguments) -> Result<u8> {
    // Out of reach of the terminal that the command before was started in, and less important than what runs there now.
    // Where either fails the template is made all the same.
    let (_session, _niceness) = (setsid(), nice(NICENESS));
    let Arguments { environment, vcpu_count, mem_mib } = arguments;
    settings::pyro("template")?.build_template(&environment, vcpu_count, mem_mib).await?;
    Ok(0)
}
