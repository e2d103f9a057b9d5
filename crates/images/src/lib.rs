//! Environments: what a guest's root file system is made of.
//!
//! - [`catalog`]: the environments pyro knows, as package lists;
//! - [`store`]: the cache of installed ones: open, list, inspect, prune;
//! - [`build`]: from signed packages to a read-only image, without root, by running the packages' own configuration in a
//!   guest.
//!
//! An environment counts as installed only while its manifest is readable and its image is the one that was hashed;
//! everything else is reported as broken and repaired by the next pull.

pub mod build;
pub mod catalog;
pub mod error;
pub mod store;

pub use catalog::{CATALOG_VERSION, Recipe};
pub use error::ImagesError;
pub use store::{Environment, EnvironmentStore, Manifest, Pruned, Status};
