//! `pyro run`, as a user has it: the release binary, from its start to its end.

use super::ENVIRONMENT;
use super::series::Series;
use anyhow::{Context, Result, bail};
use pyro::{EnvVars, StartKind};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// The phases in the order they come in; one that is not here is printed last.
const PHASES: [&str; 8] = [
    "prepare_ms",
    "create_ms",
    "launch_ms",
    "boot_ms",
    "configure_ms",
    "execute_ms",
    "teardown_ms",
    "total_ms",
];

/// Runs of one kind: their wall time and, as they tell it themselves, where it went.
pub struct Runs {
    start: StartKind,
    name: &'static str,
    pub wall: Series,
    phases: Vec<Series>,
}

impl Runs {
    /// No runs yet, of machines that are to come up this way.
    pub fn new(name: &'static str, start: StartKind) -> Self {
        Self { start, name, wall: Series::times(name), phases: Vec::new() }
    }

    /// Runs once. Fails when the machine came up the other way.
    pub fn measure(&mut self, binary: &Path) -> Result<()> {
        let templates = match self.start {
            StartKind::Warm => "manual",
            StartKind::Cold => "off",
        };
        let mut command = Command::new(binary);
        command.args(["run", ENVIRONMENT, "--json", "--", "true"]).env(EnvVars::PYRO_TEMPLATES, templates);
        let begun = Instant::now();
        let stdout = output(&mut command)?;
        let wall = begun.elapsed();
        let result: Value = serde_json::from_str(&stdout)?;
        if result["start"] != self.start.as_str() {
            let why = result["cold_start_reason"].as_str().unwrap_or("it gives no reason");
            bail!("`{}`: the machine's start was {}: {why}", self.name, result["start"]);
        }
        self.wall.push_time(wall);
        for (phase, time) in result["timings"].as_object().context("a result has timings")? {
            self.add(phase, time.as_f64().context("a timing is a number")?);
        }
        Ok(())
    }

    fn add(&mut self, phase: &str, milliseconds: f64) {
        if let Some(series) = self.phases.iter_mut().find(|series| series.name == phase) {
            series.values.push(milliseconds);
            return;
        }
        let series = Series { within: Some(self.name), values: vec![milliseconds], ..Series::times(phase) };
        self.phases.push(series);
    }

    /// The wall time, then the phases.
    pub fn into_series(mut self) -> Vec<Series> {
        let place = |series: &Series| PHASES.iter().position(|phase| *phase == series.name);
        self.phases.sort_by_key(|series| place(series).unwrap_or(PHASES.len()));
        std::iter::once(self.wall).chain(self.phases).collect()
    }
}

/// Runs a command that is to succeed and returns what it prints. What it says on standard error, unless the caller has
/// sent that elsewhere, is only told when it fails.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} failed: {}\n{}", output.status, said.trim_end());
    }
    Ok(String::from_utf8(output.stdout)?)
}
