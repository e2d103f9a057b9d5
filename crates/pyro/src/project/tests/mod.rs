//! The project source, on real repositories.

mod checkouts;
mod clones;
mod hostile;
mod options;
mod support;
mod unreadable;
