//! Makes a template: boot, stage, rehearse, seal, take the memory, twice, and install.

use super::building::Building;
use super::{Template, TemplateKey, TemplateStore, Unusable};
use crate::engine::blocking;
use crate::vm::{Beginning, MachinePlan, Prepared, Shape, VmId};
use crate::{Pyro, PyroError};
use pyro_protocol::WAITING_LINE;
use pyro_protocol::v1::FailureKind;
use pyro_runtime::fs::FsError;
use pyro_runtime::lock::FileLock;
use pyro_runtime::sparse;
use pyro_vmm::guest::{ExecEvent, ExecRequest};
use pyro_vmm::{Guest, Machine, Snapshot, VmmError};
use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What is run before the memory is taken: what commands have in common is then in the guest's memory. One that an
/// environment does not have is left out.
const REHEARSALS: [&[&str]; 4] = [
    &["true"],
    &[
        "sh",
        "-c",
        "for i in 1 2; do ls -l / && cat /etc/os-release && id && uname -a && hostname; done | sort | head",
    ],
    &["git", "--version"],
    &["true"],
];
const REHEARSAL_LIMIT: Duration = Duration::from_secs(30);
/// How long another process may take that makes the same template.
const PATIENCE: Duration = Duration::from_mins(6);
/// How long the agent may take to notice that nobody is at the other end.
const HANG_UP_DEADLINE: Duration = Duration::from_secs(10);
const HANG_UP_POLL: Duration = Duration::from_millis(5);

/// When a template is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demand {
    /// When there is none, and nobody else is making it.
    IfLeftUndone,
    /// When there is none, and whoever is making it has not made it either.
    IfMissing,
    /// In any case. Until it is there, the one before stays in use.
    Anew,
}

impl Pyro {
    /// The template for machines of `shape`, made where `demand` says so. `None` when such machines start from none, or
    /// another process is making it and nobody is to wait.
    pub(crate) async fn make_template(
        &self,
        shape: &Shape,
        prepared: &Prepared,
        demand: Demand,
    ) -> Result<Option<Template>, PyroError> {
        let Some(key) = prepared.template_key().cloned() else { return Ok(None) };
        let store = self.template_store();
        if demand != Demand::Anew
            && let Ok(found) = open(&store, &key).await?
        {
            return Ok(Some(found));
        }
        let Some(lock) = lock(&store, &key, demand).await? else { return Ok(None) };
        if demand != Demand::Anew
            && let Ok(found) = open(&store, &key).await?
        {
            return Ok(Some(found));
        }
        self.progress().phase(&format!("template environment={}", shape.environment.name));
        let building = blocking(move || Ok(Building::begin(store, key, lock)?)).await?;
        let files = building.files();
        let taken = async {
            self.take_memory(shape, prepared, files.joined(), Some(files.disk.clone())).await?;
            self.take_memory(shape, prepared, files.apart(), None).await
        };
        match taken.await {
            Ok(()) => blocking(move || Ok(Some(building.finish()?))).await,
            Err(error) => {
                building.fail(&error);
                Err(error)
            }
        }
    }

    /// Takes the memory of a guest whose root is joined with its disk, and a copy of that to `disk`; without one, that of a guest that
    /// has nothing of its disk.
    async fn take_memory(
        &self,
        shape: &Shape,
        prepared: &Prepared,
        built: Snapshot,
        disk: Option<PathBuf>,
    ) -> Result<(), PyroError> {
        let id = VmId::random()?;
        let directory = self.vm_directory(&id).await?;
        let plan = MachinePlan::throwaway(&id, &directory);
        let (machine, _) = prepared.launch(&plan, shape, Beginning::BootForSnapshot(built)).await?;
        let guest = Guest::boot(machine.as_ref(), shape.boot_deadline()).await?;
        let rehearsed = async {
            guest.stage().await?;
            for command in REHEARSALS {
                rehearse(&guest, command).await?;
            }
            guest.seal(disk.is_some()).await
        };
        rehearsed.await.map_err(|error: VmmError| error.with_console(machine.as_ref()))?;
        drop(guest);
        hung_up(machine.as_ref()).await?;
        let taken = machine.snapshot().await;
        machine.kill().await;
        taken?;
        match disk {
            // The guest stood still from before its memory was taken to its end.
            Some(to) => {
                let disk = plan.throwaway_disk();
                let opened = File::open(&disk).map_err(FsError::on("open", &disk))?;
                blocking(move || Ok(sparse::write(&opened, &to)?)).await
            }
            None => Ok(()),
        }
    }
}

async fn open(store: &TemplateStore, key: &TemplateKey) -> Result<Result<Template, Unusable>, PyroError> {
    let (store, key) = (store.clone(), key.clone());
    blocking(move || Ok(store.open(&key))).await
}

/// The right to make the template of `key`; `None` when another process has it and nobody is to wait.
async fn lock(
    store: &TemplateStore,
    key: &TemplateKey,
    demand: Demand,
) -> Result<Option<FileLock>, PyroError> {
    let (store, key) = (store.clone(), key.clone());
    blocking(move || match demand {
        Demand::IfLeftUndone => Ok(store.lock(&key, Duration::ZERO).ok()),
        Demand::IfMissing | Demand::Anew => Ok(Some(store.lock(&key, PATIENCE)?)),
    })
    .await
}

/// Runs a command for the traces it leaves in the guest's memory; how it ends is of no matter.
async fn rehearse(guest: &Guest, command: &[&str]) -> Result<(), VmmError> {
    let argv = command.iter().map(|word| word.as_bytes().to_vec()).collect();
    let request = ExecRequest { argv, timeout: Some(REHEARSAL_LIMIT), ..ExecRequest::default() };
    let mut call = match guest.exec(request).await {
        Ok(call) => call,
        Err(VmmError::Refused { kind: FailureKind::NotFound | FailureKind::NotExecutable, .. }) => {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    while !matches!(call.next().await?, ExecEvent::Exited(_)) {}
    Ok(())
}

/// Waits until the agent waits for a host end, as it will in every clone: it says so once when it has booted, and once
/// more when the host end before is gone.
async fn hung_up(machine: &dyn Machine) -> Result<(), VmmError> {
    let begun = Instant::now();
    while machine.console_tail().matches(WAITING_LINE).count() < 2 {
        if begun.elapsed() > HANG_UP_DEADLINE {
            return Err(VmmError::CallTimeout { call: "hang up", waited: HANG_UP_DEADLINE });
        }
        tokio::time::sleep(HANG_UP_POLL).await;
    }
    Ok(())
}
