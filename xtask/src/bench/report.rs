//! Prints series: an aligned table for people, then one line of JSON for programs.

use super::series::{Series, Summary};
use anyhow::Result;
use serde_json::{Value, json};

/// Prints the table and, as the last line, the document. A series without values is left out.
#[expect(clippy::print_stdout, reason = "the table and the document are this command's result")]
pub fn print(series: &[Series]) -> Result<()> {
    let measured: Vec<(&Series, Summary)> =
        series.iter().filter_map(|series| Some((series, Summary::of(&series.values)?))).collect();
    let heading = format!("{:>3} {:>9} {:>9} {:>9} {:>9}", "n", "min", "median", "p95", "max");
    println!("{:42} {:5} {heading}  ratio", "series", "unit");
    for (series, summary) in &measured {
        println!("{}", row(series, summary));
    }
    let document: Vec<Value> = measured.iter().map(|(series, summary)| entry(series, summary)).collect();
    println!("{}", serde_json::to_string(&json!({ "series": document }))?);
    Ok(())
}

fn row(series: &Series, summary: &Summary) -> String {
    let indent = if series.within.is_some() { "  " } else { "" };
    let name = format!("{indent}{}", series.name);
    let Summary { n, min, median, p95, max } = summary;
    let figures = format!("{n:>3} {min:>9.1} {median:>9.1} {p95:>9.1} {max:>9.1}");
    let ratio = match &series.ratio {
        Some(ratio) => format!("{} {:.2} × {}", ratio.of, ratio.value, ratio.to),
        None => String::new(),
    };
    format!("{name:42} {:5} {figures}  {ratio}", series.unit.symbol()).trim_end().to_owned()
}

fn entry(series: &Series, summary: &Summary) -> Value {
    let Summary { n, min, median, p95, max } = *summary;
    let name = match series.within {
        Some(whole) => format!("{whole}, {}", series.name),
        None => series.name.clone(),
    };
    let mut entry = json!({
        "name": name,
        "unit": series.unit.symbol(),
        "n": n,
        "min": thousandths(min),
        "median": thousandths(median),
        "p95": thousandths(p95),
        "max": thousandths(max),
    });
    if let Some(ratio) = &series.ratio {
        entry["ratio"] = json!({ "of": ratio.of, "to": ratio.to, "value": thousandths(ratio.value) });
    }
    entry
}

/// More digits would only be noise.
fn thousandths(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
