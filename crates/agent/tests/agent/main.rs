//! The real binary, as an ordinary process, spoken to over a socket.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]

mod archives;
mod beneath;
mod client;
mod dial;
mod exec;
mod files;
mod protocol;
mod replace;
mod secrets;
mod services;
mod shells;
