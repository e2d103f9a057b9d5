//! `run`: create, start, execute, delete, in one call.

use super::output::{Captured, CapturedText, OutputChunk, OutputMode};
use super::plan::MachinePlan;
use super::start::{Prepared, Running, Shape, StartKind, StartTimings};
use super::{
    DEFAULT_MEM_MIB, DEFAULT_TIMEOUT_SECONDS, DEFAULT_TTL_SECONDS, DEFAULT_VCPU_COUNT, VmId, seconds,
};
use crate::boxed;
use crate::network::{NetworkPolicy, NetworkRules, RefusedDestination};
use crate::template::Unusable;
use crate::{Pyro, PyroError};
use pyro_protocol::limits::{MAX_ARGUMENT_BYTES, MAX_TIMEOUT};
use pyro_protocol::v1::FailureKind;
use pyro_vmm::guest::{ExecEvent, ExecRequest, ExitStatus, OutputStream};
use pyro_vmm::{Capabilities, ExecutionMode, Guest, VmmError};
use serde::Serialize;
use std::time::{Duration, Instant};

/// Exit code of a command that ran out of time.
const TIMED_OUT: u8 = 124;

/// One command to run in a machine of its own.
#[derive(Debug, Clone)]
pub struct RunRequest {
    /// Name of the environment, as `debian:12`.
    pub environment: String,
    /// Program and arguments; no shell is involved.
    pub command: Vec<String>,
    /// Virtual CPUs.
    pub vcpu_count: u32,
    /// Guest memory, in MiB.
    pub mem_mib: u32,
    /// After so many seconds the command is killed and the result says 124.
    pub timeout_seconds: u64,
    /// After so many seconds, counted from creation, the machine is gone whatever it does.
    pub ttl_seconds: u64,
    /// What its guest may reach.
    pub network: NetworkRules,
    /// Where no guest can run, run on the host instead, without isolation.
    pub allow_host_compat: bool,
}

impl RunRequest {
    /// A request with every default.
    pub fn new(environment: impl Into<String>, command: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            environment: environment.into(),
            command: command.into_iter().map(Into::into).collect(),
            vcpu_count: DEFAULT_VCPU_COUNT,
            mem_mib: DEFAULT_MEM_MIB,
            timeout_seconds: DEFAULT_TIMEOUT_SECONDS,
            ttl_seconds: DEFAULT_TTL_SECONDS,
            network: NetworkRules::default(),
            allow_host_compat: false,
        }
    }
}

/// What a command did.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RunResult {
    /// Name of the environment.
    pub environment: String,
    /// The command, as given.
    pub command: Vec<String>,
    /// Captured standard output, with U+FFFD for what is not UTF-8; empty when streamed.
    pub stdout: String,
    /// Captured standard error, likewise.
    pub stderr: String,
    /// The command's exit code; 128 + signal; 124 when it timed out; 127 not found; 126 not executable.
    pub exit_code: u8,
    /// It ran into its timeout and its process group was killed.
    pub timed_out: bool,
    /// Milliseconds that the command ran.
    pub duration_ms: u64,
    /// How it was run.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub execution_mode: ExecutionMode,
    /// Name of the engine.
    pub engine: &'static str,
    /// How its machine came up, where it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<StartKind>,
    /// Why its machine did not come up from a template, where it could have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold_start_reason: Option<String>,
    /// Why it ran on the host, where it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback_reason: Option<String>,
    /// Bytes written to standard output, kept or not.
    pub stdout_bytes: u64,
    /// Bytes written to standard error, kept or not.
    pub stderr_bytes: u64,
    /// Some captured output was not kept.
    pub truncated: bool,
    /// Some captured output is not UTF-8, so that the text differs from it.
    pub binary: bool,
    /// What its guest may reach.
    pub network_policy: NetworkPolicy,
    /// What its guest was refused, what was refused last first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused_destinations: Vec<RefusedDestination>,
    /// What became of the machine.
    pub cleanup: Cleanup,
    /// Where the time went.
    pub timings: Timings,
}

/// What became of a machine after its command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Cleanup {
    /// It is gone, with its files.
    pub deleted: bool,
    /// Why: `post_exec_cleanup`.
    pub reason: &'static str,
    /// Which machine it was.
    pub vm_id: VmId,
}

/// Milliseconds, phase by phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Timings {
    /// Until everything the machine needs was there: next to nothing once installed.
    pub prepare_ms: u64,
    /// Private directory and disk.
    pub create_ms: u64,
    /// Starting the VMM.
    pub launch_ms: u64,
    /// From there to the agent's first answer: booting, or being restored.
    pub boot_ms: u64,
    /// Identity and root.
    pub configure_ms: u64,
    /// The command, with its output delivered.
    pub execute_ms: u64,
    /// Ending the VMM and removing the files.
    pub teardown_ms: u64,
    /// All of it.
    pub total_ms: u64,
}

