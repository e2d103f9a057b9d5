//! The host's end of the channel against peers that say what they want: in bounded memory and time nothing wrong passes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod files;
mod liars;
mod peer;
mod relay;
