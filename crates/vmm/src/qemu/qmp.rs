//! QEMU's monitor (QMP), opened on first use: a machine that nobody pauses never pays for it.

use crate::VmmError;
use qapi::futures::{QapiService, QmpStreamTokio};
use qapi::qmp;
use std::time::Duration;
use tokio::io::{ReadHalf, WriteHalf, split};
use tokio::net::UnixStream;

const DEADLINE: Duration = Duration::from_secs(10);

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
        self.run("stop", qmp::stop {}).await
    }

    /// Lets them run.
    pub(super) async fn cont(&mut self) -> Result<(), VmmError> {
        self.run("cont", qmp::cont {}).await
    }

    async fn run<C: qmp::QmpCommand + 'static>(
        &mut self,
        name: &'static str,
        command: C,
    ) -> Result<(), VmmError> {
        let service = self.open().await?;
        match tokio::time::timeout(DEADLINE, service.execute(command)).await {
            Ok(Ok(_)) => Ok(()),
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