impl Pyro {
    /// Creates a machine, runs one command in it, and deletes it. Dropping the future does the last at once.
    ///
    /// Fails when the request is invalid, or no guest can run and `allow_host_compat` is not set; a command that fails,
    /// is not found, or times out is a result.
    #[boxed]
    pub async fn run_in_vm(&self, request: RunRequest, output: OutputMode) -> Result<RunResult, PyroError> {
        let begun = Instant::now();
        check_command(&request.command)?;
        let shape =
            Shape::new(&request.environment, request.vcpu_count, request.mem_mib, request.allow_host_compat)?;
        let timeout = seconds("timeout_seconds", request.timeout_seconds)?;
        let ttl = seconds("ttl_seconds", request.ttl_seconds)?;
        request.network.check()?;
        let prepared = self.prepare_start(&shape).await?;
        prepared.require_network(&request.network)?;
        let prepare = begun.elapsed();
        let id = VmId::random()?;
        let command = request.command.iter().map(|word| word.clone().into_bytes()).collect();
        let lived = tokio::time::timeout(
            ttl,
            self.live(&id, &shape, &prepared, (command, &request.network), timeout, output),
        )
        .await;
        let (outcome, ran_on, mut spans) =
            lived.map_err(|_| PyroError::Expired { id: id.clone(), ttl })??;
        if ran_on.is_isolated() {
            self.record_proof().await;
        }
        if let Some(unusable) = &ran_on.no_template {
            self.make_template_later(&shape, unusable);
        }
        spans.prepare = prepare;
        spans.total = begun.elapsed();
        Ok(outcome.into_result(request, id, ran_on, &spans))
    }

    /// The life of one machine, from its directory to the directory's removal.
    async fn live(
        &self,
        id: &VmId,
        shape: &Shape,
        prepared: &Prepared,
        (command, rules): (Vec<Vec<u8>>, &NetworkRules),
        timeout: Duration,
        output: OutputMode,
    ) -> Result<(Outcome, RanOn, Spans), PyroError> {
        self.progress().phase("create");
        let creating = Instant::now();
        let directory = self.vm_directory(id).await?;
        let create = creating.elapsed();
        self.progress().phase(&format!("start vm_id={id}"));
        let plan = MachinePlan::throwaway(id, &directory).connected(rules);
        let running = prepared.start(&plan, shape, self.progress()).await?;
        self.progress().phase(&format!("execute vm_id={id}"));
        let executing = Instant::now();
        let keep = output.kept_bytes();
        let executed = execute(&running.guest, limited(command, timeout), output, keep).await;
        let outcome = executed.map_err(|error| error.with_console(running.machine.as_ref()))?;
        let execute = executing.elapsed();
        let ending = Instant::now();
        let (start, ran_on) = (running.timings, RanOn::of(&running));
        running.end().await;
        drop(directory);
        let (prepare, total) = (Duration::ZERO, Duration::ZERO);
        let spans = Spans { prepare, create, start, execute, teardown: ending.elapsed(), total };
        Ok((outcome, ran_on, spans))
    }
}

/// Fails when there is nothing to run, or more than a guest is passed.
pub(crate) fn check_command(command: &[String]) -> Result<(), PyroError> {
    if command.first().is_none_or(String::is_empty) {
        return Err(PyroError::NoCommand);
    }
    let bytes = command.iter().map(|word| word.len() + 1).sum();
    if bytes > MAX_ARGUMENT_BYTES { Err(PyroError::CommandTooLong { bytes }) } else { Ok(()) }
}

/// How long each phase took.
pub(super) struct Spans {
    prepare: Duration,
    create: Duration,
    start: StartTimings,
    execute: Duration,
    teardown: Duration,
    total: Duration,
}

/// What a command ran on.
pub(super) struct RanOn {
    capabilities: Capabilities,
    fallback: Option<String>,
    start: StartKind,
    no_template: Option<Unusable>,
    refused: Vec<RefusedDestination>,
}

impl RanOn {
    pub(super) fn of(running: &Running) -> Self {
        Self {
            capabilities: running.capabilities.clone(),
            fallback: running.fallback.clone(),
            start: running.start,
            no_template: running.no_template.clone(),
            refused: running.refused(),
        }
    }

    pub(super) fn is_isolated(&self) -> bool {
        self.capabilities.isolated
    }
}

/// How a command ended, with what was kept of its output.
pub(crate) struct Outcome {
    status: ExitStatus,
    stdout: Captured,
    stderr: Captured,
}

/// A command that is killed after `timeout`.
pub(crate) fn limited(argv: Vec<Vec<u8>>, timeout: Duration) -> ExecRequest {
    ExecRequest { argv, timeout: Some(timeout), ..ExecRequest::default() }
}

