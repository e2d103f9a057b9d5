//! What a process costs in memory.

use anyhow::{Context, Result};

/// The proportional set size of a process in MiB: its private pages, and of each shared one as large a part as it has
/// sharers. Summed over processes it is the memory that they occupy together.
pub fn pss_mib(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    parse(&text).with_context(|| format!("{path} tells no Pss"))
}

fn parse(rollup: &str) -> Option<f64> {
    let amount = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: f64 = amount.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_the_line_named_pss() {
        let rollup = "55-7f [rollup]\nRss:  9000 kB\nPss:                2560 kB\nPss_Dirty:  10 kB\n";
        assert_eq!(parse(rollup), Some(2.5));
        assert_eq!(parse("Rss: 9000 kB\nPss_Dirty: 10 kB\n"), None);
        assert!(pss_mib(std::process::id()).unwrap() > 0.0);
    }
}
