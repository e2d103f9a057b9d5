//! The tools, one file for each kind of thing that they work on.
//!
//! A tool is a method of the SDK with typed arguments; what it returns is that method's result. Names, types and ranges of
//! arguments are checked against the schema before a tool is called, so that it sees none that are unknown.

mod arguments;
pub(crate) mod budget;
mod disk;
mod environment;
mod files;
mod lifecycle;
mod services;
mod shells;
mod snapshots;
mod vm;
mod work;

use crate::Server;
use rmcp::handler::server::tool::ToolRouter;

/// Every tool that there is.
pub(crate) fn all() -> ToolRouter<Server> {
    Server::vm_tools()
        + Server::lifecycle_tools()
        + Server::work_tools()
        + Server::file_tools()
        + Server::snapshot_tools()
        + Server::shell_tools()
        + Server::service_tools()
        + Server::disk_tools()
}
