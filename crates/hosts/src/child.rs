//! Programs of hosts: started without a terminal, with a deadline, read within bounds, and killed with all that they started
//! when nobody waits any more.

use crate::HostError;
use rustix::process::{Pid, Signal, kill_process_group};
use std::ffi::OsString;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;

/// How long a call may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long outputs are read once the program has ended: what it left behind may keep them open.
const LINGER: Duration = Duration::from_millis(500);
/// Kept of each output; the rest is read and dropped.
const MAX_OUTPUT: usize = 1 << 20;

/// One call of a host's program.
#[derive(Debug, Clone)]
pub struct Call {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Variables besides those of this process.
    pub environment: Vec<(&'static str, OsString)>,
    /// The directory that it is started in.
    pub directory: PathBuf,
}

/// What came of one.
#[derive(Debug, Clone)]
pub struct Outcome {
    command: String,
    status: std::process::ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Call {
    /// Adds arguments.
    #[must_use]
    pub fn args<I: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = I>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Starts the program and waits for its end. It is killed, with its process group, when its time is up or nobody waits.
    pub async fn run(self) -> Result<Outcome, HostError> {
        self.run_within(DEADLINE).await
    }

    async fn run_within(self, deadline: Duration) -> Result<Outcome, HostError> {
        let command = self.shown();
        let failed = |source| HostError::Start { command: command.clone(), source };
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let mut group = Group::led_by(child.id());
        let (mut stdout, mut stderr) = (Kept::default(), Kept::default());
        let reading = both(stdout.fill(child.stdout.take()), stderr.fill(child.stderr.take()));
        let ended = async {
            let mut reading = std::pin::pin!(reading);
            tokio::select! {
                status = child.wait() => {
                    // What has arrived by then is all there is.
                    let _read = timeout(LINGER, reading).await;
                    status
                }
                () = &mut reading => child.wait().await,
            }
        };
        let status = match timeout(deadline, ended).await {
            Ok(status) => status.map_err(failed)?,
            Err(_) => return Err(HostError::TimedOut { command, seconds: deadline.as_secs() }),
        };
        group.0 = None;
        Ok(Outcome { command, status, stdout: stdout.into_text(), stderr: stderr.into_text() })
    }

    /// The call as errors name it: what follows the name of a subcommand can be long, and hold what is nobody's business.
    fn shown(&self) -> String {
        const SHOWN_WORDS: usize = 3;
        let name = self.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let words = self.arguments.iter().take(SHOWN_WORDS).map(|word| word.to_string_lossy().into_owned());
        std::iter::once(name).chain(words).collect::<Vec<_>>().join(" ")
    }
}

impl Outcome {
    /// Whether it ended with status 0.
    pub fn is_success(&self) -> bool {
        self.status.success()
    }

    /// Everything that it printed.
    pub fn said(&self) -> String {
        format!("{}\n{}", self.stderr.trim_end(), self.stdout.trim_end())
    }

    /// The same, unless it failed.
    pub fn expect_success(self) -> Result<Self, HostError> {
        if self.is_success() { Ok(self) } else { Err(self.failure()) }
    }

    /// It, as a failure.
    pub fn failure(&self) -> HostError {
        HostError::Failed {
            command: self.command.clone(),
            status: self.status.to_string(),
            output: self.said(),
        }
    }

    /// It, as something that nobody understands.
    pub fn not_understood(&self, reason: &dyn std::fmt::Display) -> HostError {
        HostError::NotUnderstood { command: self.command.clone(), reason: reason.to_string() }
    }
}

async fn both(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    tokio::join!(one, other);
}

#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
}

impl Kept {
    /// Reads to the end; that it cannot be read any more is its end, too.
    async fn fill(&mut self, from: Option<impl AsyncRead + Unpin>) {
        let Some(mut from) = from else { return };
        let mut buffer = vec![0; 16 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let room = MAX_OUTPUT - self.bytes.len();
            self.bytes.extend_from_slice(&buffer[..read.min(room)]);
        }
    }

    fn into_text(self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// A process group, killed when this is dropped while it is led: a host's program may be a wrapper, and it may start servers.
/// What a program leaves behind when it has ended by itself, as one that updates it, is its own matter.
struct Group(Option<Pid>);

impl Group {
    fn led_by(id: Option<u32>) -> Self {
        Self(id.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // That nobody is left in it is what is expected.
            let _gone = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The program of this name in `path`, a list as in `PATH`.
pub fn find(name: &str, path: Option<&std::ffi::OsStr>) -> Option<PathBuf> {
    std::env::split_paths(path?)
        .filter(|directory| directory.is_absolute())
        .map(|it| it.join(name))
        .find(|it| is_program(it))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn sh(script: &str) -> Call {
        let call = Call {
            program: "/bin/sh".into(),
            arguments: Vec::new(),
            environment: vec![("GIVEN", "value".into())],
            directory: "/tmp".into(),
        };
        call.args(["-c", script])
    }

    #[tokio::test]
    async fn outputs_and_status_are_told_apart() {
        let outcome = sh("cat; echo $GIVEN; pwd; echo err >&2; exit 3").run().await.unwrap();
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("value\n/tmp\n", "err\n"));
        let error = outcome.expect_success().unwrap_err();
        assert!(matches!(&error, HostError::Failed { output, .. } if output.contains("err")), "{error:?}");
    }

    #[tokio::test]
    async fn a_flood_is_cut_and_what_stays_behind_is_not_waited_for() {
        let outcome = sh("head -c 5000000 /dev/zero").run().await.unwrap();
        assert_eq!(outcome.stdout.len(), MAX_OUTPUT);
        let begun = Instant::now();
        let outcome = sh("echo here; sleep 60 &").run().await.unwrap();
        assert_eq!(outcome.stdout, "here\n");
        assert!(begun.elapsed() < Duration::from_secs(20));
    }

    #[tokio::test]
    async fn what_takes_too_long_is_killed_with_what_it_started() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let script = format!("sh -c 'echo $$ > {}; exec sleep 60' & wait", file.display());
        let error = sh(&script).run_within(Duration::from_secs(2)).await.unwrap_err();
        assert!(matches!(error, HostError::TimedOut { seconds: 2, .. }), "{error:?}");
        let pid = std::fs::read_to_string(&file).unwrap();
        let stat = format!("/proc/{}/cmdline", pid.trim());
        let gone = || std::fs::read(&stat).map_or(true, |words| words.is_empty());
        for _ in 0..200 {
            if gone() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} still runs", pid.trim());
    }

    #[test]
    fn only_programs_in_absolute_directories_are_found() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("sh"), "no program").unwrap();
        let path = std::env::join_paths([directory.path(), Path::new("bin"), Path::new("/bin")]).unwrap();
        assert_eq!(find("sh", Some(&path)), Some("/bin/sh".into()));
        assert_eq!(find("no-such-program", Some(&path)), None);
        assert_eq!(find("sh", None), None);
    }
}
