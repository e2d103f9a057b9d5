//! One command in the guest, as a stream of events.

use super::call::{Call, CallInput, CallReplies};
use super::secrets::{self, SecretVariable};
use super::stream::StreamOpener;
use super::within;
use crate::VmmError;
use bytes::Bytes;
use pyro_protocol::limits::{MAX_CHUNK_BYTES, MAX_TIMEOUT};
use pyro_protocol::v1::{self, input, reply::Reply, request};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

const CALL: &str = "exec";
/// How long the agent may take to start a command.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How much longer than a command's own timeout the host waits for the agent to report its end.
const REPORT_GRACE: Duration = Duration::from_secs(2);
/// How long the guest may take to accept a piece of standard input.
const INPUT_DEADLINE: Duration = MAX_TIMEOUT;

/// A command to run.
#[derive(Debug, Clone, Default)]
pub struct ExecRequest {
    /// Program and arguments; a program without a slash is looked up in the guest's `PATH`.
    pub argv: Vec<Vec<u8>>,
    /// Working directory; `None` for the default one.
    pub cwd: Option<Vec<u8>>,
    /// Additions to the default environment.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// Secrets of the guest's that become variables.
    pub secrets: Vec<SecretVariable>,
    /// After this long the command's whole process group is killed. At most a day, which is also the default.
    pub timeout: Option<Duration>,
    /// Standard input will be sent; otherwise it is empty.
    pub stdin: bool,
}

/// Which output a piece of data came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What happens to a running command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecEvent {
    /// A piece of output, at most 64 KiB.
    Output(OutputStream, Bytes),
    /// It ended, and all of its output was reported.
    Exited(ExitStatus),
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitStatus {
    /// 0–255: its own exit code, 128 + signal, or 124 when it timed out.
    pub exit_code: u8,
    /// It ran into its timeout and its process group was killed.
    pub timed_out: bool,
    /// Time in the guest from start to end.
    pub duration: Duration,
    /// Left-over processes held the output open; what they write later is lost.
    pub output_cut: bool,
}

impl From<v1::Exited> for ExitStatus {
    fn from(exited: v1::Exited) -> Self {
        Self {
            exit_code: u8::try_from(exited.exit_code & 0xff).unwrap_or(u8::MAX),
            timed_out: exited.timed_out,
            duration: Duration::from_millis(exited.duration_ms),
            output_cut: exited.output_cut,
        }
    }
}

/// A running command. Dropping it, and its input where that was taken, kills the command's process group.
pub struct ExecCall {
    replies: CallReplies,
    input: Option<ExecInput>,
    deadline: Instant,
    limit: Duration,
}

/// The host's direction of a running command: standard input and signals. It may be written while events are read
/// elsewhere, and has to be where a command answers before it has read everything.
pub struct ExecInput {
    input: CallInput,
}

impl ExecCall {
    pub(super) async fn start(streams: &StreamOpener, request: ExecRequest) -> Result<Self, VmmError> {
        let limit = request.timeout.unwrap_or(MAX_TIMEOUT).min(MAX_TIMEOUT);
        let message = v1::Exec {
            argv: request.argv.into_iter().map(Bytes::from).collect(),
            cwd: request.cwd.unwrap_or_default().into(),
            env: request
                .env
                .into_iter()
                .map(|(name, value)| v1::EnvVar { name: name.into(), value: value.into() })
                .collect(),
            timeout_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
            stdin: request.stdin,
            secrets: secrets::variables(request.secrets),
        };
        // A guest that is stuck costs its caller no more than the command itself may.
        let start = START_DEADLINE.min(limit + REPORT_GRACE);
        let call = within(CALL, start, async {
            let mut call = Call::open(streams, CALL, request::Call::Exec(message)).await?;
            match call.replies.next().await? {
                Reply::Started(_) => Ok(call),
                _ => Err(call.replies.misbehaved("it reported output of a command that had not started")),
            }
        })
        .await?;
        let input = Some(ExecInput { input: call.input });
        Ok(Self { replies: call.replies, input, deadline: Instant::now() + limit + REPORT_GRACE, limit })
    }

    /// The host's direction of the command, once.
    pub fn take_input(&mut self) -> Option<ExecInput> {
        self.input.take()
    }

    /// The next event; after [`ExecEvent::Exited`] nothing may be read any more. Fails with
    /// [`VmmError::CallTimeout`] when the guest does not report the end of a command that must long be over.
    pub async fn next(&mut self) -> Result<ExecEvent, VmmError> {
        let reply = timeout_at(self.deadline, self.replies.next())
            .await
            .map_err(|_| VmmError::CallTimeout { call: CALL, waited: self.limit + REPORT_GRACE })??;
        match reply {
            Reply::Output(output) => {
                let stream = match output.stream() {
                    v1::OutputStream::Stdout => OutputStream::Stdout,
                    v1::OutputStream::Stderr => OutputStream::Stderr,
                    v1::OutputStream::Unspecified => {
                        return Err(self.replies.misbehaved("it sent output of an unknown stream"));
                    }
                };
                Ok(ExecEvent::Output(stream, output.data))
            }
            Reply::Exited(exited) => Ok(ExecEvent::Exited(exited.into())),
            _ => Err(self.replies.misbehaved("it sent something else than output or an end")),
        }
    }
}

impl ExecInput {
    /// Sends standard input, of any length.
    pub async fn write_stdin(&mut self, data: &[u8]) -> Result<(), VmmError> {
        for chunk in data.chunks(MAX_CHUNK_BYTES) {
            let data = v1::Data { data: Bytes::copy_from_slice(chunk) };
            within(CALL, INPUT_DEADLINE, self.input.send(input::Input::Data(data))).await?;
        }
        Ok(())
    }

    /// Ends standard input.
    pub async fn close_stdin(&mut self) -> Result<(), VmmError> {
        within(CALL, INPUT_DEADLINE, self.input.send(input::Input::End(v1::Done {}))).await
    }

    /// Sends a signal, by its Linux number, to the command's process group.
    pub async fn signal(&mut self, number: i32) -> Result<(), VmmError> {
        within(CALL, START_DEADLINE, self.input.send(input::Input::Signal(v1::Signal { number }))).await
    }
}
