//! `pyro supervise`, hidden: the process that owns the guest of one workspace.

use anyhow::Result;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// For listings of processes; the order on standard input says what is to be done.
    id: String,
}

pub async fn run() -> Result<u8> {
    pyro::workspace::supervise().await?;
    Ok(0)
}
