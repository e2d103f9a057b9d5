//! `pyro workspace`: guests that stay, on real guests.

mod concurrency;
mod crash;
mod diffs;
mod disk;
mod disk_full;
mod expiry;
mod files;
mod hostile_guest;
mod lifecycle;
pub mod network;
mod patches;
mod ports;
mod project;
mod recipes;
mod refusals;
mod secrets;
mod services;
mod shells;
mod snapshots;
mod terminal;
mod transfers;
mod trees;

use pyro_testkit::{Home, Value};
use std::path::Path;

/// Exit status and code of a call that is refused.
type Refusal = (i32, &'static str);

const INVALID: Refusal = (2, "invalid_input");
const MISSING: Refusal = (1, "not_found");
const EXISTS: Refusal = (1, "already_exists");
const EXHAUSTED: Refusal = (1, "exhausted");
const WRONG_STATE: Refusal = (1, "wrong_state");
const UNSUPPORTED: Refusal = (1, "unsupported");

/// A path as an argument.
fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The list of workspaces.
#[track_caller]
fn list(home: &Home) -> Value {
    home.pyro(["workspace", "list", "--json"]).run().expect(0).json()
}

/// The paths of the entries of a listing or a diff.
fn paths(document: &Value) -> Vec<&str> {
    document["entries"].as_array().unwrap().iter().map(|entry| entry["path"].as_str().unwrap()).collect()
}

/// Whether a text does more to a terminal than to show lines.
fn drives_terminal(text: &str) -> bool {
    text.contains(|character: char| character.is_control() && character != '\n' || character == '\u{202e}')
}
