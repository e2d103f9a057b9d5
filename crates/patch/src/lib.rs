//! Unified diffs as pure functions: [`Patch::parse`], [`FilePatch::apply`], [`render()`].
//!
//! Patches are written by language models and file contents by a hostile guest, so everything here treats its input
//! as hostile. Nothing performs I/O, no input panics, and work is bounded: parsing is linear in a text of at most
//! [`MAX_PATCH_BYTES`], the search for a hunk's place has a budget, and rendering has a deadline.
//!
//! - [`path`]: the lexical rules of paths in patches;
//! - [`quote`]: git's C-quoting of odd paths;
//! - `parse`: text to [`Patch`], refusing by name what a workspace does not take;
//! - `apply`: one [`FilePatch`] on one file, exactly or not at all;
//! - `render`: the git-style diff of one text file, which `parse` takes back;
//! - [`error`]: what each of them says when it fails.

mod apply;
pub mod error;
mod model;
mod parse;
pub mod path;
pub mod quote;
mod render;

pub use apply::Applied;
pub use error::{ApplyError, PatchError};
pub use model::{FileMode, FilePatch, Kind, Patch};
pub use path::PatchPath;
pub use render::{FileText, render};

/// Largest patch accepted, in bytes.
pub const MAX_PATCH_BYTES: usize = 1024 * 1024;

/// `bytes` as text, when they are: UTF-8 without NUL. Anything else is binary to a diff.
pub fn is_text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::is_text;

    #[test]
    fn text_is_utf8_without_nul() {
        assert_eq!(is_text(b""), Some(""));
        assert_eq!(is_text("ä\r\n".as_bytes()), Some("ä\r\n"));
        assert_eq!(is_text(b"a\0b"), None);
        assert_eq!(is_text(b"\xff"), None);
    }
}
