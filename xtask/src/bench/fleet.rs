//! Many guests at once: how long until all are up, whether each still answers as one alone does, and what each costs.

use super::machine;
use super::memory::pss_mib;
use super::series::{Ratio, Series, Summary};
use anyhow::Result;
use pyro::Pyro;
use pyro::vm::Throwaway;
use std::time::Instant;
use tokio::task::JoinSet;

/// How many guests there are at once, fleet by fleet. The first is one guest alone, that the others are compared with.
const SIZES: [usize; 5] = [1, 2, 4, 8, 16];

/// One fleet after the other. One guest alone is measured `runs` times, since a single answer is nothing to compare with.
pub async fn measure(pyro: &Pyro, runs: usize) -> Result<Vec<Series>> {
    let mut measured = Vec::new();
    let mut alone = None;
    for size in SIZES {
        let mut fleet = Fleet::new(size);
        for _ in 0..if size == 1 { runs } else { 1 } {
            fleet.measure(pyro).await?;
        }
        if let Some(summary) = Summary::of(&fleet.answers.values) {
            let alone = *alone.get_or_insert(summary.median);
            fleet.answers.ratio = Some(Ratio { of: "max", to: "alone", value: summary.max / alone });
        }
        measured.extend([fleet.up, fleet.answers, fleet.memory]);
    }
    Ok(measured)
}

/// What is measured of fleets of one size.
struct Fleet {
    size: usize,
    up: Series,
    answers: Series,
    memory: Series,
}

impl Fleet {
    fn new(size: usize) -> Self {
        let name = |what: &str| format!("fleet of {size}, {what}");
        Self {
            size,
            up: Series::times(name("all up")),
            answers: Series::times(name("live exec")),
            memory: Series::sizes(name("VMM memory")),
        }
    }

    /// Creates a fleet, has each guest answer once while all others idle, and ends it. Each has answered once before, so that
    /// what is measured is always a guest's second answer. Whatever fails, the guests end: those in hand and those still
    /// coming up are dropped.
    async fn measure(&mut self, pyro: &Pyro) -> Result<()> {
        let begun = Instant::now();
        let machines = create(pyro, self.size).await?;
        self.up.push_time(begun.elapsed());
        for machine in &machines {
            machine::exec(machine, &["true"]).await?;
        }
        for machine in &machines {
            self.answers.push_time(machine::exec(machine, &["true"]).await?);
        }
        for machine in &machines {
            self.memory.values.push(pss_mib(machine.vmm_pid())?);
        }
        for machine in machines {
            machine.delete().await;
        }
        Ok(())
    }
}

/// Creates guests, all at once.
async fn create(pyro: &Pyro, size: usize) -> Result<Vec<Throwaway>> {
    let mut coming_up = JoinSet::new();
    for _ in 0..size {
        let pyro = pyro.clone();
        coming_up.spawn(async move { machine::create(&pyro).await });
    }
    let mut machines = Vec::with_capacity(size);
    while let Some(created) = coming_up.join_next().await {
        machines.push(created??);
    }
    Ok(machines)
}
