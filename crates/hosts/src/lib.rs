//! Chat hosts, and pyro as an MCP server of theirs: registered ([`connect()`]), looked at ([`diagnose()`]), mended ([`repair`]),
//! or written down for a person to paste ([`render`]).
//!
//! What always holds:
//!
//! - Only the entry named [`SERVER_NAME`] is changed. Every other entry, unknown fields, comments and the order stay as
//!   they are in what this crate writes, and what a host's own program loses of them is put back.
//! - A file is copied beside itself before anything changes it, and replaced in one step.
//! - A file that cannot be understood is reported and not touched, and a host's own program, which may be less careful, is
//!   not started with it.
//! - Every program that is started has a deadline, ends with the call, and is read from within bounds.
//!
//! Claude Code and Codex are registered with by their own `mcp` commands, OpenCode by its configuration file. All three start
//! the server in the directory that they were started in themselves, so one entry serves all projects.

mod child;
mod claude_code;
mod codex;
mod connect;
mod diagnose;
mod entry;
mod error;
mod files;
mod host;
mod json;
mod opencode;
mod project;
mod registration;
mod render;
mod surroundings;
mod toml;
mod uninterrupted;
mod words;

pub use connect::{Connected, connect, repair};
pub use diagnose::{Diagnosis, Status, diagnose};
pub use error::HostError;
pub use host::{Host, UnknownHost};
pub use registration::{Expected, Registration, SERVER_NAME};
pub use render::{Written, render, write};
pub use surroundings::Surroundings;
pub use words::without_passwords;
