//! A machine for pyro's own purposes: proving that this host can do the daily loop, and measuring how fast.

use super::VmId;
use super::output::{MAX_CAPTURED_BYTES, OutputMode};
use super::plan::{Beginning, MachinePlan};
use super::run::{execute, limited};
use super::start::{Prepared, Running, Shape, StartKind};
use crate::boxed;
use crate::network::{NetworkRules, RefusedDestination};
use crate::private_directory::PrivateDirectory;
use crate::{Pyro, PyroError};
use pyro_vmm::Guest;
use std::time::{Duration, Instant};

/// How long its commands may take.
const COMMAND_LIMIT: Duration = Duration::from_mins(1);

/// A started machine that is reset as often as one likes. Dropping it ends it.
pub struct Throwaway {
    pyro: Pyro,
    shape: Shape,
    prepared: Prepared,
    network: NetworkRules,
    id: VmId,
    // Ends before its directory is removed.
    running: Running,
    directory: PrivateDirectory,
}

impl Throwaway {
    /// Creates and starts a machine, from its template where there is one.
    #[boxed]
    pub async fn create(
        pyro: &Pyro,
        environment: &str,
        vcpu_count: u32,
        mem_mib: u32,
    ) -> Result<Self, PyroError> {
        let shape = Shape::new(environment, vcpu_count, mem_mib, false)?;
        let prepared = pyro.prepare_start(&shape).await?;
        Self::of(pyro, shape, prepared, NetworkRules::default()).await
    }

    pub(crate) async fn of(
        pyro: &Pyro,
        shape: Shape,
        prepared: Prepared,
        network: NetworkRules,
    ) -> Result<Self, PyroError> {
        let id = VmId::random()?;
        let directory = pyro.vm_directory(&id).await?;
        let plan = MachinePlan::throwaway(&id, &directory).connected(&network);
        let running = prepared.start(&plan, &shape, pyro.progress()).await?;
        Ok(Self { pyro: pyro.clone(), shape, prepared, network, id, running, directory })
    }

    /// Runs a command and returns its exit code and standard output.
    #[boxed]
    pub async fn exec(&self, command: &[&str]) -> Result<(u8, String), PyroError> {
        let argv = command.iter().map(|word| word.as_bytes().to_vec()).collect();
        let request = limited(argv, COMMAND_LIMIT);
        let outcome = execute(&self.running.guest, request, OutputMode::Capture, MAX_CAPTURED_BYTES).await;
        Ok(outcome.map_err(|error| error.with_console(self.running.machine.as_ref()))?.into_code_and_stdout())
    }

    /// Replaces the whole machine by a new one with a new disk.
    #[boxed]
    pub async fn reset(&mut self) -> Result<(), PyroError> {
        self.running.machine.kill().await;
        let plan = MachinePlan::throwaway(&self.id, &self.directory).connected(&self.network);
        self.running = self.prepared.start(&plan, &self.shape, self.pyro.progress()).await?;
        Ok(())
    }

    /// Ends the machine and removes its files.
    #[boxed]
    pub async fn delete(self) {
        self.running.end().await;
    }

    /// What it was refused since it came up.
    pub(crate) fn refused(&self) -> Vec<RefusedDestination> {
        self.running.refused()
    }

    /// How it came up, the last time.
    pub fn start(&self) -> StartKind {
        self.running.start
    }

    /// Name of its engine.
    pub fn engine(&self) -> &'static str {
        self.running.capabilities.engine
    }

    /// Why it did not come up from a template, where it could have.
    pub fn cold_start_reason(&self) -> Option<String> {
        self.running.no_template.as_ref().map(ToString::to_string)
    }

    /// Process id of its VMM.
    pub fn vmm_pid(&self) -> u32 {
        self.running.machine.pid()
    }

    /// What no start can beat: the time to start the VMM, restore the template, and have the agent answer one ping. `None`
    /// where there is no template.
    #[boxed]
    pub async fn floor(
        pyro: &Pyro,
        environment: &str,
        vcpu_count: u32,
        mem_mib: u32,
    ) -> Result<Option<Duration>, PyroError> {
        let shape = Shape::new(environment, vcpu_count, mem_mib, false)?;
        let prepared = pyro.prepare_start(&shape).await?;
        let Some(Ok(template)) = prepared.template().await? else { return Ok(None) };
        let id = VmId::random()?;
        let directory = pyro.vm_directory(&id).await?;
        let begun = Instant::now();
        let plan = MachinePlan::throwaway(&id, &directory);
        let (machine, _) = prepared.launch(&plan, &shape, Beginning::Joined(&template)).await?;
        let guest = Guest::boot(machine.as_ref(), shape.boot_deadline()).await?;
        guest.ping().await?;
        let elapsed = begun.elapsed();
        machine.kill().await;
        Ok(Some(elapsed))
    }
}
