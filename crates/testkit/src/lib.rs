//! Harness for tests that run the real `pyro` binary, with real guests.
//!
//! - A [`Suite`] knows the binary and where test files may lie. What every test needs and takes minutes to make, the
//!   runtime bundle and environments, is in one cache that all tests of a target directory share: the first test that
//!   needs something prepares it through `pyro` itself, under its own locks, and a second run downloads nothing.
//! - Each test has a [`Home`] of its own for everything else. When it is dropped, no process, socket, machine, workspace
//!   or temporary file of that home may be left; one that is fails the test. A test that has failed already is not
//!   checked: its processes are ended, and nothing else is done.
//! - A [`Workspace`] is deleted when it is dropped, and finds the processes behind it.
//! - A [`Pyro`] is one call of the binary: in a process group of its own, with a deadline. Nothing is ever killed that
//!   a home did not start.
//!
//! Waiting is polling with a deadline throughout; no test sleeps to get its timing right.

#![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "a harness fails its test by panicking")]

mod command;
mod files;
mod home;
mod installed;
mod mcp;
mod node;
mod output;
mod processes;
mod python;
mod records;
mod running;
mod small_disk;
mod suite;
mod wait;
mod workspace;

pub use command::Pyro;
pub use files::{data_of, edit_json, link_tree};
pub use home::{GONE_DEADLINE, Home};
pub use mcp::{McpClient, PROTOCOL};
pub use processes::{Paused, Process};
pub use running::{Run, Running};
pub use small_disk::SmallDisk;
pub use suite::Suite;
pub use wait::poll_until;
pub use workspace::Workspace;

pub use rustix::process::Signal;
pub use serde_json::{Value, json};
