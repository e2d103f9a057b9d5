//! One workspace, step by step.

use super::super::memory::pss_mib;
use super::super::series::{Collected, Series};
use super::{create, seeds, shell, supervisor_pid};
use anyhow::Result;
use pyro::Pyro;
use pyro::workspace::{SnapshotName, WorkspaceExportRequest, WorkspacePath, WorkspaceSyncRequest};
use std::time::Instant;
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
    series: Collected,
}

impl Steps {
    pub fn new() -> Result<Self> {
        let (files, bytes) = REPOSITORY;
        let series = Collected::new("workspace");
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
        self.series.time("create, empty", begun.elapsed());
        let begun = Instant::now();
        shell(pyro, &id, "true").await?;
        self.series.time("first exec", begun.elapsed());
        for _ in 0..REPEATED {
            let begun = Instant::now();
            shell(pyro, &id, "true").await?;
            self.series.time("live exec", begun.elapsed());
        }
        let path = WorkspacePath::parse("notes/a.txt").map_err(pyro::PyroError::from)?;
        for _ in 0..REPEATED {
            let begun = Instant::now();
            pyro.write_workspace_file(&id, &path, "some text\n").await?;
            self.series.time("file write", begun.elapsed());
            let begun = Instant::now();
            pyro.read_workspace_file(&id, &path, 65_536).await?;
            self.series.time("file read", begun.elapsed());
        }
        self.series.size("supervisor", pss_mib(supervisor_pid(pyro, &id)?)?);
        self.transfers(pyro, &id).await?;

        shell(pyro, &id, WRITE_100_MB).await?;
        let begun = Instant::now();
        pyro.create_snapshot(&id, &SnapshotName::parse("large").map_err(pyro::PyroError::from)?).await?;
        self.series.time("snapshot, 100 MB written", begun.elapsed());

        shell(pyro, &id, RUIN).await?;
        let begun = Instant::now();
        pyro.reset_workspace(&id, &SnapshotName::baseline()).await?;
        self.series.time("reset, guest ruined", begun.elapsed());
        let begun = Instant::now();
        pyro.stop_workspace(&id).await?;
        self.series.time("stop", begun.elapsed());
        let begun = Instant::now();
        pyro.start_workspace(&id).await?;
        self.series.time("start", begun.elapsed());
        let begun = Instant::now();
        pyro.delete_workspace(&id).await?;
        self.series.time("delete", begun.elapsed());
        Ok(())
    }

    async fn transfers(&mut self, pyro: &Pyro, id: &pyro::workspace::WorkspaceId) -> Result<()> {
        let dest = WorkspacePath::parse("large").map_err(pyro::PyroError::from)?;
        let begun = Instant::now();
        let sync = WorkspaceSyncRequest { source_path: self.large.path().to_owned(), dest: dest.clone() };
        pyro.push_workspace_sync(id, sync).await?;
        self.series.rate("import, one file of 64 MiB", LARGE_BYTES, begun.elapsed());
        let output_path = self.exports.path().join(id.as_str());
        let begun = Instant::now();
        let export = WorkspaceExportRequest { path: dest, output_path: output_path.clone() };
        pyro.export_workspace(id, export).await?;
        self.series.rate("export, one file of 64 MiB", LARGE_BYTES, begun.elapsed());
        std::fs::remove_dir_all(output_path)?;
        Ok(())
    }

    async fn repository(&mut self, pyro: &Pyro) -> Result<()> {
        let begun = Instant::now();
        let id = create(pyro, Some(self.repository.path().to_owned())).await?.workspace_id;
        self.series.time("create, 1,000 files of 10 MB", begun.elapsed());
        let output_path = self.exports.path().join(id.as_str());
        let begun = Instant::now();
        let path = WorkspacePath::parse(".").map_err(pyro::PyroError::from)?;
        pyro.export_workspace(&id, WorkspaceExportRequest { path, output_path: output_path.clone() }).await?;
        self.series.rate("export, 1,000 files", REPOSITORY.1, begun.elapsed());
        std::fs::remove_dir_all(output_path)?;
        let begun = Instant::now();
        pyro.reset_workspace(&id, &SnapshotName::baseline()).await?;
        self.series.time("reset, 1,000 files", begun.elapsed());
        pyro.delete_workspace(&id).await?;
        Ok(())
    }

    /// The series, in the order of the steps, times as multiples of the floor.
    pub fn into_series(self, floor: &Series) -> Vec<Series> {
        self.series.into_series(floor)
    }
}
