//! The crate as its users have it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod properties;
mod tools;
