//! `bench`: measures what users wait for, and what a guest costs, and prints named series.
//!
//! Nothing here passes or fails on a time: machines are shared and noisy. What is compared is measured in turns, one of
//! each in every round, so that noise hits all alike; and each time is printed as a multiple of the floor, the time
//! that no start can beat, measured in the same rounds.
//!
//! [`plan`] reads the arguments, [`rounds`] measures what goes by turns, [`fleet`], [`workspace`], [`firecracker`] and [`install`] what does
//! not, and [`report`] prints. Steps of one guest are taken through the SDK, which has to be built as users have it.

mod firecracker;
mod fleet;
mod install;
mod machine;
mod memory;
mod plan;
mod report;
mod rounds;
mod run;
mod series;
mod workspace;

pub use plan::usage;

use anyhow::{Result, bail};
use plan::{Figure, Plan};
use pyro::{Pyro, Settings, TemplatePolicy};
use std::path::Path;
use std::time::Duration;

/// What every guest is made from.
const ENVIRONMENT: &str = pyro::DEFAULT_ENVIRONMENT;

/// Measures the series that `arguments` name, and prints them.
pub fn bench(arguments: &[&str]) -> Result<()> {
    let plan = Plan::parse(arguments)?;
    let root = super::root()?;
    if cfg!(debug_assertions) {
        bail!(
            "steps taken through the SDK are only worth measuring in a release build: `cargo xtask` makes one"
        );
    }
    let binary = super::built(root)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let series = runtime.block_on(measure(&binary, &plan))?;
    report::print(&series)
}

async fn measure(binary: &Path, plan: &Plan) -> Result<Vec<series::Series>> {
    let mut measured = Vec::new();
    if plan.needs_guests() {
        let program = Some(binary.to_owned());
        let settings = Settings { templates: TemplatePolicy::Manual, program, ..Settings::from_env()? };
        let pyro = Pyro::new(settings);
        machine::prepare(&pyro).await?;
        if plan.goes_by_rounds() {
            measured.extend(rounds::measure(binary, &pyro, plan).await?);
        }
        if plan.has(Figure::Fleet) {
            measured.extend(fleet::measure(&pyro, plan.runs()).await?);
        }
        measured.extend(workspace::measure(binary, &pyro, plan).await?);
        if plan.has(Figure::Firecracker) {
            measured.extend(firecracker::measure(binary, &pyro, plan.runs()).await?);
        }
    }
    if plan.has(Figure::Install) {
        measured.extend(install::measure(binary)?);
    }
    Ok(measured)
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
