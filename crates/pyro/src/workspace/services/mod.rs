//! Services: named commands in the background of a workspace, which become ready, print, and end.
//!
//! They live in the guest. What they were started with, and how they stood when somebody asked last, is in the store, so that
//! after a stop, a crash or a restart it can be told which ones are lost.

mod info;
mod publish;
mod readiness;

pub use info::{ServiceInfo, ServiceList, ServiceLogs};
pub use publish::{PublishPort, PublishedPort};
pub use readiness::ServiceReadiness;

use super::access::Session;
use super::names::shortened;
use super::shells::{cwd_in, within};
use super::{SecretEnv, WorkspaceError, WorkspaceId, WorkspacePath};
use crate::boxed;
use crate::store::{Record, ServiceCounts, ServiceDefinition, ServiceRow, WorkspaceState};
use crate::{Pyro, PyroError};
use info::state_name;
use pyro_protocol::limits::{MAX_SERVICE_WAIT, MAX_SERVICES};
use pyro_protocol::v1::FailureKind;
use pyro_vmm::guest::{ServiceRequest, ServiceState, StartingService};
use pyro_vmm::{Guest, VmmError};
use readiness::{described, parsed};
use std::io;
use std::time::Duration;

/// How long a service may take to be ready by default, in seconds.
pub const DEFAULT_READY_TIMEOUT_SECONDS: u64 = 30;
/// How often is looked whether it is, by default, in milliseconds.
pub const DEFAULT_READY_INTERVAL_MS: u64 = 500;
/// Lines of each log that are read by default.
pub const DEFAULT_TAIL_LINES: u64 = 200;
/// Most characters of a name.
const MAX_NAME_CHARS: usize = 64;
const MAX_INTERVAL_MS: u64 = 60_000;
/// Between TERM and KILL.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// How long a guest may take to say what runs in it when that is only a part of an answer.
const GLANCE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(30);
/// Lines of a log that a failed start shows.
const FAILURE_LINES: u64 = 20;

/// A service to start.
#[derive(Debug, Clone)]
pub struct StartService {
    /// Its name: letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// The directory that it starts in.
    pub cwd: WorkspacePath,
    /// `None`: it is ready as soon as it runs.
    pub readiness: Option<ServiceReadiness>,
    /// How long it may take to be ready.
    pub ready_timeout_seconds: u64,
    /// How often to look, at least.
    pub ready_interval_ms: u64,
    /// Ports of its that are published on the host's loopback for as long as it lives.
    pub publish: Vec<PublishPort>,
    /// Secrets that become variables of it, and of the command that says whether it is ready.
    pub secret_env: Vec<SecretEnv>,
}

impl StartService {
    /// A service with every default.
    pub fn new(name: impl Into<String>, command: Vec<String>) -> Self {
        Self {
            name: name.into(),
            command,
            cwd: WorkspacePath::root(),
            readiness: None,
            ready_timeout_seconds: DEFAULT_READY_TIMEOUT_SECONDS,
            ready_interval_ms: DEFAULT_READY_INTERVAL_MS,
            publish: Vec::new(),
            secret_env: Vec::new(),
        }
    }
}

