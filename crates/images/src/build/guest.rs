//! The second stage: a throwaway guest in which the packages configure themselves.

use super::bootstrap::{PACKAGES_DIR, SCRIPT};
use super::{Builder, on};
use crate::{ImagesError, Recipe};
use pyro_protocol::serial;
use pyro_vmm::guest::{ExecEvent, ExecRequest, ExitStatus, Identity};
use pyro_vmm::{Disk, Guest, Machine, MachineSpec, MemMib, VcpuCount, VmmError};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Serial of the disk that the script writes its archive to; the script looks for the same name.
const OUTPUT_SERIAL: &str = "pyro-output";
/// Virtual size of that disk; it is sparse.
const OUTPUT_BYTES: u64 = 16 << 30;
const MEMORY_MIB: u32 = 2048;
const BOOT_DEADLINE: Duration = Duration::from_secs(60);
/// A machine that is a tenth as fast as the slowest one measured still gets done.
const SCRIPT_DEADLINE: Duration = Duration::from_mins(45);
const KEPT_LOG_BYTES: usize = 16 * 1024;

/// Boots `bootstrap`, installs and configures its packages; returns the file that holds the root as a tar.
pub(super) async fn second_stage(
    builder: &Builder,
    recipe: &'static Recipe,
    work: &Path,
    bootstrap: &Path,
    epoch: i64,
) -> Result<PathBuf, ImagesError> {
    let output = work.join("root.tar");
    let scratch = work.join("scratch.ext4");
    let disk = File::create_new(&output).map_err(on("create", &output))?;
    disk.set_len(OUTPUT_BYTES).map_err(on("extend", &output))?;
    pyro_runtime::fs::copy_sparse(&builder.bundle.scratch_template()?, &scratch)?;
    let spec = specification(builder, recipe, work, bootstrap, [&scratch, &output])?;

    builder.progress.phase("configure");
    let failed = |source| ImagesError::Guest {
        name: recipe.name,
        source,
    };
    let mut machine = builder.engine.launch(spec).await.map_err(failed)?;
    let ran = run(builder, recipe, machine.as_mut(), epoch).await;
    machine.kill().await;
    ran?;
    Ok(output)
}

fn specification(
    builder: &Builder,
    recipe: &'static Recipe,
    work: &Path,
    bootstrap: &Path,
    [scratch, output]: [&PathBuf; 2],
) -> Result<MachineSpec, ImagesError> {
    let failed = |source| ImagesError::Guest {
        name: recipe.name,
        source,
    };
    let writable = |path: &PathBuf, serial| Disk {
        path: path.clone(),
        serial,
        read_only: false,
        volatile: true,
    };
    let read_only = |path: PathBuf, serial| Disk {
        path,
        serial,
        read_only: true,
        volatile: false,
    };
    Ok(MachineSpec {
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
        directory: work.to_owned(),
    })
}

async fn run(
    builder: &Builder,
    recipe: &'static Recipe,
    machine: &mut dyn Machine,
    epoch: i64,
) -> Result<(), ImagesError> {
    let failed = |source| ImagesError::Guest {
        name: recipe.name,
        source,
    };
    let guest = Guest::boot(machine, BOOT_DEADLINE).await.map_err(failed)?;
    guest
        .configure(Identity {
            hostname: "localhost".to_owned(),
            with_root: true,
        })
        .await
        .map_err(failed)?;
    let script = format!("{PACKAGES_DIR}/{SCRIPT}");
    let argv = ["/bin/sh", &script, PACKAGES_DIR, &epoch.to_string()];
    let request = ExecRequest {
        argv: argv.iter().map(|word| word.as_bytes().to_vec()).collect(),
        cwd: Some(b"/".to_vec()),
        timeout: Some(SCRIPT_DEADLINE),
        ..ExecRequest::default()
    };
    let mut log = Log {
        phase: "start".to_owned(),
        line: String::new(),
        kept: String::new(),
    };
    let status = follow(builder, &guest, request, &mut log).await.map_err(failed)?;
    if status.exit_code == 0 {
        return Ok(());
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
    guest: &Guest,
    request: ExecRequest,
    log: &mut Log,
) -> Result<ExitStatus, VmmError> {
    let mut call = guest.exec(request).await?;
    loop {
        match call.next().await? {
            ExecEvent::Output(_, data) => {
                for phase in log.take(&data) {
                    builder.progress.phase(&phase);
                }
            }
            ExecEvent::Exited(status) => return Ok(status),
        }
    }
}

/// The script's output: its end, and the phases it announces.
struct Log {
    phase: String,
    line: String,
    kept: String,
}

impl Log {
    /// Takes a piece of output; returns the phases that begin in it.
    fn take(&mut self, data: &[u8]) -> Vec<String> {
        let mut phases = Vec::new();
        for character in String::from_utf8_lossy(data).chars() {
            if character != '\n' {
                self.line.push(character);
                continue;
            }
            if let Some(phase) = self.line.strip_prefix("phase ") {
                phase.clone_into(&mut self.phase);
                phases.push(phase.to_owned());
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
    fn phases_are_found_however_the_output_is_split() {
        let mut log = Log {
            phase: "start".to_owned(),
            line: String::new(),
            kept: String::new(),
        };
        assert!(log.take(b"Setting up\npha").is_empty());
        assert_eq!(
            log.take(b"se configure\nmore\nphase clean\n"),
            ["configure", "clean"]
        );
        assert_eq!(log.phase, "clean");
        log.take("ä".repeat(KEPT_LOG_BYTES).as_bytes());
        log.take(b"\nend\n");
        assert!(log.kept.len() <= KEPT_LOG_BYTES && log.kept.ends_with("\nend\n"));
    }
}
