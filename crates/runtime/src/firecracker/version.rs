//! Versions of Firecracker, and asking a program for its own.

use std::fmt;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::child;

/// How long a program may take to say its version.
const VERSION_DEADLINE: Duration = Duration::from_secs(5);
const VERSION_POLL: Duration = Duration::from_millis(1);
const MAX_SAID_BYTES: u64 = 4096;
/// Tells that a child has ended, and leaves it to be waited for.
const ENDED: WaitIdOptions = WaitIdOptions::EXITED.union(WaitIdOptions::NOHANG).union(WaitIdOptions::NOWAIT);

/// A version of Firecracker: major, minor, patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub(super) u32, pub(super) u32, pub(super) u32);

impl Version {
    /// From what `firecracker --version` prints first, as "Firecracker v1.16.1". A suffix, as of a development version, counts
    /// for nothing.
    pub(super) fn parse(said: &str) -> Option<Self> {
        let numbers = said.lines().next()?.trim().strip_prefix("Firecracker v")?;
        let numbers = numbers.split(['-', '+']).next()?;
        let mut parts = numbers.split('.').map(|part| part.parse().ok());
        let version = Self(parts.next()??, parts.next()??, parts.next()??);
        parts.next().is_none().then_some(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// What `PROGRAM --version` prints.
pub(super) fn said_of_version(program: &Path) -> io::Result<String> {
    let mut command = Command::new(program);
    command.arg("--version").env_clear().current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped());
    child::attach(&mut command);
    command.stderr(Stdio::null()).process_group(0);
    let begun = Instant::now();
    let mut child = loop {
        match command.spawn() {
            // A child that was forked while the program was being written has it open until it executes its own.
            Err(error)
                if error.kind() == io::ErrorKind::ExecutableFileBusy
                    && begun.elapsed() < VERSION_DEADLINE =>
            {
                std::thread::sleep(VERSION_POLL);
            }
            spawned => break spawned?,
        }
    };
    let listened = listen(&mut child, begun);
    // Whatever it has started is of its group, and goes with it. Its id is its own until it is waited for.
    let _ended = kill_process_group(Pid::from_child(&child), Signal::KILL);
    child.wait()?;
    Ok(String::from_utf8_lossy(&listened?).into_owned())
}

/// What `child` prints until it ends, or has said more than anybody wants to hear.
fn listen(child: &mut Child, begun: Instant) -> io::Result<Vec<u8>> {
    let mut said = Vec::new();
    let Some(mut stdout) = child.stdout.take() else { return Ok(said) };
    rustix::io::ioctl_fionbio(&stdout, true)?;
    loop {
        // Before it is read, so that all that it has said is.
        let has_ended = waitid(WaitId::Pid(Pid::from_child(child)), ENDED)?.is_some();
        let room = MAX_SAID_BYTES.saturating_sub(said.len() as u64);
        match stdout.by_ref().take(room).read_to_end(&mut said) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read.map(|_| said),
        }
        if has_ended {
            return Ok(said);
        }
        if begun.elapsed() > VERSION_DEADLINE {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(VERSION_POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::write_program;

    #[test]
    fn versions_are_read_from_what_a_program_says() {
        let cases = [
            (
                "Firecracker v1.16.1\n\nSupported snapshot data format versions: v10.0.0\n",
                Some(Version(1, 16, 1)),
            ),
            ("Firecracker v1.17.0-dev\n", Some(Version(1, 17, 0))),
            ("Firecracker v1.16\n", None),
            ("Firecracker v1.16.1.2\n", None),
            ("QEMU emulator version 10.0\n", None),
            ("", None),
        ];
        for (said, expected) in cases {
            assert_eq!(Version::parse(said), expected, "{said}");
        }
        assert!(Version(1, 9, 9) < Version(1, 12, 0) && Version(2, 0, 0) > Version(1, 16, 1));
    }

    #[test]
    fn a_program_that_says_too_much_or_leaves_others_behind_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("firecracker");
        let begun = Instant::now();
        for rest in ["sleep 60 &", "yes"] {
            let text = format!("#!/bin/sh\necho Firecracker v1.16.1\n{rest}\n");
            write_program(&path, text.as_bytes()).unwrap();
            let said = said_of_version(&path).unwrap();
            assert_eq!(Version::parse(&said), Some(Version(1, 16, 1)), "{rest}");
        }
        assert!(begun.elapsed() < VERSION_DEADLINE, "{:?}", begun.elapsed());
    }
}