impl Pyro {
    /// Starts a service, and waits until it is ready. Fails when it ends before, or is not ready in time, with the end of its log;
    /// a service that is not ready in time is ended. What it publishes is bound before it is started, and gone with it.
    #[boxed]
    pub async fn start_service(
        &self,
        id: &WorkspaceId,
        request: StartService,
    ) -> Result<ServiceInfo, PyroError> {
        within("ready_timeout_seconds", request.ready_timeout_seconds, MAX_SERVICE_WAIT.as_secs())?;
        within("ready_interval_ms", request.ready_interval_ms, MAX_INTERVAL_MS)?;
        let is_sound = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !(1..=MAX_NAME_CHARS).contains(&request.name.len()) || !request.name.bytes().all(is_sound) {
            return Err(WorkspaceError::MalformedServiceName { given: shortened(&request.name) }.into());
        }
        publish::check(&request.publish)?;
        let readiness = request.readiness.as_ref().map(parsed).transpose()?;
        let session = self.session(id, "starting a service").await?;
        let secrets = session.record.secret_variables(&request.secret_env)?;
        let publishing = self.bind_ports(&session, &request.name, &request.publish).await?;
        let ports = publishing.as_ref().map(|publishing| publishing.ports.clone());
        let redaction = &session.redaction;
        let definition = ServiceDefinition {
            command: redaction.words(&request.command),
            cwd: redaction.text(request.cwd.to_string()),
            readiness: request.readiness.as_ref().map(described).map(|text| redaction.text(text)),
            published_ports: ports.unwrap_or_default(),
        };
        let starting = ServiceRequest {
            name: request.name.clone(),
            argv: request.command.into_iter().map(String::into_bytes).collect(),
            cwd: cwd_in(&session, &request.cwd),
            env: Vec::new(),
            secrets,
            readiness,
            ready_timeout: Duration::from_secs(request.ready_timeout_seconds),
            ready_interval: Duration::from_millis(request.ready_interval_ms),
        };
        let starting = match session.guest.start_service(starting).await {
            Ok(starting) => starting,
            Err(error) => return Err(self.explain_service(&session, &request.name, error).await),
        };
        let confirmed = match publishing {
            Some(publishing) => publishing.confirm(starting.pid).await,
            None => Ok(true),
        };
        let generation = session.record.generation;
        let row =
            ServiceRow { name: request.name.clone(), generation, state: "starting".to_owned(), definition };
        let (put, of) = (row.clone(), id.clone());
        self.transact(move |store| {
            put.put(store, &of)?;
            Record::touch(store, &of)
        })
        .await?;
        self.settle_service(&session, &row, starting, confirmed).await
    }

    /// Waits until a service is ready or has failed. One that is not published, as it was to be, is not to run either.
    async fn settle_service(
        &self,
        session: &Session,
        row: &ServiceRow,
        starting: StartingService,
        published: io::Result<bool>,
    ) -> Result<ServiceInfo, PyroError> {
        let state = match starting.settled().await {
            Ok(state) => state,
            Err(error) => return Err(self.explain(session, error).await),
        };
        // It may have ended since, which is why it was not published.
        let state = match published {
            Ok(false) => self.present_state(session, state).await?,
            _ => state,
        };
        self.record_services(&session.record, std::slice::from_ref(row), std::slice::from_ref(&state))
            .await?;
        let info = ServiceInfo::new(&session.record.id, Some(row), state);
        if !info.is_up() {
            if !row.definition.published_ports.is_empty() {
                self.unpublish(&session.record, &row.name).await;
            }
        } else if !matches!(published, Ok(true)) {
            let _stopped = session.guest.stop_service(&info.service_name, STOP_GRACE).await;
            let source = published.err().unwrap_or_else(|| io::ErrorKind::NotConnected.into());
            return Err(WorkspaceError::Supervisor { action: "made to publish the service", source }.into());
        }
        if info.is_up() { Ok(info) } else { Err(self.start_failure(session, info).await) }
    }

    /// How a service stands by now.
    async fn present_state(&self, session: &Session, state: ServiceState) -> Result<ServiceState, PyroError> {
        match session.guest.list_services(PATIENCE).await {
            Ok(present) => {
                Ok(present.into_iter().find(|present| present.name == state.name).unwrap_or(state))
            }
            Err(error) => Err(self.explain(session, error).await),
        }
    }

    async fn start_failure(&self, session: &Session, info: ServiceInfo) -> PyroError {
        let log = match session.guest.read_service_log(&info.service_name).await {
            Ok(output) => [output.stdout.0, output.stderr.0]
                .iter()
                .map(|bytes| tail_lines(&String::from_utf8_lossy(bytes), FAILURE_LINES).to_owned())
                .collect::<String>(),
            Err(_) => String::new(),
        };
        let ServiceInfo { workspace_id: id, service_name: name, exit_code, reason, .. } = info;
        WorkspaceError::ServiceFailed { id, name, exit_code, reason, log }.into()
    }

