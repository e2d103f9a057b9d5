//! Calls of the host's `git`, in a repository that may be hostile.
//!
//! What a repository's own configuration could have `git` execute or reach is switched off three times over:
//!
//! - only commands are called that read no content and write nothing, so no filter and no hook has an occasion;
//! - what may run at any command (a file system monitor, hooks, pagers, transports, credential helpers) is overridden on the
//!   command line, which goes before every file;
//! - the environment names no repository, asks nothing, and allows no transport where none is needed.
//!
//! Git's own check that a repository belongs to the user stays in force. Each call is a session of its own, whose processes are
//! killed together when it takes too long or its future is dropped.

use super::ProjectError;
use pyro_runtime::child::own_session;
use rustix::process::{Pid, Signal, kill_process_group};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long a call that reads a checkout may take.
pub(super) const DEADLINE: Duration = Duration::from_mins(1);
/// Most bytes that a call may print: a million names of some length.
const MAX_OUTPUT_BYTES: u64 = 128 << 20;
/// What is kept of its complaints.
const MAX_COMPLAINT_BYTES: u64 = 64 << 10;
/// Characters of its complaints that an error shows.
const SHOWN_CHARS: usize = 400;
/// How long descriptors that it has passed on may stay open after its end.
const LINGER: Duration = Duration::from_secs(1);

/// What overrides every configuration file, in each call.
const ALWAYS: [&str; 12] = [
    "core.fsmonitor=",
    "core.hooksPath=/dev/null",
    "core.pager=cat",
    "core.editor=:",
    "core.untrackedCache=keep",
    "diff.external=",
    "advice.detachedHead=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "safe.bareRepository=explicit",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
];
/// The same, where nothing is to be reached.
const OFFLINE: [&str; 5] = [
    "protocol.allow=never",
    "core.sshCommand=false",
    "core.gitProxy=false",
    "core.askPass=",
    "credential.helper=",
];

/// Variables of Git's that say nothing of a repository: where the user's configuration is, and parts of it.
const USERS: [&[u8]; 5] = [
    b"GIT_CONFIG_GLOBAL",
    b"GIT_CONFIG_SYSTEM",
    b"GIT_CONFIG_NOSYSTEM",
    b"GIT_CONFIG_PARAMETERS",
    b"GIT_EXEC_PATH",
];
/// The same, by their beginnings.
const USERS_BEGIN: [&[u8]; 3] = [b"GIT_CONFIG_COUNT", b"GIT_CONFIG_KEY_", b"GIT_CONFIG_VALUE_"];
/// How the user reaches and authenticates to other hosts.
const TRANSPORTS_BEGIN: [&[u8]; 5] = [b"GIT_SSH", b"GIT_ASKPASS", b"GIT_SSL_", b"GIT_PROXY_", b"GIT_HTTP_"];

/// What a call may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Files only.
    Nothing,
    /// Other repositories, as the user does.
    Remotes,
}

/// One call of `git`.
pub(super) struct Call<'a> {
    /// The subcommand.
    command: &'static str,
    directory: &'a Path,
    deadline: Duration,
    inner: std::process::Command,
}

/// What a call has said.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) status: ExitStatus,
    pub(super) output: Vec<u8>,
    pub(super) complaint: String,
}

impl<'a> Call<'a> {
    /// A call of the subcommand `command` in `directory`.
    pub(super) fn new(command: &'static str, directory: &'a Path, reach: Reach) -> Self {
        let mut inner = std::process::Command::new("git");
        inner.current_dir(directory);
        for (name, _) in std::env::vars_os() {
            if is_removed(&name, reach) {
                inner.env_remove(name);
            }
        }
        inner.env("LC_ALL", "C").env_remove("LANGUAGE");
        let switches = [
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_NO_LAZY_FETCH", "1"),
            ("GIT_LFS_SKIP_SMUDGE", "1"),
            ("GIT_PAGER", "cat"),
            ("GIT_EDITOR", ":"),
        ];
        inner.envs(switches);
        let mut call = Self { command, directory, deadline: DEADLINE, inner };
        for setting in ALWAYS {
            call = call.with(setting);
        }
        call.reaching(reach)
    }

