//! The disk of a stopped workspace, looked at without a guest.
//!
//! - [`list`] and [`read`] look into its root: the whole of it, as its guest would see it, but for what is in memory there;
//! - [`export`] writes all of it as one file system;
//! - [`opened`] is how they get at it: nobody starts the workspace meanwhile, and no disk is read for longer than a minute;
//! - [`path`]: paths in that root.
//!
//! What is on the disk is data of an attacker's. It is read by `pyro-disk`, in this process, and nothing is written to it.

mod error;
mod export;
mod list;
mod opened;
mod path;
mod read;

pub use error::WorkspaceDiskError;
pub use export::WorkspaceDiskExport;
pub use path::DiskPath;
