//! EROFS images from tar streams. Uncompressed: see docs/performance.md.
//!
//! What mkfs.erofs 1.8 takes silently for something else must not be in the stream: sparse files, which it leaves out. On a
//! full disk it deadlocks once it has complained, so it is watched.

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Bundle;
use super::error::BundleError;
use super::tool::Tool;
use crate::fs::FsError;

/// The same for every image, so that the same tar gives the same bytes.
const IMAGE_UUID: &str = "9c5f5c6e-43a6-5d8b-b3a3-7079726f0001";
/// An image tool that does nothing for so long is stuck.
const STALL: Duration = Duration::from_mins(1);
/// How long it may take to end once it has complained.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How its complaints begin.
const COMPLAINT: &[u8] = b"<E>";
const KEPT_MESSAGE_BYTES: usize = 4096;

/// Where the last part of a file is, which fills no block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tails {
    /// Beside what says where the file is: the smallest image.
    Inline,
    /// With the rest of the file. Looking at files without reading them then takes few reads: 64 share a block.
    Apart,
}

/// A running `mkfs.erofs --tar`, to be written to; killed when dropped.
pub struct MkfsTar {
    child: Child,
    stdin: Option<ChildStdin>,
    messages: Option<JoinHandle<String>>,
    watchdog: Watchdog,
}

impl MkfsTar {
    /// Starts making the new file `target` from the tar that will be written. `epoch`: seconds that stand for its time of
    /// creation. Content is kept beside `target` meanwhile.
    pub fn start(bundle: &Bundle, target: &Path, epoch: i64, tails: Tails) -> Result<Self, BundleError> {
        let mut command = bundle.command(Tool::MkfsErofs);
        command.args(["--quiet", "--tar=f", "--mkfs-time", "--preserve-mtime", "-U", IMAGE_UUID]);
        if tails == Tails::Apart {
            command.arg("-Enoinline_data");
        }
        command.arg(format!("-T{epoch}")).arg(target);
        command.env("TMPDIR", target.parent().unwrap_or(Path::new("/")));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(FsError::on("start mkfs.erofs for", target))?;
        let (told, complained) = mpsc::channel();
        let watchdog =
            Watchdog::start(&child, complained).map_err(FsError::on("watch mkfs.erofs for", target))?;
        let stdin = child.stdin.take();
        let stderr = child.stderr.take();
        let messages = stderr.map(|stderr| std::thread::spawn(move || listen(stderr, &told)));
        Ok(Self { child, stdin, messages, watchdog })
    }

    /// Ends the tar and waits for the image. Fails with what the tool said, also where it ended before.
    pub fn finish(mut self) -> Result<(), BundleError> {
        drop(self.stdin.take());
        let status = self.child.wait();
        let mut message = self.messages.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        if self.watchdog.bit.load(Ordering::Relaxed) && message.is_empty() {
            message = format!("it made no progress for {} s", STALL.as_secs());
        }
        let tool = Tool::MkfsErofs.name();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(BundleError::Tool { tool, status, message }),
            Err(error) => {
                Err(BundleError::Tool { tool, status: ExitStatus::from_raw(-1), message: error.to_string() })
            }
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

/// Kills a process that stops taking input, that does not end after its input, or not after a complaint.
struct Watchdog {
    written: Arc<AtomicU64>,
    bit: Arc<AtomicBool>,
    /// Ends the watching thread by being dropped.
    _watching: Sender<()>,
}

impl Watchdog {
    fn start(child: &Child, complained: Receiver<()>) -> io::Result<Self> {
        let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
        let (written, bit) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (watching, ended) = mpsc::channel::<()>();
        let (progress, bite) = (Arc::clone(&written), Arc::clone(&bit));
        std::thread::Builder::new().name("pyro-watchdog".to_owned()).spawn(move || {
            let mut seen = 0;
            let has_ended = |patience| ended.recv_timeout(patience) != Err(RecvTimeoutError::Timeout);
            // Complaints end with the process.
            loop {
                let silent = complained.recv_timeout(STALL);
                let now = progress.load(Ordering::Relaxed);
                match silent {
                    Ok(()) if !has_ended(LAST_WORDS) => break,
                    Err(RecvTimeoutError::Timeout) if now == seen => break,
                    Err(RecvTimeoutError::Timeout) if !has_ended(Duration::ZERO) => seen = now,
                    _ => return,
                }
            }
            bite.store(true, Ordering::Relaxed);
            // Fails only when it has ended by itself.
            let _gone = pidfd_send_signal(&process, Signal::KILL);
        })?;
        Ok(Self { written, bit, _watching: watching })
    }
}

/// Reads what the tool says, tells when it complains, and keeps the end of it.
fn listen(mut stream: ChildStderr, told: &Sender<()>) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..count]);
        if kept.windows(COMPLAINT.len()).any(|words| words == COMPLAINT) {
            // Nobody listens once the process was given up.
            let _unheard = told.send(());
        }
        let surplus = kept.len().saturating_sub(KEPT_MESSAGE_BYTES);
        kept.drain(..surplus);
    }
    String::from_utf8_lossy(&kept).trim().to_owned()
}
