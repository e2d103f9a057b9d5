//! Measures what users wait for, with the release binary, and prints named series: n, min, median, p95.
//!
//! Nothing here passes or fails on a time: machines are shared and noisy. Each series of starts is printed beside a floor
//! measured in the same run, spawning the same program to do nothing.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const RUNS: usize = 10;

/// Runs the named series: `run` (the prepared cache of the caller's environment), `install` (an empty one).
pub fn bench(series: &str) -> Result<()> {
    let root = super::root()?;
    let binary = root.join("target/release/pyro");
    let built = Command::new(env!("CARGO")).args(["build", "--release"]).current_dir(root).status()?;
    if !built.success() {
        bail!("the release build failed");
    }
    let series = match series {
        "run" => run(&binary)?,
        "install" => install(&binary)?,
        other => bail!("there is no series `{other}`; there are `run` and `install`"),
    };
    print(&series)
}

struct Series {
    name: String,
    milliseconds: Vec<f64>,
}

impl Series {
    fn summary(&self) -> (f64, f64, f64) {
        let mut sorted = self.milliseconds.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |share: usize| {
            sorted.get((sorted.len() * share / 100).min(sorted.len() - 1)).copied().unwrap_or(0.0)
        };
        (at(0), at(50), at(95))
    }
}

/// `pyro run debian:12 -- true`, phase by phase.
fn run(binary: &Path) -> Result<Vec<Series>> {
    // The first one may install and probe.
    pyro(binary, &["run", "debian:12", "--json", "--", "true"], None)?;
    let mut floor = Vec::new();
    let mut wall = Vec::new();
    let mut phases: Vec<(String, Vec<f64>)> = Vec::new();
    for _ in 0..RUNS {
        floor.push(milliseconds(timed(|| pyro_text(binary, &["--version"], None))?.1));
        let (result, elapsed) = timed(|| pyro(binary, &["run", "debian:12", "--json", "--", "true"], None))?;
        wall.push(milliseconds(elapsed));
        let timings = result["timings"].as_object().context("the result has timings")?;
        for (phase, value) in timings {
            let value = value.as_f64().context("a timing is a number")?;
            match phases.iter_mut().find(|(name, _)| name == phase) {
                Some((_, values)) => values.push(value),
                None => phases.push((phase.clone(), vec![value])),
            }
        }
    }
    let mut series = vec![
        Series { name: "spawn `pyro --version` (floor)".to_owned(), milliseconds: floor },
        Series { name: "`pyro run debian:12 -- true`, wall".to_owned(), milliseconds: wall },
    ];
    series.extend(
        phases.into_iter().map(|(name, milliseconds)| Series { name: format!("  {name}"), milliseconds }),
    );
    Ok(series)
}

/// Everything from an empty cache: bundle, then environment.
fn install(binary: &Path) -> Result<Vec<Series>> {
    let home = std::env::temp_dir().join(format!("pyro-bench-{}", std::process::id()));
    let measured = (|| {
        let (_, fetch) = timed(|| pyro(binary, &["runtime", "fetch", "--json"], Some(&home)))?;
        // What probing the acceleration costs is its own figure.
        let (_, probe) = timed(|| pyro(binary, &["doctor", "--json"], Some(&home)))?;
        let (_, pull) = timed(|| pyro(binary, &["env", "pull", "debian:12", "--json"], Some(&home)))?;
        Ok(vec![("runtime fetch", fetch), ("doctor, with the probe", probe), ("env pull debian:12", pull)])
    })();
    std::fs::remove_dir_all(&home).with_context(|| format!("cannot remove {}", home.display()))?;
    let series = |(name, elapsed): (&str, Duration)| Series {
        name: name.to_owned(),
        milliseconds: vec![milliseconds(elapsed)],
    };
    measured.map(|measured: Vec<_>| measured.into_iter().map(series).collect())
}

fn pyro(binary: &Path, arguments: &[&str], home: Option<&Path>) -> Result<Value> {
    Ok(serde_json::from_str(&pyro_text(binary, arguments, home)?)?)
}

fn pyro_text(binary: &Path, arguments: &[&str], home: Option<&Path>) -> Result<String> {
    let mut command = Command::new(binary);
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::inherit());
    if let Some(home) = home {
        command.env("PYRO_HOME", home);
    }
    let output = command.output().with_context(|| format!("cannot run {}", binary.display()))?;
    if !output.status.success() {
        bail!("pyro {} failed: {}", arguments.join(" "), output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let begun = Instant::now();
    Ok((work()?, begun.elapsed()))
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[expect(clippy::print_stdout, reason = "the table and the document are this command's result")]
fn print(series: &[Series]) -> Result<()> {
    println!("{:40} {:>4} {:>10} {:>10} {:>10}", "ms", "n", "min", "median", "p95");
    let mut document = Vec::new();
    for one in series {
        let (min, median, p95) = one.summary();
        let n = one.milliseconds.len();
        println!("{:40} {n:>4} {min:>10.1} {median:>10.1} {p95:>10.1}", one.name);
        document.push(json!({ "name": one.name.trim(), "n": n, "min": min, "median": median, "p95": p95 }));
    }
    println!("{}", serde_json::to_string(&document)?);
    Ok(())
}
