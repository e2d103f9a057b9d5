//! Machines: one trait, its engines, and the host's end of the channel to the agent inside.
//!
//! - [`engine`]: what every engine offers ([`Engine`], [`Machine`]) and declares ([`Capabilities`]);
//! - [`spec`]: what a machine is made of, with its bounds;
//! - [`qemu`]: QEMU's microvm machine, on KVM or in software emulation;
//! - [`firecracker`]: Firecracker, on KVM;
//! - [`host_compat`]: the agent as an ordinary process, without any isolation, only when asked for;
//! - [`jail`]: what a VMM's process may do to its host;
//! - [`guest`]: the calls into a machine, whatever its engine;
//! - [`probe`]: which acceleration really boots a guest on this host.
//!
//! Invariants: a VMM process never outlives the thread that keeps it, and so never outlives pyro; everything a guest
//! says is bounded in memory and time.

mod cgroup;
pub mod engine;
pub mod error;
pub mod firecracker;
pub mod guest;
pub mod host_compat;
pub mod jail;
pub mod probe;
mod process;
pub mod qemu;
mod socket;
pub mod spec;
mod tail;

pub use engine::{Capabilities, Engine, ExecutionMode, ExitReport, Machine};
pub use error::VmmError;
pub use guest::Guest;
pub use jail::{JailLevel, LandlockLevel, Obstacle};
pub use spec::{Disk, MachineSpec, MemMib, Snapshot, Start, VcpuCount};
