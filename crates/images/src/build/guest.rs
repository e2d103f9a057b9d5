//! The second stage: a throwaway guest in which the packages configure themselves.

use super::bootstrap::{PACKAGES_DIR, SCRIPT};
use super::{Builder, Origin, on};
use crate::{ImagesError, Recipe};
use pyro_protocol::serial;
use pyro_vmm::guest::{ExecEvent, ExecRequest, ExitStatus, Identity};
use pyro_vmm::{Disk, Guest, Machine, MachineSpec, MemMib, Start, VcpuCount, VmmError};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Serial of the disk that the script writes its archive to; the script looks for the same name.
const OUTPUT_SERIAL: &str = "pyro-output";
/// Virtual size of that disk; it is sparse.
const OUTPUT_BYTES: u64 = 16 << 30;
const MEMORY_MIB: u32 = 2048;
const BOOT_DEADLINE: Duration = Duration::from_mins(1);
/// A machine that is a tenth as fast as the slowest one measured still gets done.
const SCRIPT_DEADLINE: Duration = Duration::from_mins(45);
const KEPT_LOG_BYTES: usize = 16 * 1024;
const MAX_LINE_BYTES: usize = 1024;

/// A tar at the start of a raw disk.
pub(super) struct Archive {
    pub(super) disk: PathBuf,
    pub(super) bytes: u64,
}

/// Boots `bootstrap`, installs and configures its packages; returns the root that came out of it.
pub(super) async fn second_stage(
    builder: &Builder,
    recipe: &'static Recipe,
    work: &Path,
    bootstrap: &Path,
    origin: &Origin,
) -> Result<Archive, ImagesError> {
    let output = work.join("root.tar");
    let scratch = work.join("scratch.ext4");
    let disk = File::create_new(&output).map_err(on("create", &output))?;
    disk.set_len(OUTPUT_BYTES).map_err(on("extend", &output))?;
    pyro_runtime::fs::copy_sparse(&builder.bundle.scratch_template()?, &scratch)?;
    let spec = specification(builder, recipe, work, bootstrap, [&scratch, &output])?;

    builder.phase(recipe, "boot");
    let failed = |source| ImagesError::Guest { name: recipe.name, source };
    let machine = builder.engine.launch(spec).await.map_err(failed)?;
    let ran = run(builder, recipe, machine.as_ref(), origin).await;
    machine.kill().await;
    Ok(Archive { disk: output, bytes: ran? })
}

fn specification(
    builder: &Builder,
    recipe: &'static Recipe,
    work: &Path,
    bootstrap: &Path,
    [scratch, output]: [&PathBuf; 2],
) -> Result<MachineSpec, ImagesError> {
    let failed = |source| ImagesError::Guest { name: recipe.name, source };
    let writable =
        |path: &PathBuf, serial| Disk { path: path.clone(), serial, read_only: false, volatile: true };
    let read_only = |path: PathBuf, serial| Disk { path, serial, read_only: true, volatile: false };
    Ok(MachineSpec {
        lock: None,
        name: format!("pyro-build-{}", recipe.slug()),
        // dpkg reads a package in one process and writes its files in another; more CPUs would have nothing to do.
        vcpus: VcpuCount::new(2).map_err(failed)?,
        memory: MemMib::new(MEMORY_MIB).map_err(failed)?,
        kernel: builder.bundle.kernel_elf(),
        initramfs: builder.bundle.initramfs()?,
        disks: vec![
            read_only(bootstrap.to_owned(), serial::IMAGE),
            read_only(builder.bundle.modules_image(), serial::MODULES),
            writable(scratch, serial::SCRATCH),
            writable(output, OUTPUT_SERIAL),
        ],
        start: Start::Boot,
        directory: work.to_owned(),
    })
}

