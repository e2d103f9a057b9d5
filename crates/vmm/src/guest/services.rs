//! Services of the guest's: named commands in the background.

use super::call::Call;
use super::exec::ExitStatus;
use super::secrets::{self, SecretVariable};
use super::stream::StreamOpener;
use super::within;
use crate::VmmError;
use bytes::Bytes;
use pyro_protocol::limits::{MAX_SERVICE_WAIT, MAX_SERVICES, SERVICE_LOG_BYTES};
use pyro_protocol::v1::{self, readiness::Probe, reply::Reply, request};
use std::time::Duration;

/// How long one of these calls may take, beyond what it waits for on purpose.
const DEADLINE: Duration = Duration::from_secs(30);

const START: &str = "start_service";
const STOP: &str = "stop_service";
const LIST: &str = "list_services";
const LOG: &str = "read_service_log";
const AWAIT: &str = "await_service";

/// What makes a service ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// Something is at this path; relative to the service's directory.
    File(Vec<u8>),
    /// A connection to this host and port, as the guest sees them, is accepted.
    Tcp(String, u16),
    /// A GET of this path from this host and port is answered with a status of 200 to 399.
    Http(String, u16, String),
    /// This command ends with status 0.
    Command(Vec<Vec<u8>>),
}

/// A service to start.
#[derive(Debug, Clone)]
pub struct ServiceRequest {
    /// Letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// Program and arguments.
    pub argv: Vec<Vec<u8>>,
    /// Absolute path of the directory that it starts in.
    pub cwd: Vec<u8>,
    /// Names and values of variables beyond the usual ones.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// Secrets of the guest's that become variables, also for the command that says whether it is ready.
    pub secrets: Vec<SecretVariable>,
    /// `None`: as soon as it runs.
    pub readiness: Option<Readiness>,
    /// How long it may take to be ready; 10 minutes at most.
    pub ready_timeout: Duration,
    /// How long to wait between two looks, at most.
    pub ready_interval: Duration,
}

/// Where a service stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceStatus {
    /// It runs, and is not ready yet.
    Starting,
    /// It runs, and was ready.
    Running,
    /// It has ended by itself after it was ready.
    Exited,
    /// It has ended before it was ready, or was ended because it was not.
    Failed,
    /// It was stopped.
    Stopped,
}

/// A service, as it stands. Times are nanoseconds since the Unix epoch, in the guest's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceState {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub status: ServiceStatus,
    /// The id of its process, which tells it from others of its name.
    pub pid: u32,
    /// When it was started.
    pub started_ns: u64,
    /// When it was ready.
    pub ready_ns: Option<u64>,
    /// When it ended.
    pub ended_ns: Option<u64>,
    /// How it ended.
    pub exited: Option<ExitStatus>,
    /// Why it failed, where that is not its exit status; bounded.
    pub reason: String,
}

/// What a service has printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceOutput {
    /// The service, when it was read.
    pub state: ServiceState,
    /// The end of standard output, and how many bytes before it are not kept.
    pub stdout: (Bytes, u64),
    /// The same of standard error.
    pub stderr: (Bytes, u64),
}

/// A service that runs and may not be ready yet. It goes on when this is dropped.
pub struct StartingService {
    /// The id of its process.
    pub pid: u32,
    call: Call,
    patience: Duration,
}

impl From<Readiness> for v1::Readiness {
    fn from(readiness: Readiness) -> Self {
        let endpoint = |host, port: u16| v1::Endpoint { host, port: port.into() };
        let probe = match readiness {
            Readiness::File(path) => Probe::File(path.into()),
            Readiness::Tcp(host, port) => Probe::Tcp(endpoint(host, port)),
            Readiness::Http(host, port, path) => {
                Probe::Http(v1::HttpEndpoint { endpoint: Some(endpoint(host, port)), path })
            }
            Readiness::Command(argv) => {
                Probe::Command(v1::ProbeCommand { argv: argv.into_iter().map(Bytes::from).collect() })
            }
        };
        Self { probe: Some(probe) }
    }
}

impl ServiceState {
    fn checked(state: v1::ServiceState) -> Result<Self, &'static str> {
        let status = match state.status() {
            v1::ServiceStatus::Starting => ServiceStatus::Starting,
            v1::ServiceStatus::Running => ServiceStatus::Running,
            v1::ServiceStatus::Exited => ServiceStatus::Exited,
            v1::ServiceStatus::Failed => ServiceStatus::Failed,
            v1::ServiceStatus::Stopped => ServiceStatus::Stopped,
            v1::ServiceStatus::Unspecified => return Err("it told of a service in an unknown state"),
        };
        let is_name = |name: &str| {
            (1..=64).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        if !is_name(&state.name) {
            return Err("it told of a service with a malformed name");
        }
        let happened = |time| (time > 0).then_some(time);
        Ok(Self {
            status,
            pid: state.pid,
            started_ns: state.started_unix_ns,
            ready_ns: happened(state.ready_unix_ns),
            ended_ns: happened(state.ended_unix_ns),
            exited: state.exited.map(ExitStatus::from),
            reason: super::bounded(&state.reason),
            name: state.name,
        })
    }

    fn one(services: v1::Services) -> Result<Self, &'static str> {
        match <[_; 1]>::try_from(services.services) {
            Ok([state]) => Self::checked(state),
            Err(_) => Err("it told of other services than the one asked for"),
        }
    }
}

