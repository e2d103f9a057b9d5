//! Trees to archives and back, with friends and enemies at either end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod destination;
mod layer;
mod round_trip;
mod source;
mod source_hostile;
mod support;
mod unpack;
