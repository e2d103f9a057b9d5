//! The processes that belong to a home, found by what `/proc` says of them.

use crate::{GONE_DEADLINE, poll_until};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A process that a home started, directly or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its process id.
    pub pid: i32,
    /// Its command line, arguments separated by spaces.
    pub command_line: String,
}

/// The living processes whose command line, environment or working directory names `path`, without this one.
pub(crate) fn naming(path: &Path) -> Vec<Process> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| *pid != own).filter_map(|pid| of(pid, path)).collect()
}

/// Processes of others cannot be read, and those that end meanwhile are gone: neither is of this home.
fn of(pid: i32, path: &Path) -> Option<Process> {
    let directory = Path::new("/proc").join(pid.to_string());
    let needle = path.as_os_str().as_bytes();
    let command_line = fs::read(directory.join("cmdline")).ok()?;
    let environment = || fs::read(directory.join("environ")).unwrap_or_default();
    let inside = || fs::read_link(directory.join("cwd")).is_ok_and(|cwd| cwd.starts_with(path));
    if !contains(&command_line, needle) && !contains(&environment(), needle) && !inside() {
        return None;
    }
    let words: Vec<_> = command_line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    Some(Process { pid, command_line: words.join(" ").trim_end().to_owned() })
}

fn contains(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|window| window == needle)
}

impl Process {
    /// Kills it at once. That it has ended by itself is fine.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Kills it, and waits until the last of its threads has let go of its files.
    pub fn end(&self) {
        self.kill();
        let ended = poll_until(GONE_DEADLINE, || self.has_ended().then_some(()));
        assert!(ended.is_some(), "killed, and still there: {self:?}");
    }

    fn has_ended(&self) -> bool {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", self.pid)) else { return true };
        threads.count() <= 1 && self.status().is_none_or(|status| status.starts_with('Z'))
    }

    /// Stops it until what is returned is dropped.
    pub fn pause(&self) -> Paused {
        self.signal(Signal::STOP);
        Paused { process: self.clone() }
    }

    /// Whether it still runs anything: one that is ending, or waits for its parent to notice, has no memory any more.
    pub fn is_alive(&self) -> bool {
        fs::read(format!("/proc/{}/cmdline", self.pid)).is_ok_and(|words| !words.is_empty())
    }

    /// The process id of its parent; `None` once it has ended.
    pub fn parent(&self) -> Option<i32> {
        self.status()?.split(' ').nth(1)?.parse().ok()
    }

    /// What `/proc` says of it after its name: its state, its parent, and more.
    fn status(&self) -> Option<String> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // The name, in parentheses, may hold anything.
        Some(stat.rsplit_once(") ")?.1.to_owned())
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid) {
            // It may have ended.
            let _ended = kill_process(pid, signal);
        }
    }
}

/// A process that does nothing for a while.
#[derive(Debug)]
pub struct Paused {
    process: Process,
}

impl Drop for Paused {
    fn drop(&mut self) {
        self.process.signal(Signal::CONT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_is_found_by_arguments_environment_and_directory() {
        let home = tempfile::tempdir().unwrap();
        let marked = |mark: &dyn Fn(&mut Command)| {
            let mut command = Command::new("sh");
            command.args(["-c", "read line"]).stdin(Stdio::piped());
            mark(&mut command);
            command.spawn().unwrap()
        };
        let mut children = [
            marked(&|command| {
                command.arg(home.path().join("disk"));
            }),
            marked(&|command| {
                command.env("HOME", home.path());
            }),
            marked(&|command| {
                command.current_dir(home.path());
            }),
        ];
        let mut expected: Vec<i32> =
            children.iter().map(|child| i32::try_from(child.id()).unwrap()).collect();
        // Between fork and exec a child still looks like this process.
        let found = poll_until(std::time::Duration::from_secs(5), || {
            let mut found: Vec<i32> = naming(home.path()).iter().map(|process| process.pid).collect();
            found.sort_unstable();
            expected.sort_unstable();
            (found == expected).then_some(())
        });
        for process in naming(home.path()) {
            process.kill();
        }
        for child in &mut children {
            child.wait().unwrap();
        }
        assert!(found.is_some());
        assert_eq!(naming(home.path()), []);
    }
}