pub(super) async fn start(
    streams: &StreamOpener,
    request: ServiceRequest,
) -> Result<StartingService, VmmError> {
    let ready_timeout = request.ready_timeout.min(MAX_SERVICE_WAIT);
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let env =
        request.env.into_iter().map(|(name, value)| v1::EnvVar { name: name.into(), value: value.into() });
    let request = v1::StartService {
        name: request.name,
        argv: request.argv.into_iter().map(Bytes::from).collect(),
        cwd: request.cwd.into(),
        env: env.collect(),
        readiness: request.readiness.map(v1::Readiness::from),
        ready_timeout_ms: milliseconds(ready_timeout),
        ready_interval_ms: milliseconds(request.ready_interval),
        secrets: secrets::variables(request.secrets),
    };
    within(START, DEADLINE, async {
        let mut call = Call::open(streams, START, request::Call::StartService(request)).await?;
        match call.replies.next().await? {
            Reply::Started(v1::Started { pid }) => {
                Ok(StartingService { pid, call, patience: ready_timeout + DEADLINE })
            }
            _ => Err(call.misbehaved("it answered something else")),
        }
    })
    .await
}

impl StartingService {
    /// Waits until it is ready or has failed.
    pub async fn settled(mut self) -> Result<ServiceState, VmmError> {
        match within(START, self.patience, self.call.replies.next()).await? {
            Reply::Services(services) => {
                ServiceState::one(services).map_err(|what| self.call.misbehaved(what))
            }
            _ => Err(self.call.misbehaved("it answered something else")),
        }
    }
}

pub(super) async fn stop(
    streams: &StreamOpener,
    name: &str,
    grace: Duration,
) -> Result<ServiceState, VmmError> {
    let grace = grace.min(MAX_SERVICE_WAIT);
    let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
    let request = v1::StopService { name: name.to_owned(), grace_ms };
    within(STOP, grace + DEADLINE, async {
        let mut call = Call::open(streams, STOP, request::Call::StopService(request)).await?;
        match call.replies.next().await? {
            Reply::Services(services) => ServiceState::one(services).map_err(|what| call.misbehaved(what)),
            _ => Err(call.misbehaved("it answered something else")),
        }
    })
    .await
}

/// A service whose end the guest will tell of.
pub struct AwaitedService {
    call: Call,
}

pub(super) async fn awaited(streams: &StreamOpener, name: &str) -> Result<AwaitedService, VmmError> {
    let request = request::Call::AwaitService(v1::AwaitService { name: name.to_owned() });
    let call = within(AWAIT, DEADLINE, Call::open(streams, AWAIT, request)).await?;
    Ok(AwaitedService { call })
}

impl AwaitedService {
    /// Waits for its end, for as long as that takes. Fails with [`VmmError::ChannelClosed`] when the guest ends first.
    pub async fn ended(mut self) -> Result<ServiceState, VmmError> {
        match self.call.replies.next().await? {
            Reply::Services(services) => {
                ServiceState::one(services).map_err(|what| self.call.misbehaved(what))
            }
            _ => Err(self.call.misbehaved("it answered something else")),
        }
    }
}

pub(super) async fn list(streams: &StreamOpener, deadline: Duration) -> Result<Vec<ServiceState>, VmmError> {
    within(LIST, deadline, async {
        let request = request::Call::ListServices(v1::ListServices {});
        let mut call = Call::open(streams, LIST, request).await?;
        let Reply::Services(services) = call.replies.next().await? else {
            return Err(call.misbehaved("it answered something else"));
        };
        if services.services.len() > MAX_SERVICES {
            return Err(call.misbehaved("it told of more services than there can be"));
        }
        let checked = services.services.into_iter().map(ServiceState::checked);
        checked.collect::<Result<_, _>>().map_err(|what| call.misbehaved(what))
    })
    .await
}

pub(super) async fn log(streams: &StreamOpener, name: &str) -> Result<ServiceOutput, VmmError> {
    let request = v1::ReadServiceLog { name: name.to_owned() };
    within(LOG, DEADLINE, async {
        let mut call = Call::open(streams, LOG, request::Call::ReadServiceLog(request)).await?;
        let Reply::ServiceLog(log) = call.replies.next().await? else {
            return Err(call.misbehaved("it answered something else"));
        };
        let state = log.state.ok_or("it told of a log without a service");
        let state = state.and_then(ServiceState::checked).map_err(|what| call.misbehaved(what))?;
        if log.stdout_bytes.max(log.stderr_bytes) > SERVICE_LOG_BYTES as u64 {
            return Err(call.misbehaved("it announced a longer log than it keeps"));
        }
        let announced = usize::try_from(log.stdout_bytes + log.stderr_bytes).unwrap_or_default();
        let mut bytes = bytes::BytesMut::with_capacity(announced);
        loop {
            match call.replies.next().await? {
                Reply::Data(data) if !data.data.is_empty() && bytes.len() + data.data.len() <= announced => {
                    bytes.extend_from_slice(&data.data);
                }
                Reply::Done(_) if bytes.len() == announced => break,
                _ => return Err(call.misbehaved("it sent something else than the announced log")),
            }
        }
        let stderr = bytes.split_off(usize::try_from(log.stdout_bytes).unwrap_or_default());
        let stdout = (bytes.freeze(), log.stdout_missed);
        Ok(ServiceOutput { state, stdout, stderr: (stderr.freeze(), log.stderr_missed) })
    })
    .await
}
