//! What a host needs to boot a guest.
//!
//! Everything is blocking code over files and HTTP: no guest is started here. The parts:
//! - [`debian`]: signed packages from a Debian mirror, verified, resolved and read;
//! - [`bundle`]: the runtime bundle made of such packages (VMM, kernel, modules, image tools), content-addressed in the
//!   cache, and the initramfs derived from it;
//! - [`firecracker`]: Firecracker's program, the user's or a pinned release;
//! - [`host`] and [`probe`]: what this host offers, and the record of which engine really boots a guest.
//!
//! Nothing read from the network is used before its signature or its sha256 was checked, and nothing appears under its
//! final name before it is complete.

pub mod bundle;
pub mod child;
pub mod debian;
pub mod digest;
pub mod env_vars;
pub mod firecracker;
pub mod fs;
pub mod host;
pub mod http;
pub mod lock;
pub mod paths;
pub mod probe;
pub mod progress;
pub mod sparse;

pub use bundle::{Bundle, BundleError, MkfsTar, SEED_DISK_BYTES, Tails, Tool};
pub use debian::{Archive, DebianError, FetchError, Fetcher, Package};
pub use digest::Sha256Digest;
pub use env_vars::EnvVars;
pub use firecracker::{Firecracker, FirecrackerError, FirecrackerSource};
pub use paths::Dirs;
pub use progress::{Progress, Silent};

/// The guest agent, a static executable: `/init` of the initramfs and the helper of `host_compat`.
pub const AGENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pyro-agent"));
