//! Signed packages from a Debian mirror.
//!
//! Trust starts at the embedded archive keys: they sign `InRelease` (`release`), which holds the sha256 of the package
//! index (`packages`), which holds the sha256 of every package (`fetch`). The mirror itself is never trusted.
//!
//! The usual steps: [`Fetcher::new`], [`Archive::open`], [`Archive::resolve`], [`Fetcher::packages`], [`Deb::open`].

mod archive;
mod deb;
pub(crate) mod download;
mod error;
mod fetch;
mod keyring;
mod mirror;
mod packages;
mod release;
mod resolve;
#[cfg(test)]
pub(crate) mod testing;

pub use archive::Archive;
pub(crate) use deb::xz_decoder;
pub use deb::{Deb, DebEntry, DebError, EntryKind};
pub use error::DebianError;
pub use fetch::{FetchError, FetchOptions, Fetcher};
pub use keyring::Keyring;
pub use mirror::{Mirror, MirrorOrigin, SnapshotTime, without_credentials};
pub use packages::{Package, Priority};
pub use release::ReleaseInfo;
#[cfg(test)]
pub(crate) use testing::xz as xz_for_tests;

/// The one architecture pyro's guests have.
pub const ARCHITECTURE: &str = "amd64";
