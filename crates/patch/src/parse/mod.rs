//! From text to [`Patch`].
//!
//! Text before the first file and between files is skipped, as git and patch(1) do: mail headers, commit messages,
//! prose of a model, a code fence. Right after a hunk nothing is: a line that begins as a hunk's do means that the
//! header's counts are too small, and the rest of the hunk would be lost without a word.

mod cursor;
mod hunks;
mod names;
mod section;

use std::collections::HashSet;
use std::sync::Arc;

use crate::error::{Feature, PatchError, shown_name};
use crate::model::{FilePatch, Patch};
use crate::{MAX_PATCH_BYTES, is_text};

use cursor::{Cursor, bare};

impl Patch {
    /// Reads a unified diff of one or several files, as `diff -u`, `git diff` or a language model writes it.
    ///
    /// Paths lose the prefixes `a/` and `b/` (or git's mnemonic ones) where both sides have them, in either order, and `/workspace/`.
    /// A last line without newline is taken to have one; `\ No newline at end of file` says otherwise.
    ///
    /// Fails when the text is malformed, empty of changes or over the limit, when it asks for a rename, copy, mode
    /// change, binary change, link or submodule, and when paths leave the workspace, repeat or contradict.
    pub fn parse(text: &[u8]) -> Result<Self, PatchError> {
        if text.len() > MAX_PATCH_BYTES {
            return Err(PatchError::TooLarge { bytes: text.len() });
        }
        let text = is_text(text).ok_or(PatchError::NotText)?;
        let source: Arc<str> =
            if text.is_empty() || text.ends_with('\n') { text.into() } else { format!("{text}\n").into() };

        let mut cursor = Cursor::new(&source);
        let mut files: Vec<FilePatch> = Vec::new();
        let mut seen = HashSet::new();
        while to_next_file(&mut cursor)? {
            let line = cursor.number();
            let file = section::read(&mut cursor, &source)?;
            if !seen.insert(file.path.clone()) {
                return Err(PatchError::Twice { line, path: file.path });
            }
            files.push(file);
        }
        if files.is_empty() {
            return Err(PatchError::Empty);
        }
        refuse_file_and_directory(&files)?;
        Ok(Self { files })
    }
}

/// Skips what is not a file's section; whether there is one.
fn to_next_file(cursor: &mut Cursor<'_>) -> Result<bool, PatchError> {
    while let Some(line) = cursor.peek() {
        if section::begins(cursor) {
            return Ok(true);
        }
        let number = cursor.number();
        let unsupported = |file: &str, feature| PatchError::Unsupported {
            line: number,
            file: shown_name(file.as_bytes()),
            feature,
        };
        let text = bare(line);
        if let Some(file) = text.strip_prefix("diff --cc ").or_else(|| text.strip_prefix("diff --combined "))
        {
            return Err(unsupported(file, Feature::Combined));
        }
        if text.starts_with("@@@ -") {
            return Err(unsupported(text, Feature::Combined));
        }
        if section::is_binary(text) {
            return Err(unsupported(text, Feature::Binary));
        }
        if text.starts_with("@@ -") {
            return Err(PatchError::StrayHunk { line: number });
        }
        cursor.next();
    }
    Ok(false)
}

/// Refuses a patch after which one path would have to be a file and a directory.
fn refuse_file_and_directory(files: &[FilePatch]) -> Result<(), PatchError> {
    let mut staying: Vec<_> =
        files.iter().filter(|file| file.kind != crate::Kind::Delete).map(|file| &file.path).collect();
    // In this order whatever lies below a path follows it at once.
    staying.sort_by(|one, other| one.components().cmp(other.components()));
    for pair in staying.windows(2) {
        if let [path, inside] = pair
            && path.contains(inside)
        {
            return Err(PatchError::FileAndDirectory { path: (*path).clone(), inside: (*inside).clone() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
