//! EROFS images from tar streams, with the bundle's mkfs.erofs. Uncompressed: see docs/performance.md.

use super::guest::Archive;
use super::on;
use crate::ImagesError;
use pyro_runtime::{Bundle, Tool};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The same for every image, so that the same tar gives the same bytes.
const IMAGE_UUID: &str = "9c5f5c6e-43a6-5d8b-b3a3-7079726f0001";
/// An image tool that does nothing for so long is stuck.
const STALL: Duration = Duration::from_mins(1);
const KEPT_MESSAGE_BYTES: usize = 4096;

/// A running `mkfs.erofs --tar`, to be written to; killed when dropped.
pub(super) struct MkfsTar {
    child: Child,
    stdin: Option<ChildStdin>,
    messages: Option<JoinHandle<String>>,
    watchdog: Watchdog,
}

impl MkfsTar {
    /// Starts making `target` from the tar that will be written. `epoch`: seconds that stand for its time of creation.
    pub(super) fn start(bundle: &Bundle, target: &Path, epoch: i64) -> Result<Self, ImagesError> {
        let mut command = mkfs(bundle, target, epoch);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(on("start mkfs.erofs for", target))?;
        let watchdog = Watchdog::start(&child).map_err(on("watch mkfs.erofs for", target))?;
        let stdin = child.stdin.take();
        let stderr = child.stderr.take();
        let messages = stderr.map(|stderr| std::thread::spawn(move || tail_of(stderr)));
        Ok(Self { child, stdin, messages, watchdog })
    }

    /// Ends the tar and waits for the image.
    pub(super) fn finish(mut self) -> Result<(), ImagesError> {
        drop(self.stdin.take());
        let status = self.child.wait();
        let mut message = self.messages.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        if self.watchdog.bit.load(Ordering::Relaxed) {
            message = format!("it made no progress for {} s, as it does on a full disk", STALL.as_secs());
        }
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(failed(&format!("{status}: {message}"))),
            Err(error) => Err(failed(&error.to_string())),
        }
    }
}

impl Write for MkfsTar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.write(bytes)?;
        self.watchdog.written.fetch_add(1, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for MkfsTar {
    fn drop(&mut self) {
        // Both fail only when it has ended and been waited for, as it has after `finish`.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Kills a process that stops taking input, or that does not end after its input: mkfs.erofs deadlocks on a full disk.
struct Watchdog {
    written: Arc<AtomicU64>,
    bit: Arc<AtomicBool>,
    /// Ends the watching thread by being dropped.
    _watching: mpsc::Sender<()>,
}

impl Watchdog {
    fn start(child: &Child) -> io::Result<Self> {
        let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
        let (written, bit) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (watching, ended) = mpsc::channel();
        let (progress, bite) = (Arc::clone(&written), Arc::clone(&bit));
        std::thread::Builder::new().name("pyro-watchdog".to_owned()).spawn(move || {
            let mut seen = 0;
            while ended.recv_timeout(STALL) == Err(RecvTimeoutError::Timeout) {
                let now = progress.load(Ordering::Relaxed);
                if now == seen {
                    bite.store(true, Ordering::Relaxed);
                    // Fails only when it has ended by itself.
                    let _gone = pidfd_send_signal(&process, Signal::KILL);
                    return;
                }
                seen = now;
            }
        })?;
        Ok(Self { written, bit, _watching: watching })
    }
}

/// Makes `target` from `archive`; returns the sha256 of the image, in hexadecimal.
pub(super) fn from_tar(
    bundle: &Bundle,
    archive: &Archive,
    target: &Path,
    epoch: i64,
) -> Result<String, ImagesError> {
    // The disk is longer than the archive on it.
    let tar = File::open(&archive.disk).map_err(on("open", &archive.disk))?;
    let mut mkfs = MkfsTar::start(bundle, target, epoch)?;
    let copied = io::copy(&mut tar.take(archive.bytes), &mut mkfs);
    mkfs.finish()?;
    copied.map_err(on("read", &archive.disk))?;
    Ok(crate::store::digest_of(target)?.to_string())
}

fn mkfs(bundle: &Bundle, target: &Path, epoch: i64) -> Command {
    let mut command = bundle.command(Tool::MkfsErofs);
    command.args(["--quiet", "--tar=f", "--mkfs-time", "--preserve-mtime", "-U", IMAGE_UUID]);
    command.arg(format!("-T{epoch}")).arg(target);
    command
}

fn failed(message: &str) -> ImagesError {
    ImagesError::Tool { tool: "mkfs.erofs", message: message.trim().to_owned() }
}

fn tail_of(mut stream: impl Read) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..count]);
        let surplus = kept.len().saturating_sub(KEPT_MESSAGE_BYTES);
        kept.drain(..surplus);
    }
    String::from_utf8_lossy(&kept).into_owned()
}
