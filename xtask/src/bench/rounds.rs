//! What is compared is measured by turns: each figure once in every round.

use super::machine::{self, Life};
use super::plan::{Figure, Plan};
use super::run::Runs;
use super::series::Series;
use anyhow::Result;
use pyro::{Pyro, StartKind};
use std::path::Path;

/// Measures the figures of the plan that go by turns.
pub async fn measure(binary: &Path, pyro: &Pyro, plan: &Plan) -> Result<Vec<Series>> {
    let mut floor = Series::times(Figure::Floor.name());
    let mut warm = Runs::new(Figure::RunWarm.name(), StartKind::Warm);
    let mut cold = Runs::new(Figure::RunCold.name(), StartKind::Cold);
    let mut life = Life::new();
    for round in 0..plan.runs() {
        if plan.has(Figure::Floor) {
            floor.push_time(machine::floor(pyro).await?);
        }
        if plan.has(Figure::RunWarm) {
            warm.measure(binary)?;
        }
        if plan.has(Figure::RunCold) && plan.is_cold_due(round) {
            cold.measure(binary)?;
        }
        if plan.has_one_guest() {
            life.measure(pyro).await?;
        }
    }
    warm.wall.compare(Figure::Floor.name(), &floor);
    cold.wall.compare(Figure::Floor.name(), &floor);
    let mut measured = vec![floor.clone()];
    measured.extend(warm.into_series());
    measured.extend(cold.into_series());
    for (figure, mut series) in life.into_series().into_iter().filter(|(figure, _)| plan.has(*figure)) {
        if figure.has_floor() {
            series.compare(Figure::Floor.name(), &floor);
        }
        measured.push(series);
    }
    Ok(measured)
}