    /// The services of a workspace that were started since it was reset, also when it is stopped.
    #[boxed]
    pub async fn list_services(&self, id: &WorkspaceId) -> Result<ServiceList, PyroError> {
        let record = self.workspace(id).await?;
        let services = match self.services_of(&record, PATIENCE).await {
            // Its guest may just have ended, and that is the answer.
            Err(PyroError::Vmm(error)) => {
                let session = self.session(id, "listing services").await;
                let error = match session {
                    Ok(session) => self.explain(&session, error).await,
                    Err(error) => error,
                };
                let now = self.workspace(id).await?;
                if now.state == WorkspaceState::Running && now.generation == record.generation {
                    return Err(error);
                }
                self.services_of(&now, PATIENCE).await?
            }
            listed => listed?,
        };
        let running_count = services.iter().filter(|service| service.state == "running").count();
        Ok(ServiceList { workspace_id: id.clone(), count: services.len(), running_count, services })
    }

    /// The services of a workspace at a glance; where its guest does not answer, as known last.
    pub(super) async fn count_services(&self, record: &Record) -> Result<ServiceCounts, PyroError> {
        let services = match self.services_of(record, GLANCE).await {
            Ok(services) => services,
            Err(PyroError::Vmm(_)) => {
                let id = record.id.clone();
                let rows = self.read(move |store| ServiceRow::all(store, &id)).await?;
                rows.iter().map(|row| ServiceInfo::recorded(record, row)).collect()
            }
            Err(error) => return Err(error),
        };
        let running = services.iter().filter(|service| service.state == "running").count();
        let total = services.len();
        let published_ports = services.into_iter().flat_map(|service| service.published_ports).collect();
        Ok(ServiceCounts { total, running, published_ports })
    }

    async fn services_of(&self, record: &Record, deadline: Duration) -> Result<Vec<ServiceInfo>, PyroError> {
        let id = record.id.clone();
        let rows = self.read(move |store| ServiceRow::all(store, &id)).await?;
        let mut present = Vec::new();
        // Where none was started, none has to be asked about.
        if record.state == WorkspaceState::Running
            && rows.iter().any(|row| row.generation == record.generation)
        {
            let guest = Guest::at(self.workspace_directory(&record.id).guest_socket());
            present = guest.list_services(deadline).await?;
            self.record_services(record, &rows, &present).await?;
        }
        let info = |row: &ServiceRow| {
            let here =
                present.iter().find(|state| state.name == row.name && row.generation == record.generation);
            match here {
                Some(state) => ServiceInfo::new(&record.id, Some(row), state.clone()),
                None => ServiceInfo::recorded(record, row),
            }
        };
        let unrecorded = present.iter().filter(|state| rows.iter().all(|row| row.name != state.name));
        let unrecorded = unrecorded.map(|state| ServiceInfo::new(&record.id, None, state.clone()));
        let mut services: Vec<_> = rows.iter().map(info).chain(unrecorded).collect();
        self.note_published(record, &mut services).await;
        Ok(services)
    }

    /// Records how services stand, where that has changed.
    async fn record_services(
        &self,
        record: &Record,
        rows: &[ServiceRow],
        present: &[ServiceState],
    ) -> Result<(), PyroError> {
        let has_changed = |state: &&ServiceState| {
            rows.iter().any(|row| row.name == state.name && row.state != state_name(state.status))
        };
        let changed: Vec<_> =
            present.iter().filter(has_changed).map(|state| (state.name.clone(), state.status)).collect();
        if changed.is_empty() {
            return Ok(());
        }
        let (id, generation) = (record.id.clone(), record.generation);
        self.transact(move |store| {
            changed.iter().try_for_each(|(name, status)| {
                ServiceRow::set_state(store, &id, (name, generation), state_name(*status))
            })
        })
        .await
    }

    /// One service.
    #[boxed]
    pub async fn status_service(&self, id: &WorkspaceId, name: &str) -> Result<ServiceInfo, PyroError> {
        let services = self.list_services(id).await?.services;
        let existing = services.iter().map(|service| service.service_name.clone()).collect();
        let found = services.into_iter().find(|service| service.service_name == name);
        let unknown = || WorkspaceError::UnknownService { id: id.clone(), name: shortened(name), existing };
        Ok(found.ok_or_else(unknown)?)
    }

