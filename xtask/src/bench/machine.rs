//! One guest, step by step, through the SDK.

use super::ENVIRONMENT;
use super::memory::pss_mib;
use super::plan::Figure;
use super::series::Series;
use anyhow::{Context, Result, bail};
use pyro::vm::{DEFAULT_MEM_MIB, DEFAULT_VCPU_COUNT, Throwaway};
use pyro::{PrepareRequest, Pyro, StartKind};
use std::time::{Duration, Instant};

/// How often a command is repeated in one live guest.
const LIVE_RUNS: usize = 3;

/// Installs and makes what is missing, and starts one guest that is not measured: whatever it reads is then in the
/// host's page cache. Fails when guests do not start from a template here, since then there is no floor.
pub async fn prepare(pyro: &Pyro) -> Result<()> {
    let environment = ENVIRONMENT.to_owned();
    pyro.prepare_environment(PrepareRequest { environment, force: false, network: false }).await?;
    create(pyro).await?.delete().await;
    Ok(())
}

/// Creates a guest of the default shape. Fails when it did not come up from its template.
pub async fn create(pyro: &Pyro) -> Result<Throwaway> {
    let machine = Throwaway::create(pyro, ENVIRONMENT, DEFAULT_VCPU_COUNT, DEFAULT_MEM_MIB).await?;
    check_warm(&machine, "create")?;
    Ok(machine)
}

/// The time that no start can beat.
pub async fn floor(pyro: &Pyro) -> Result<Duration> {
    let floor = Throwaway::floor(pyro, ENVIRONMENT, DEFAULT_VCPU_COUNT, DEFAULT_MEM_MIB).await?;
    floor.context("there is no template any more to measure the floor with")
}

/// Runs a command that is to succeed; returns how long that took.
pub async fn exec(machine: &Throwaway, command: &[&str]) -> Result<Duration> {
    let begun = Instant::now();
    let (exit_code, _) = machine.exec(command).await?;
    let elapsed = begun.elapsed();
    if exit_code != 0 {
        bail!("`{}` in a guest ended with {exit_code}", command.join(" "));
    }
    Ok(elapsed)
}

fn check_warm(machine: &Throwaway, step: &str) -> Result<()> {
    if machine.start() == StartKind::Warm {
        return Ok(());
    }
    let why = machine.cold_start_reason().unwrap_or_else(|| "this engine has no templates".to_owned());
    bail!("`{step}`: the machine booted its kernel: {why}")
}

/// What is measured of one guest. The steps are always the same, whichever of them are printed, so that a figure does
/// not depend on what else was asked for.
pub struct Life {
    create: Series,
    first_exec: Series,
    vmm: Series,
    supervisor: Series,
    first_git: Series,
    live_exec: Series,
    reset: Series,
    delete: Series,
}

impl Life {
    /// Nothing yet.
    pub fn new() -> Self {
        let memory = |of: &str| Series::sizes(format!("{}, {of}", Figure::IdleMemory.name()));
        Self {
            create: Series::times(Figure::Create.name()),
            first_exec: Series::times(Figure::FirstExec.name()),
            vmm: memory("VMM"),
            // Machines are supervised by the process that made them.
            supervisor: memory("supervisor (this process)"),
            first_git: Series::times(Figure::FirstGit.name()),
            live_exec: Series::times(Figure::LiveExec.name()),
            reset: Series::times(Figure::Reset.name()),
            delete: Series::times(Figure::Delete.name()),
        }
    }

    /// Takes one guest through its life.
    pub async fn measure(&mut self, pyro: &Pyro) -> Result<()> {
        let begun = Instant::now();
        let mut machine = create(pyro).await?;
        self.create.push_time(begun.elapsed());

        self.first_exec.push_time(exec(&machine, &["true"]).await?);
        self.vmm.values.push(pss_mib(machine.vmm_pid())?);
        self.supervisor.values.push(pss_mib(std::process::id())?);

        self.first_git.push_time(exec(&machine, &["git", "--version"]).await?);
        for _ in 0..LIVE_RUNS {
            self.live_exec.push_time(exec(&machine, &["true"]).await?);
        }

        let begun = Instant::now();
        machine.reset().await?;
        self.reset.push_time(begun.elapsed());
        check_warm(&machine, "reset")?;

        let begun = Instant::now();
        machine.delete().await;
        self.delete.push_time(begun.elapsed());
        Ok(())
    }

    /// The series, each with the figure that it is printed for.
    pub fn into_series(self) -> Vec<(Figure, Series)> {
        vec![
            (Figure::Create, self.create),
            (Figure::FirstExec, self.first_exec),
            (Figure::LiveExec, self.live_exec),
            (Figure::FirstGit, self.first_git),
            (Figure::Reset, self.reset),
            (Figure::Delete, self.delete),
            (Figure::IdleMemory, self.vmm),
            (Figure::IdleMemory, self.supervisor),
        ]
    }
}
