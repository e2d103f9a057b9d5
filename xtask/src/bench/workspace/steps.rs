//! One workspace, step by step.

use super::super::memory::pss_mib;
use super::super::series::Series;
use super::{create, seeds, shell, supervisor_pid};
use anyhow::Result;
use pyro::Pyro;
use pyro::workspace::{SnapshotName, WorkspaceExportRequest, WorkspacePath, WorkspaceSyncRequest};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A small repository: so many files, so many bytes in all.
const REPOSITORY: (usize, usize) = (1000, 10_000_000);
/// One large file.
const LARGE_BYTES: usize = 64 << 20;
/// How often what takes milliseconds is repeated in one workspace.
const REPEATED: usize = 3;

/// What is done to a guest before it is reset: nothing that a reset has to care about.
const RUIN: &str =
    "rm -rf /usr/share /var/lib /etc; (sleep 100 &) ; dd if=/dev/zero of=/workspace/big bs=1M count=50 2>&1";
/// 100 MB that are written before a snapshot is taken.
const WRITE_100_MB: &str = "dd if=/dev/urandom of=/workspace/data bs=1M count=100 2>&1";

/// What is measured of workspaces. The steps are always the same.
pub struct Steps {
    repository: TempDir,
    large: TempDir,
    exports: TempDir,
    series: Vec<Series>,
}

impl Steps {
    pub fn new() -> Result<Self> {
        let (files, bytes) = REPOSITORY;
        let series = vec![];
        Ok(Self {
            repository: seeds::tree(files, bytes / files)?,
            large: seeds::file(LARGE_BYTES)?,
            exports: tempfile::tempdir()?,
            series,
        })
    }

    /// Takes one empty workspace and one with a repository through their lives.
    pub async fn measure(&mut self, pyro: &Pyro) -> Result<()> {
        self.empty(pyro).await?;
        self.repository(pyro).await
    }

    async fn empty(&mut self, pyro: &Pyro) -> Result<()> {
        let begun = Instant::now();
        let id = create(pyro, None).await?.workspace_id;
        self.time("create, empty", begun.elapsed());
        let begun = Instant::now();
        shell(pyro, &id, "true").await?;
        self.time("first exec", begun.elapsed());
        for _ in 0..REPEATED {
            let begun = Instant::now();
            shell(pyro, &id, "true").await?;
            self.time("live exec", begun.elapsed());
        }
        let path = WorkspacePath::parse("notes/a.txt").map_err(pyro::PyroError::from)?;
        for _ in 0..REPEATED {
            let begun = Instant::now();
            pyro.write_workspace_file(&id, &path, "some text\n").await?;
            self.time("file write", begun.elapsed());
            let begun = Instant::now();
            pyro.read_workspace_file(&id, &path, 65_536).await?;
            self.time("file read", begun.elapsed());
        }
        self.size("supervisor", pss_mib(supervisor_pid(pyro, &id)?)?);
        self.transfers(pyro, &id).await?;

        shell(pyro, &id, WRITE_100_MB).await?;
        let begun = Instant::now();
        pyro.create_snapshot(&id, &SnapshotName::parse("large").map_err(pyro::PyroError::from)?).await?;
        self.time("snapshot, 100 MB written", begun.elapsed());

        shell(pyro, &id, RUIN).await?;
        let begun = Instant::now();
        pyro.reset_workspace(&id, &SnapshotName::baseline()).await?;
        self.time("reset, guest ruined", begun.elapsed());
        let begun = Instant::now();
        pyro.stop_workspace(&id).await?;
        self.time("stop", begun.elapsed());
        let begun = Instant::now();
        pyro.start_workspace(&id).await?;
        self.time("start", begun.elapsed());
        let begun = Instant::now();
        pyro.delete_workspace(&id).await?;
        self.time("delete", begun.elapsed());
        Ok(())
    }

    async fn transfers(&mut self, pyro: &Pyro, id: &pyro::workspace::WorkspaceId) -> Result<()> {
        let dest = WorkspacePath::parse("large").map_err(pyro::PyroError::from)?;
        let begun = Instant::now();
        let sync = WorkspaceSyncRequest { source_path: self.large.path().to_owned(), dest: dest.clone() };
        pyro.push_workspace_sync(id, sync).await?;
        self.rate("import, one file of 64 MiB", LARGE_BYTES, begun.elapsed());
        let output_path = self.exports.path().join(id.as_str());
        let begun = Instant::now();
        let export = WorkspaceExportRequest { path: dest, output_path: output_path.clone() };
        pyro.export_workspace(id, export).await?;
        self.rate("export, one file of 64 MiB", LARGE_BYTES, begun.elapsed());
        std::fs::remove_dir_all(output_path)?;
        Ok(())
    }

    async fn repository(&mut self, pyro: &Pyro) -> Result<()> {
        let begun = Instant::now();
        let id = create(pyro, Some(self.repository.path().to_owned())).await?.workspace_id;
        self.time("create, 1,000 files of 10 MB", begun.elapsed());
        let output_path = self.exports.path().join(id.as_str());
        let begun = Instant::now();
        let path = WorkspacePath::parse(".").map_err(pyro::PyroError::from)?;
        pyro.export_workspace(&id, WorkspaceExportRequest { path, output_path: output_path.clone() }).await?;
        self.rate("export, 1,000 files", REPOSITORY.1, begun.elapsed());
        std::fs::remove_dir_all(output_path)?;
        let begun = Instant::now();
        pyro.reset_workspace(&id, &SnapshotName::baseline()).await?;
        self.time("reset, 1,000 files", begun.elapsed());
        pyro.delete_workspace(&id).await?;
        Ok(())
    }

    fn time(&mut self, step: &str, time: Duration) {
        self.series(step, Series::times).push_time(time);
    }

    fn size(&mut self, step: &str, mebibytes: f64) {
        self.series(step, Series::sizes).values.push(mebibytes);
    }

    #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
    fn rate(&mut self, step: &str, bytes: usize, time: Duration) {
        let rate = bytes as f64 / f64::from(1 << 20) / time.as_secs_f64();
        self.series(step, Series::rates).values.push(rate);
    }

    fn series(&mut self, step: &str, new: fn(String) -> Series) -> &mut Series {
        let name = format!("workspace {step}");
        let known = self.series.iter().position(|series| series.name == name);
        let index = known.unwrap_or_else(|| {
            self.series.push(new(name));
            self.series.len() - 1
        });
        &mut self.series[index]
    }

    /// The series, in the order of the steps, times as multiples of the floor.
    pub fn into_series(mut self, floor: &Series) -> Vec<Series> {
        for series in self.series.iter_mut().filter(|series| series.is_of_times()) {
            series.compare("floor", floor);
        }
        self.series
    }
}
