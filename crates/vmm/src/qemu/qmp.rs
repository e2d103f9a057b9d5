//! QEMU's monitor (QMP), opened on first use: a machine that nobody pauses never pays for it.

use crate::VmmError;
use qapi::futures::{QapiService, QmpStreamTokio};
use qapi::qmp::{self, MigrationCapability, MigrationCapabilityStatus, MigrationStatus};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::{ReadHalf, WriteHalf, split};
use tokio::net::UnixStream;

const DEADLINE: Duration = Duration::from_secs(10);
/// How often it is looked whether the state is written, which takes a few milliseconds.
const POLL: Duration = Duration::from_millis(2);

type Service = QapiService<QmpStreamTokio<WriteHalf<UnixStream>>>;

/// The monitor's connection, one command at a time.
pub(super) enum Monitor {
    Unopened(UnixStream),
    Open(Service),
    /// Opening it failed; the machine can only be killed.
    Broken,
}

impl Monitor {
    /// Stops the guest's CPUs.
    pub(super) async fn stop(&mut self) -> Result<(), VmmError> {
        self.run("stop", qmp::stop {}).await.map(drop)
    }

    /// Lets them run.
    pub(super) async fn cont(&mut self) -> Result<(), VmmError> {
        self.run("cont", qmp::cont {}).await.map(drop)
    }

    /// Writes CPUs and devices to the file `state`, and waits until it is complete. The guest's CPUs stay stopped.
    pub(super) async fn save(&mut self, state: &Path) -> Result<(), VmmError> {
        const COMMAND: &str = "migrate";
        self.ignore_shared_memory().await?;
        let uri = Some(file_uri(state)?);
        self.run(COMMAND, qmp::migrate { uri, channels: None, detach: None, resume: None }).await?;
        let begun = Instant::now();
        loop {
            let info = self.run("query-migrate", qmp::query_migrate {}).await?;
            match info.status {
                Some(MigrationStatus::completed) => return Ok(()),
                Some(MigrationStatus::failed | MigrationStatus::cancelled) => {
                    let message = info.error_desc.unwrap_or_else(|| "it failed".to_owned());
                    return Err(VmmError::Monitor { command: COMMAND, message });
                }
                _ if begun.elapsed() > DEADLINE => {
                    return Err(VmmError::CallTimeout { call: COMMAND, waited: DEADLINE });
                }
                _ => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// Lets a VMM that was started to wait for it take CPUs and devices from the file `state`, and go on with the guest.
    /// It ends by itself when it cannot.
    pub(super) async fn restore(&mut self, state: &Path) -> Result<(), VmmError> {
        self.ignore_shared_memory().await?;
        let uri = Some(file_uri(state)?);
        let incoming = qmp::migrate_incoming { uri, channels: None, exit_on_error: None };
        self.run("migrate-incoming", incoming).await.map(drop)
    }

    /// The guest's memory has a file of its own and is not part of the state.
    async fn ignore_shared_memory(&mut self) -> Result<(), VmmError> {
        let capability =
            MigrationCapabilityStatus { capability: MigrationCapability::x_ignore_shared, state: true };
        let capabilities = vec![capability];
        self.run("migrate-set-capabilities", qmp::migrate_set_capabilities { capabilities }).await.map(drop)
    }

    async fn run<C: qmp::QmpCommand + 'static>(
        &mut self,
        name: &'static str,
        command: C,
    ) -> Result<C::Ok, VmmError> {
        let service = self.open().await?;
        match tokio::time::timeout(DEADLINE, service.execute(command)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(VmmError::Monitor { command: name, message: error.to_string() }),
            Err(_) => Err(VmmError::CallTimeout { call: name, waited: DEADLINE }),
        }
    }

    async fn open(&mut self) -> Result<&Service, VmmError> {
        if let Self::Unopened(_) = self
            && let Self::Unopened(socket) = std::mem::replace(self, Self::Broken)
        {
            *self = Self::Open(negotiate(socket).await?);
        }
        match self {
            Self::Open(service) => Ok(service),
            _ => Err(VmmError::Monitor { command: "qmp_capabilities", message: "it is not open".to_owned() }),
        }
    }
}

async fn negotiate(socket: UnixStream) -> Result<Service, VmmError> {
    const STEP: &str = "qmp_capabilities";
    let (read, write): (ReadHalf<_>, WriteHalf<_>) = split(socket);
    let opening = async { QmpStreamTokio::open_split(read, write).await?.negotiate().await };
    let stream = tokio::time::timeout(DEADLINE, opening)
        .await
        .map_err(|_| VmmError::CallTimeout { call: STEP, waited: DEADLINE })?
        .map_err(|error| VmmError::Monitor { command: STEP, message: error.to_string() })?;
    // The task ends by itself when QEMU closes the monitor.
    let (service, _events) = stream.spawn_tokio();
    Ok(service)
}

/// QEMU takes a comma for the beginning of an option.
fn file_uri(path: &Path) -> Result<String, VmmError> {
    match path.to_str() {
        Some(path) if !path.contains(',') => Ok(format!("file:{path}")),
        _ => Err(VmmError::host(
            format!("have QEMU keep its state in {}", path.display()),
            std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                "the path contains a comma or is not UTF-8",
            ),
        )),
    }
}
