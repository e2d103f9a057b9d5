//! pyro as an MCP server: every operation of the SDK as a tool, for chat hosts and any other MCP client.

mod exposure;
mod server;
mod stdio;

pub use exposure::{Exposure, Mode, Profile, UnknownName};
pub use server::{Server, ServerSettings, create_server};
pub use stdio::{ServeError, serve_stdio};
