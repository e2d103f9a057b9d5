//! pyro as an MCP server: every operation of the SDK as a tool, for chat hosts and any other MCP client.
//!
//! - [`exposure`]: which tools a profile or mode has, [`offer`]: how they look there, [`guidance`]: what a model is told;
//! - [`server`]: how a call goes; [`check`]: its arguments, [`progress`]: its notifications, [`failure`] and [`hints`]: its errors;
//! - [`tools`]: the tools themselves, each a method of the SDK with typed arguments;
//! - [`resources`] and [`prompts`]: what else a host can show its user;
//! - [`reference`]: all of it as a document;
//! - [`stdio`] and [`http`]: how clients are connected.

mod check;
mod exposure;
mod failure;
mod guidance;
mod hints;
mod http;
mod offer;
mod progress;
mod prompts;
mod reference;
mod resources;
mod server;
mod stdio;
mod tools;

pub use exposure::{Exposure, Mode, Profile, UnknownName};
pub(crate) use failure::Failure;
pub use http::{HttpListener, ListenError};
pub use reference::reference;
pub use server::{Server, ServerSettings, create_server};
pub use stdio::{ServeError, serve_stdio};
