//! What can be wrong with a patch, and with a patch on a given file.

mod apply;
mod parse;

use crate::quote::quoted;

pub use apply::{ApplyError, Cause};
pub use parse::{Feature, HeaderProblem, HunkProblem, PatchError};

/// Most characters of a line that an error shows.
const MAX_SHOWN_CHARS: usize = 200;

/// A file's name as git shows it, bounded.
pub(crate) fn shown_name(name: &[u8]) -> String {
    match name.split_at_checked(MAX_SHOWN_CHARS) {
        Some((head, rest)) if !rest.is_empty() => format!("{}…", quoted("", head)),
        _ if name.is_empty() => "\"\"".to_owned(),
        _ => quoted("", name),
    }
}

/// `text` in quotes on one line, without its newline, escaped where it is not printable, and bounded.
pub(crate) fn shown(text: &str) -> String {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let mut end = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    match end.nth(MAX_SHOWN_CHARS).and_then(|at| text.get(..at)) {
        Some(head) if head.len() < text.len() => format!("{head:?}…"),
        _ => format!("{text:?}"),
    }
}