async fn run(
    builder: &Builder,
    recipe: &'static Recipe,
    machine: &dyn Machine,
    origin: &Origin,
) -> Result<u64, ImagesError> {
    let failed = |source| ImagesError::Guest { name: recipe.name, source };
    let guest = Guest::boot(machine, BOOT_DEADLINE).await.map_err(failed)?;
    let identity = Identity { hostname: "localhost".to_owned(), with_root: true, seeded: false };
    guest.configure(identity).await.map_err(failed)?;
    let script = format!("{PACKAGES_DIR}/{SCRIPT}");
    let epoch = origin.date.as_second().to_string();
    let argv = ["/bin/sh", &script, PACKAGES_DIR, &epoch, &origin.mirror, recipe.suite];
    let request = ExecRequest {
        argv: argv.iter().map(|word| word.as_bytes().to_vec()).collect(),
        cwd: Some(b"/".to_vec()),
        timeout: Some(SCRIPT_DEADLINE),
        ..ExecRequest::default()
    };
    let mut log = Log::default();
    let followed = follow(builder, recipe, &guest, request, &mut log).await;
    let status = followed.map_err(|error| failed(error.with_console(machine)))?;
    if let (0, Some(bytes)) = (status.exit_code, log.archive_bytes) {
        return Ok(bytes);
    }
    Err(ImagesError::Configure {
        name: recipe.name,
        exit_code: status.exit_code,
        phase: log.phase,
        log: log.kept,
    })
}

async fn follow(
    builder: &Builder,
    recipe: &Recipe,
    guest: &Guest,
    request: ExecRequest,
    log: &mut Log,
) -> Result<ExitStatus, VmmError> {
    let mut call = guest.exec(request).await?;
    loop {
        match call.next().await? {
            ExecEvent::Output(_, data) => {
                for phase in log.take(&data) {
                    builder.phase(recipe, &phase);
                }
            }
            ExecEvent::Exited(status) => return Ok(status),
        }
    }
}

/// The script's output: its end, and what it announces on lines of its own.
#[derive(Default)]
struct Log {
    phase: String,
    archive_bytes: Option<u64>,
    line: String,
    kept: String,
}

impl Log {
    /// Takes a piece of output; returns the phases that begin in it.
    fn take(&mut self, data: &[u8]) -> Vec<String> {
        let mut phases = Vec::new();
        for character in String::from_utf8_lossy(data).chars() {
            if character != '\n' {
                if !character.is_control() && self.line.len() < MAX_LINE_BYTES {
                    self.line.push(character);
                }
                continue;
            }
            if let Some(phase) = self.line.strip_prefix("phase ") {
                phase.clone_into(&mut self.phase);
                phases.push(phase.to_owned());
            }
            if let Some(totals) = self.line.strip_prefix("Total bytes written: ") {
                self.archive_bytes = totals.split(' ').next().and_then(|bytes| bytes.parse().ok());
            }
            self.kept.push_str(&self.line);
            self.kept.push('\n');
            self.line.clear();
        }
        let surplus = self.kept.len().saturating_sub(KEPT_LOG_BYTES);
        self.kept.drain(..self.kept.ceil_char_boundary(surplus));
        phases
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_are_found_however_the_output_is_split() {
        let mut log = Log::default();
        assert!(log.take(b"Setting up\npha").is_empty());
        assert_eq!(log.take(b"se configure\nmore\x1b[2J\nphase clean\n"), ["configure", "clean"]);
        assert_eq!(log.phase, "clean");
        log.take(b"Total bytes written: 10240 (10KiB, 1MiB/s)\n");
        assert_eq!(log.archive_bytes, Some(10_240));
        assert!(log.kept.contains("more[2J\n"), "nothing that moves a terminal");
    }

    #[test]
    fn a_flood_is_kept_to_its_end() {
        let mut log = Log::default();
        log.take("\u{e4}".repeat(KEPT_LOG_BYTES).as_bytes());
        assert!(log.line.len() <= MAX_LINE_BYTES + 4);
        for _ in 0..KEPT_LOG_BYTES {
            log.take(b"line\n");
        }
        log.take(b"end\n");
        assert!(log.kept.len() <= KEPT_LOG_BYTES && log.kept.ends_with("\nend\n"));
    }
}
