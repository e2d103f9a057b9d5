//! A diff of few changes in a large tree.

use super::super::series::Series;
use super::{create, seeds, shell};
use anyhow::{Result, bail};
use pyro::Pyro;
use std::time::Instant;

const FILES: usize = 50_000;
const FILE_BYTES: usize = 200;
/// Five files are changed, three removed, two added.
const CHANGES: usize = 10;
const CHANGE: &str = "for n in 0 1 2 3 4; do echo more >> part-000$n/file-$(printf %06d $((n * 50))).txt; done; \
                      rm part-0500/file-02500[012].txt; echo a > new-a; echo b > part-0600/new-b";

/// Seeds one workspace, changes it, and compares it again and again.
pub async fn measure(pyro: &Pyro, runs: usize) -> Result<Vec<Series>> {
    let seed = seeds::tree(FILES, FILE_BYTES)?;
    let mut created = Series::times("workspace create, 50,000 files");
    let mut first = Series::times("workspace diff, first");
    let mut later = Series::times("workspace diff, 10 of 50,000");
    let begun = Instant::now();
    let id = create(pyro, Some(seed.path().to_owned())).await?.workspace_id;
    created.push_time(begun.elapsed());
    shell(pyro, &id, CHANGE).await?;
    for round in 0..=runs {
        let begun = Instant::now();
        let diff = pyro.diff_workspace(&id).await?;
        let elapsed = begun.elapsed();
        if diff.summary.total != CHANGES {
            bail!("{} changes were found, not {CHANGES}: {:?}", diff.summary.total, diff.entries);
        }
        if round == 0 { first.push_time(elapsed) } else { later.push_time(elapsed) }
    }
    pyro.delete_workspace(&id).await?;
    Ok(vec![created, first, later])
}
