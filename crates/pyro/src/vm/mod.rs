//! One-shot machines: created, started, given one command, gone.
//!
//! - [`run`](Pyro::run_in_vm) does all of it in one call;
//! - [`lifecycle`] offers the steps one by one.
//!
//! A machine belongs to the process whose [`crate::Pyro`] created it and has a time to live, counted from its creation.

pub mod lifecycle;
mod output;
mod plan;
mod run;
mod start;
mod throwaway;

pub(crate) use lifecycle::Registry;
pub use lifecycle::{CreateVm, NetworkInfo, Reaped, VmExec, VmState, VmStatus};
pub use output::{OutputChunk, OutputMode};
pub(crate) use plan::{Beginning, MachinePlan};
pub use run::{Cleanup, RunRequest, RunResult, Timings};
pub(crate) use run::{Finished, check_command, execute, limited, milliseconds};
pub use start::StartKind;
pub(crate) use start::{Prepared, Running, Shape};
pub use throwaway::Throwaway;

use crate::PyroError;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// Longest timeout of a command, and longest time to live of a machine.
pub const MAX_SECONDS: u64 = 86_400;
/// Virtual CPUs by default.
pub const DEFAULT_VCPU_COUNT: u32 = 1;
/// Guest memory by default, in MiB.
pub const DEFAULT_MEM_MIB: u32 = 1024;
/// Timeout of a command by default, in seconds.
pub const DEFAULT_TIMEOUT_SECONDS: u64 = 30;
/// Time to live of a machine by default, in seconds.
pub const DEFAULT_TTL_SECONDS: u64 = 600;

/// Opaque, stable id of a machine: `vm-` and 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct VmId(String);

impl VmId {
    pub(crate) fn random() -> Result<Self, PyroError> {
        Ok(Self(format!("vm-{:016x}", random()?)))
    }

    /// The id of a machine as a user wrote it; whether there is such a machine is told by the operation.
    pub fn parse(text: &str) -> Self {
        Self(text.chars().take(80).collect())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A random number, as ids are made of.
pub(crate) fn random() -> Result<u64, PyroError> {
    let failed = |error: getrandom::Error| pyro_vmm::VmmError::Host {
        action: "read random bytes".to_owned(),
        source: error.into(),
    };
    Ok(getrandom::u64().map_err(failed)?)
}

impl fmt::Display for VmId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Seconds as a duration; fails outside 1 to a day.
pub(crate) fn seconds(what: &'static str, given: u64) -> Result<Duration, PyroError> {
    if (1..=MAX_SECONDS).contains(&given) {
        Ok(Duration::from_secs(given))
    } else {
        Err(PyroError::OutOfRange { what, max: MAX_SECONDS, given })
    }
}