    /// The end of what a service has printed: so many lines of each output, or everything that is kept.
    #[boxed]
    pub async fn logs_service(
        &self,
        id: &WorkspaceId,
        name: &str,
        tail: Option<u64>,
    ) -> Result<ServiceLogs, PyroError> {
        let session = self.session(id, "reading the log of a service").await?;
        let output = match session.guest.read_service_log(name).await {
            Ok(output) => output,
            Err(error) => return Err(self.explain_service(&session, name, error).await),
        };
        let (of, wanted) = (id.clone(), name.to_owned());
        let rows = self.read(move |store| ServiceRow::all(store, &of)).await?;
        let row = rows.iter().find(|row| row.name == wanted);
        let mut truncated = output.stdout.1 > 0 || output.stderr.1 > 0;
        let [stdout, stderr] = [output.stdout.0, output.stderr.0].map(|bytes| {
            let text = String::from_utf8_lossy(&bytes);
            let shown = tail.map_or(&*text, |lines| tail_lines(&text, lines));
            truncated |= shown.len() < text.len();
            shown.to_owned()
        });
        let service = ServiceInfo::new(id, row, output.state);
        Ok(ServiceLogs { service, stdout, stderr, tail_lines: tail, truncated })
    }

    /// Ends a service: TERM to its process group, KILL for what is left after 5 s.
    #[boxed]
    pub async fn stop_service(&self, id: &WorkspaceId, name: &str) -> Result<ServiceInfo, PyroError> {
        let session = self.session(id, "stopping a service").await?;
        let state = match session.guest.stop_service(name, STOP_GRACE).await {
            Ok(state) => state,
            Err(error) => return Err(self.explain_service(&session, name, error).await),
        };
        let of = id.clone();
        let rows = self.read(move |store| ServiceRow::all(store, &of)).await?;
        self.record_services(&session.record, &rows, std::slice::from_ref(&state)).await?;
        let of = id.clone();
        self.transact(move |store| Record::touch(store, &of)).await?;
        let row = rows.iter().find(|row| row.name == state.name);
        if row.is_some_and(|row| !row.definition.published_ports.is_empty()) {
            self.unpublish(&session.record, name).await;
        }
        Ok(ServiceInfo::new(id, row, state))
    }

    async fn explain_service(&self, session: &Session, name: &str, error: VmmError) -> PyroError {
        let (id, name) = (session.record.id.clone(), shortened(name));
        match &error {
            VmmError::Refused { call: "start_service", kind: FailureKind::AlreadyExists, .. } => {
                WorkspaceError::ServiceExists { id, name }.into()
            }
            VmmError::Refused { call: "start_service", kind: FailureKind::Exhausted, .. } => {
                WorkspaceError::TooMany { id, what: "services", max: MAX_SERVICES }.into()
            }
            VmmError::Refused { call, kind: FailureKind::NotFound, .. } if *call != "start_service" => {
                let present = session.guest.list_services(GLANCE).await.unwrap_or_default();
                let existing = present.into_iter().map(|state| state.name).collect();
                WorkspaceError::UnknownService { id, name, existing }.into()
            }
            _ => self.explain(session, error).await,
        }
    }
}

/// The last `lines` lines.
fn tail_lines(text: &str, lines: u64) -> &str {
    let lines = usize::try_from(lines).unwrap_or(usize::MAX);
    if lines == 0 {
        return "";
    }
    let body = text.strip_suffix('\n').unwrap_or(text);
    match body.rmatch_indices('\n').nth(lines - 1) {
        Some((newline, _)) => &text[newline + 1..],
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_whole() {
        let cases = [
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\nc", 2, "b\nc"),
            ("a\n", 5, "a\n"),
            ("a\n", 0, ""),
            ("", 3, ""),
        ];
        for (text, lines, expected) in cases {
            assert_eq!(tail_lines(text, lines), expected, "{text:?} {lines}");
        }
    }
}