    fn reaching(mut self, reach: Reach) -> Self {
        match reach {
            Reach::Nothing => {
                self.inner.env("GIT_ALLOW_PROTOCOL", "none").env("GIT_ASKPASS", "");
                OFFLINE.into_iter().fold(self, Call::with)
            }
            Reach::Remotes => {
                // Nobody is there to answer: a terminal is not (see `own_session`), a window must not be.
                self.inner.env("GIT_ALLOW_PROTOCOL", "https:http:ssh:git:file");
                self.inner.env("SSH_ASKPASS_REQUIRE", "never").env("GCM_INTERACTIVE", "never");
                if std::env::var_os("GIT_ASKPASS").is_none() {
                    self.inner.env("GIT_ASKPASS", "");
                }
                // A server that stalls is given up before the deadline.
                self.with("http.lowSpeedLimit=1000").with("http.lowSpeedTime=60")
            }
        }
    }

    /// Overrides a setting, `NAME=VALUE`.
    pub(super) fn with(mut self, setting: impl AsRef<OsStr>) -> Self {
        self.inner.arg("-c").arg(setting);
        self
    }

    /// Ignores the configuration of the user and of the host.
    pub(super) fn without_users_settings(mut self) -> Self {
        for name in ["GIT_CONFIG_COUNT", "GIT_CONFIG_PARAMETERS", "GIT_CONFIG_SYSTEM"] {
            self.inner.env_remove(name);
        }
        self.inner.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        // What reads neither of them (Git before 2.32) looks here.
        self.inner
            .env("HOME", "/nonexistent")
            .env("XDG_CONFIG_HOME", "/nonexistent")
            .env("GIT_ATTR_NOSYSTEM", "1");
        self
    }

    /// Names the repository and its working tree, instead of looking for them.
    pub(super) fn on(mut self, repository: &Path, tree: &Path) -> Self {
        self.inner.env("GIT_DIR", repository).env("GIT_WORK_TREE", tree);
        self
    }

    pub(super) fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs it with these arguments, and returns what it said, whether it failed or not.
    pub(super) async fn run<S: AsRef<OsStr>>(mut self, arguments: &[S]) -> Result<Said, ProjectError> {
        self.inner.arg(self.command).args(arguments);
        self.inner.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        own_session(&mut self.inner);
        let (command, deadline) = (self.command, self.deadline);
        let mut running = Running::start(self.inner)?;
        match timeout(deadline, running.finish(command)).await {
            Ok(said) => said,
            Err(_) => Err(ProjectError::TimedOut { command, deadline }),
        }
    }

    /// The same, where it must succeed; returns what it printed.
    pub(super) async fn output<S: AsRef<OsStr>>(self, arguments: &[S]) -> Result<Vec<u8>, ProjectError> {
        let (command, directory) = (self.command, self.directory.to_owned());
        let said = self.run(arguments).await?;
        if said.status.success() { Ok(said.output) } else { Err(failure(command, &directory, &said)) }
    }
}

fn is_removed(name: &OsStr, reach: Reach) -> bool {
    let name = name.as_bytes();
    let begins = |beginnings: &[&[u8]]| beginnings.iter().any(|beginning| name.starts_with(beginning));
    let is_users = USERS.contains(&name) || begins(&USERS_BEGIN);
    let is_needed = is_users || reach == Reach::Remotes && begins(&TRANSPORTS_BEGIN);
    name.starts_with(b"GIT_") && !is_needed
}

/// Fails where there is no `git` that starts.
pub(super) async fn check_installed() -> Result<(), ProjectError> {
    Call::new("version", Path::new("/"), Reach::Nothing).output::<OsString>(&[]).await.map(drop)
}

/// A `git` that runs. Dropping it kills it, with everything that it has started.
struct Running {
    child: Child,
}

impl Running {
    fn start(command: std::process::Command) -> Result<Self, ProjectError> {
        let child = Command::from(command).kill_on_drop(true).spawn().map_err(ProjectError::NoGit)?;
        Ok(Self { child })
    }

