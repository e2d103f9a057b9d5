//! Running the bundle's programs.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::contents;
use super::error::BundleError;
use crate::fs::FsError;

/// A program of the bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tool {
    /// The virtual machine monitor, for x86-64 guests.
    Qemu,
    /// Makes ext4 file systems.
    Mke2fs,
    /// Checks ext4 file systems.
    E2fsck,
    /// Looks into ext4 file systems without mounting them.
    Debugfs,
    /// Grows and shrinks ext4 file systems.
    Resize2fs,
    /// Describes ext4 file systems.
    Dumpe2fs,
    /// Makes EROFS images.
    MkfsErofs,
    /// Checks and unpacks EROFS images.
    FsckErofs,
    /// Describes EROFS images.
    DumpErofs,
    /// Indexes kernel modules.
    Depmod,
}

impl Tool {
    /// The program's name: of its file, and what it is told to be called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Qemu => "qemu-system-x86_64",
            Self::Mke2fs => "mke2fs",
            Self::E2fsck => "e2fsck",
            Self::Debugfs => "debugfs",
            Self::Resize2fs => "resize2fs",
            Self::Dumpe2fs => "dumpe2fs",
            Self::MkfsErofs => "mkfs.erofs",
            Self::FsckErofs => "fsck.erofs",
            Self::DumpErofs => "dump.erofs",
            // One program that is several; which one goes by its name.
            Self::Depmod => "depmod",
        }
    }
}

/// The command for `tool` of the bundle in `dir`: see [`super::Bundle::command`].
pub(super) fn command(dir: &Path, tool: Tool) -> Command {
    let lib = dir.join("lib");
    let mut command = Command::new(lib.join(contents::LOADER));
    command
        .arg("--inhibit-cache")
        .arg("--library-path")
        .arg(&lib)
        .args(["--argv0", tool.name()])
        .arg(dir.join("bin").join(tool.name()))
        .env_clear()
        .env("LC_ALL", "C")
        .env("TZ", "UTC");
    match tool {
        Tool::Qemu => {
            // There are no modules: the directory is named so that none of the host's QEMU are looked at.
            command.env("QEMU_MODULE_DIR", lib.join("qemu")).arg("-L").arg(dir.join("share/qemu"));
        }
        Tool::Mke2fs => {
            command.env("MKE2FS_CONFIG", dir.join("etc/mke2fs.conf"));
        }
        _ => {}
    }
    crate::child::attach(&mut command);
    command
}

/// How much of what a failing tool prints is kept.
const MESSAGE_BYTES: u64 = 16 * 1024;

/// How often a running tool is looked at.
const POLL: Duration = Duration::from_millis(5);

/// Runs a command of `tool` to its end; fails with what it printed, and kills it after `limit`.
pub(super) fn run(tool: Tool, command: &mut Command, limit: Duration) -> Result<(), BundleError> {
    let program = command.get_program().to_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(FsError::on("run", program))?;
    let stderr = child.stderr.take();
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(stderr) = stderr {
            // What cannot be read is only missing from a message; the rest is drained so that the tool never blocks.
            let mut limited = stderr.take(MESSAGE_BYTES);
            let _ = limited.read_to_end(&mut text);
            let _ = std::io::copy(&mut limited.into_inner(), &mut std::io::sink());
        }
        String::from_utf8_lossy(&text).trim().to_owned()
    });
    let status = wait(tool, &mut child, limit);
    let message = reader.join().unwrap_or_default();
    let status = status?;
    if status.success() { Ok(()) } else { Err(BundleError::Tool { tool: tool.name(), status, message }) }
}

fn wait(tool: Tool, child: &mut Child, limit: Duration) -> Result<std::process::ExitStatus, BundleError> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(FsError::on("wait for", tool.name()))? {
            return Ok(status);
        }
        if start.elapsed() > limit {
            // It may end by itself just now; either way it is gone after the wait.
            let _ = child.kill();
            let _ = child.wait();
            return Err(BundleError::ToolTimeout { tool: tool.name(), limit });
        }
        std::thread::sleep(POLL);
    }
}
