//! One series: values of a kind, and what is said of them.

use super::milliseconds;
use std::time::Duration;

/// What values count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Milliseconds,
    Mebibytes,
    MebibytesPerSecond,
}

impl Unit {
    /// The unit's symbol.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Mebibytes => "MiB",
            Self::MebibytesPerSecond => "MiB/s",
        }
    }
}

/// Which value of a series, as a multiple of what.
#[derive(Debug, Clone, Copy)]
pub struct Ratio {
    /// `median` or `max`.
    pub of: &'static str,
    /// Whose median is 1.
    pub to: &'static str,
    /// The multiple.
    pub value: f64,
}

/// Values of one kind.
#[derive(Debug, Clone)]
pub struct Series {
    /// Its name; within another series, unique only there.
    pub name: String,
    /// The series that this one is a part of.
    pub within: Option<&'static str>,
    /// What the values count.
    pub unit: Unit,
    /// The values, in the order they were measured in.
    pub values: Vec<f64>,
    /// What it is compared with.
    pub ratio: Option<Ratio>,
}

impl Series {
    /// An empty series of times.
    pub fn times(name: impl Into<String>) -> Self {
        Self { name: name.into(), within: None, unit: Unit::Milliseconds, values: Vec::new(), ratio: None }
    }

    /// An empty series of amounts of memory.
    pub fn sizes(name: impl Into<String>) -> Self {
        Self { unit: Unit::Mebibytes, ..Self::times(name) }
    }

    /// An empty series of throughputs.
    pub fn rates(name: impl Into<String>) -> Self {
        Self { unit: Unit::MebibytesPerSecond, ..Self::times(name) }
    }

    /// Its values are times.
    pub fn is_of_times(&self) -> bool {
        self.unit == Unit::Milliseconds
    }

    /// Adds a time.
    pub fn push_time(&mut self, time: Duration) {
        self.values.push(milliseconds(time));
    }

    /// Compares the median with another series' median.
    pub fn compare(&mut self, to: &'static str, with: &Self) {
        if let (Some(own), Some(other)) = (Summary::of(&self.values), Summary::of(&with.values)) {
            self.ratio = Some(Ratio { of: "median", to, value: own.median / other.median });
        }
    }
}

/// Series that come to be as values come.
#[derive(Debug)]
pub struct Collected {
    /// What their names begin with.
    what: &'static str,
    series: Vec<Series>,
}

impl Collected {
    /// None yet.
    pub fn new(what: &'static str) -> Self {
        Self { what, series: Vec::new() }
    }

    /// Adds a time of a step.
    pub fn time(&mut self, step: &str, time: Duration) {
        self.of(step, Series::times).push_time(time);
    }

    /// Adds an amount of memory.
    pub fn size(&mut self, step: &str, mebibytes: f64) {
        self.of(step, Series::sizes).values.push(mebibytes);
    }

    /// Adds the throughput of a step.
    #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
    pub fn rate(&mut self, step: &str, bytes: usize, time: Duration) {
        let rate = bytes as f64 / f64::from(1 << 20) / time.as_secs_f64();
        self.of(step, Series::rates).values.push(rate);
    }

    fn of(&mut self, step: &str, new: fn(String) -> Series) -> &mut Series {
        let name = format!("{} {step}", self.what);
        let known = self.series.iter().position(|series| series.name == name);
        let index = known.unwrap_or_else(|| {
            self.series.push(new(name));
            self.series.len() - 1
        });
        &mut self.series[index]
    }

    /// The series, in the order of their first values, times as multiples of the floor.
    pub fn into_series(mut self, floor: &Series) -> Vec<Series> {
        for series in self.series.iter_mut().filter(|series| series.is_of_times()) {
            series.compare("floor", floor);
        }
        self.series
    }
}

/// What is said of the values of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    pub n: usize,
    pub min: f64,
    /// The middle one; between the two in the middle where there are as many above as below.
    pub median: f64,
    /// The smallest value that at least 95 of 100 do not exceed: the largest one, when there are fewer than 20.
    pub p95: f64,
    pub max: f64,
}

impl Summary {
    /// `None` when there are no values.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max, n) = (*sorted.first()?, *sorted.last()?, sorted.len());
        let median = f64::midpoint(sorted[(n - 1) / 2], sorted[n / 2]);
        let p95 = sorted[(n * 95).div_ceil(100) - 1];
        Some(Self { n, min, median, p95, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_of_known_values() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let twenty: Vec<f64> = (1..=20).map(f64::from).collect();
        let cases: [(&[f64], [f64; 4]); 5] = [
            (&[7.0], [7.0, 7.0, 7.0, 7.0]),
            (&[3.0, 1.0, 2.0], [1.0, 2.0, 3.0, 3.0]),
            (&[4.0, 1.0, 3.0, 2.0], [1.0, 2.5, 4.0, 4.0]),
            (&twenty, [1.0, 10.5, 19.0, 20.0]),
            (&hundred, [1.0, 50.5, 95.0, 100.0]),
        ];
        for (values, [min, median, p95, max]) in cases {
            assert_eq!(Summary::of(values), Some(Summary { n: values.len(), min, median, p95, max }));
        }
    }

    #[test]
    fn nothing_is_said_of_no_values() {
        assert_eq!(Summary::of(&[]), None);
        let (mut empty, mut one) = (Series::times("empty"), Series::times("one"));
        one.values.push(1.0);
        empty.compare("one", &one);
        one.compare("empty", &empty);
        assert!(empty.ratio.is_none() && one.ratio.is_none());
    }

    #[test]
    fn a_median_is_a_multiple_of_another() {
        let (mut start, mut floor) = (Series::times("start"), Series::times("floor"));
        start.push_time(Duration::from_millis(300));
        floor.values.extend([100.0, 200.0, 150.0]);
        start.compare("floor", &floor);
        assert!(start.ratio.is_some_and(|ratio| (ratio.value - 2.0).abs() < 1e-9));
    }
}