    async fn finish(&mut self, command: &'static str) -> Result<Said, ProjectError> {
        let (mut output, mut complaint) = (Vec::new(), Vec::new());
        let (stdout, stderr) = (self.child.stdout.take(), self.child.stderr.take());
        let status = {
            let reading = async {
                tokio::join!(
                    keep(stdout, &mut output, MAX_OUTPUT_BYTES + 1, Then::Close),
                    keep(stderr, &mut complaint, MAX_COMPLAINT_BYTES, Then::Ignore)
                );
            };
            tokio::pin!(reading);
            let status = tokio::select! {
                // Whoever prints too much is not waited for: its pipe is full.
                () = &mut reading => self.child.wait().await,
                status = self.child.wait() => {
                    // What it leaves behind, as a shared connection, may hold on to its outputs.
                    let _cut = timeout(LINGER, &mut reading).await;
                    status
                }
            };
            status.map_err(ProjectError::LostGit)?
        };
        if output.len() as u64 > MAX_OUTPUT_BYTES {
            return Err(ProjectError::TooMuch { command, most: MAX_OUTPUT_BYTES });
        }
        Ok(Said { status, output, complaint: String::from_utf8_lossy(&complaint).into_owned() })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It leads its group until it is reaped; after that the number may be another's.
        let leader = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(leader) = leader {
            let _gone = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// What is done with an output that has more than is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Close,
    Ignore,
}

/// Reads `from` until its end, and keeps the first `most` bytes.
async fn keep(from: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>, most: u64, then: Then) {
    if let Some(mut from) = from {
        // What cannot be read is not said.
        let _end = (&mut from).take(most).read_to_end(kept).await;
        if then == Then::Ignore {
            let _end = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
        }
    }
}

/// What is behind the failure of a call.
pub(super) fn failure(command: &'static str, directory: &Path, said: &Said) -> ProjectError {
    let (root, complaint) = (directory.to_owned(), said.complaint.as_str());
    let has = |part: &str| complaint.contains(part);
    if has("dubious ownership") || has("unsafe repository") {
        return ProjectError::DubiousOwner { root };
    }
    let message = message(said);
    if ["index file", "index uses", "bad index", "unknown index entry", "sha1 in index", "bad signature"]
        .into_iter()
        .any(has)
    {
        return ProjectError::BadIndex { root, message };
    }
    ProjectError::Git { command, root, message }
}

/// What a call says about its failure, in one line for a person.
pub(super) fn message(said: &Said) -> String {
    let lines: Vec<&str> = said.complaint.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let is_told = |line: &&&str| ["fatal: ", "error: ", "ERROR: "].iter().any(|mark| line.starts_with(mark));
    let told = lines.iter().find(is_told).or(lines.last()).copied();
    let told = told.map_or_else(|| said.status.to_string(), ToOwned::to_owned);
    let told = told.strip_prefix("fatal: ").or(told.strip_prefix("error: ")).unwrap_or(&told);
    told.chars().take(SHOWN_CHARS).collect::<String>().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::block_on;
    use rustix::process::test_kill_process_group;
    use std::time::Instant;

    #[test]
    fn a_call_ends_with_everything_that_it_has_started() {
        block_on(async {
            let mut command = std::process::Command::new("sh");
            command.args(["-c", "sleep 1000 & sleep 1000"]).stdin(Stdio::null());
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            own_session(&mut command);
            let mut running = Running::start(command).unwrap();
            let group = Pid::from_raw(running.child.id().unwrap().try_into().unwrap()).unwrap();
            assert!(timeout(Duration::from_millis(200), running.finish("sleep")).await.is_err());
            assert!(test_kill_process_group(group).is_ok());
            drop(running);
            let begun = Instant::now();
            while test_kill_process_group(group).is_ok() {
                assert!(begun.elapsed() < Duration::from_secs(10), "the group lives on");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    }

    #[test]
    fn what_is_left_behind_with_the_outputs_is_not_waited_for() {
        let begun = Instant::now();
        let said = block_on(async {
            let mut command = std::process::Command::new("sh");
            command.args(["-c", "sleep 20 & echo out; echo err >&2; exit 3"]).stdin(Stdio::null());
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            Running::start(command).unwrap().finish("sleep").await.unwrap()
        });
        assert_eq!(
            (said.status.code(), said.output.as_slice(), said.complaint.as_str()),
            (Some(3), &b"out\n"[..], "err\n")
        );
        assert!(begun.elapsed() < Duration::from_secs(15));
    }

    #[test]
    fn a_failure_is_told_in_one_line() {
        let said = |complaint: &str| Said {
            status: ExitStatus::default(),
            output: Vec::new(),
            complaint: complaint.to_owned(),
        };
        let cases = [
            ("warning: x\nfatal: it failed\n", "it failed"),
            ("error: a\x1b[2J b\n", r"a\u{1b}[2J b"),
            ("something\nlast\n\n", "last"),
            ("", "exit status: 0"),
        ];
        for (complaint, expected) in cases {
            assert_eq!(message(&said(complaint)), expected);
        }
    }
}