/// Runs one command to its end, keeping up to `keep` bytes of each output. A command that is not found or cannot be executed ends with 127 or 126 and the
/// agent's words on standard error, as a shell would have it.
pub(crate) async fn execute(
    guest: &Guest,
    request: ExecRequest,
    output: OutputMode,
    keep: usize,
) -> Result<Outcome, VmmError> {
    let timeout = request.timeout.unwrap_or(MAX_TIMEOUT);
    let mut sink = Sink { stdout: Captured::keeping(keep), stderr: Captured::keeping(keep), output };
    let mut call = match guest.exec(request).await {
        Ok(call) => call,
        Err(VmmError::Refused {
            kind: kind @ (FailureKind::NotFound | FailureKind::NotExecutable),
            message,
            ..
        }) => {
            sink.take(OutputStream::Stderr, format!("pyro: {message}\n").into()).await;
            let exit_code = if kind == FailureKind::NotFound { 127 } else { 126 };
            let status =
                ExitStatus { exit_code, timed_out: false, duration: Duration::ZERO, output_cut: false };
            return Ok(Outcome { status, stdout: sink.stdout, stderr: sink.stderr });
        }
        Err(error) => return Err(error),
    };
    loop {
        let status = match call.next().await {
            Ok(ExecEvent::Output(stream, data)) => {
                sink.take(stream, data).await;
                continue;
            }
            Ok(ExecEvent::Exited(status)) => status,
            // The guest is too busy, or unwilling, to say that the time is up. Its machine ends now, or, where it is to stay, the
            // command with the call, as soon as the guest comes to it.
            Err(VmmError::CallTimeout { .. }) => {
                ExitStatus { exit_code: TIMED_OUT, timed_out: true, duration: timeout, output_cut: true }
            }
            Err(error) => return Err(error),
        };
        return Ok(Outcome { status, stdout: sink.stdout, stderr: sink.stderr });
    }
}

struct Sink {
    stdout: Captured,
    stderr: Captured,
    output: OutputMode,
}

impl Sink {
    async fn take(&mut self, stream: OutputStream, data: bytes::Bytes) {
        let captured = match stream {
            OutputStream::Stdout => &mut self.stdout,
            OutputStream::Stderr => &mut self.stderr,
        };
        captured.push(&data);
        match &self.output {
            OutputMode::Capture => {}
            OutputMode::Stream(receiver) => {
                let chunk = match stream {
                    OutputStream::Stdout => OutputChunk::Stdout(data),
                    OutputStream::Stderr => OutputChunk::Stderr(data),
                };
                // A receiver that is gone has seen enough; the command runs on and its output is counted.
                let _unheard = receiver.send(chunk).await;
            }
        }
    }
}

/// How a command ended, and its outputs as text.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: CapturedText,
    pub(crate) stderr: CapturedText,
}

impl Outcome {
    pub(crate) fn finish(self) -> Finished {
        Finished { status: self.status, stdout: self.stdout.finish(), stderr: self.stderr.finish() }
    }

    /// The exit code, and what was kept of standard output.
    pub(super) fn into_code_and_stdout(self) -> (u8, String) {
        (self.status.exit_code, self.stdout.finish().text)
    }

    pub(super) fn into_result(
        self,
        request: RunRequest,
        vm_id: VmId,
        ran_on: RanOn,
        spans: &Spans,
    ) -> RunResult {
        let Finished { status, stdout, stderr } = self.finish();
        RunResult {
            environment: request.environment,
            command: request.command,
            truncated: stdout.truncated || stderr.truncated,
            binary: stdout.lossy || stderr.lossy,
            stdout_bytes: stdout.bytes,
            stderr_bytes: stderr.bytes,
            stdout: stdout.text,
            stderr: stderr.text,
            exit_code: status.exit_code,
            timed_out: status.timed_out,
            duration_ms: milliseconds(status.duration),
            network_policy: request.network.policy,
            execution_mode: ran_on.capabilities.execution_mode,
            engine: ran_on.capabilities.engine,
            start: ran_on.is_isolated().then_some(ran_on.start),
            refused_destinations: ran_on.refused,
            cold_start_reason: ran_on.no_template.map(|unusable| unusable.to_string()),
            fallback_reason: ran_on.fallback,
            cleanup: Cleanup { deleted: true, reason: "post_exec_cleanup", vm_id },
            timings: spans.timings(),
        }
    }
}

impl Spans {
    /// Of a machine whose preparation and creation were calls of their own.
    pub(super) fn of_exec(start: StartTimings, execute: Duration, teardown: Duration) -> Self {
        let (prepare, create) = (Duration::ZERO, Duration::ZERO);
        Self { prepare, create, start, execute, teardown, total: execute + teardown }
    }

    fn timings(&self) -> Timings {
        Timings {
            prepare_ms: milliseconds(self.prepare),
            create_ms: milliseconds(self.create),
            launch_ms: milliseconds(self.start.launch),
            boot_ms: milliseconds(self.start.boot),
            configure_ms: milliseconds(self.start.configure),
            execute_ms: milliseconds(self.execute),
            teardown_ms: milliseconds(self.teardown),
            total_ms: milliseconds(self.total),
        }
    }
}

pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
