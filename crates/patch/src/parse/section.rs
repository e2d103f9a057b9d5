//! The section of one file: headers, then hunks.

use std::sync::Arc;

use crate::error::{Feature, HeaderProblem, HunkProblem, PatchError, shown_name};
use crate::model::{FileMode, FilePatch, Hunk, Kind};
use crate::path::PatchPath;

use super::cursor::{Cursor, bare};
use super::hunks;
use super::names::{self, Name};

/// Whether a file's section begins here: `diff --git`, or `---` with `+++` on the next line.
pub(super) fn begins(cursor: &Cursor<'_>) -> bool {
    let Some(line) = cursor.peek() else { return false };
    line.starts_with("diff --git ") || begins_plainly(cursor)
}

fn begins_plainly(cursor: &Cursor<'_>) -> bool {
    cursor.peek().is_some_and(|line| line.starts_with("--- "))
        && cursor.peek_second().is_some_and(|line| line.starts_with("+++ "))
}

/// Whether a line stands for a binary change.
pub(super) fn is_binary(text: &str) -> bool {
    text == "GIT binary patch" || (text.starts_with("Binary files ") && text.ends_with(" differ"))
}

/// Reads the section that [`begins`] here.
pub(super) fn read(cursor: &mut Cursor<'_>, source: &Arc<str>) -> Result<FilePatch, PatchError> {
    let line = cursor.number();
    let git = GitHeader::read(cursor)?;
    let sides = if begins_plainly(cursor) {
        Some((read_name(cursor)?, read_name(cursor)?))
    } else if cursor.peek().is_some_and(|next| next.starts_with("--- ")) {
        return Err(PatchError::Header { line: cursor.number(), problem: HeaderProblem::NoNewName });
    } else {
        None
    };
    let header = |problem| PatchError::Header { line, problem };
    let (name, kind) = match &sides {
        Some((old, new)) => from_sides(line, old, new, &git)?,
        None => (git.name.clone().ok_or(header(HeaderProblem::Name))?, git.kind.unwrap_or(Kind::Modify)),
    };
    let path = PatchPath::new(&name).map_err(|problem| PatchError::Path {
        line,
        path: shown_name(&name),
        problem,
    })?;

    let mut file = FilePatch { path, kind, hunks: Vec::new(), source: Arc::clone(source) };
    // A hunk needs `---` and `+++`; without them the section ends here, and what follows is stray.
    if let Some((old, new)) = &sides {
        file.hunks = hunks::read(cursor, &file.path)?;
        file.kind = from_epoch(kind, &file.hunks, old, new);
    }
    if file.hunks.is_empty() && (file.kind == Kind::Modify || sides.is_some()) {
        return Err(PatchError::NoHunks { line, path: file.path });
    }
    check_kind(line, &file)?;
    Ok(file)
}

/// What `diff --git` and the lines below it say.
#[derive(Default)]
struct GitHeader {
    name: Option<Vec<u8>>,
    kind: Option<Kind>,
}

impl GitHeader {
    /// Reads it, or nothing when the section is without one; refuses what it may ask for.
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, PatchError> {
        let mut header = Self::default();
        let Some(names) = cursor.peek().and_then(|line| line.strip_prefix("diff --git ")) else {
            return Ok(header);
        };
        let names = bare(names);
        header.name =
            names::of_git_line(names).and_then(|(old, new)| Some(names::common(&old, &new)?.to_vec()));
        cursor.next();
        while let Some(line) = cursor.peek() {
            if !header.take(bare(line), names, cursor.number())? {
                break;
            }
            cursor.next();
        }
        Ok(header)
    }

    /// Takes an extended header; whether `text` is one.
    fn take(&mut self, text: &str, names: &str, line: usize) -> Result<bool, PatchError> {
        let unsupported = |feature| {
            let file = match &self.name {
                Some(name) => shown_name(name),
                None => shown_name(names.as_bytes()),
            };
            PatchError::Unsupported { line, file, feature }
        };
        if let Some(mode) = text.strip_prefix("new file mode ") {
            self.kind = Some(Kind::Add { mode: parse_mode(mode).map_err(unsupported)? });
        } else if let Some(mode) = text.strip_prefix("deleted file mode ") {
            known_type(mode).map_err(unsupported)?;
            self.kind = Some(Kind::Delete);
        } else if let Some(rest) = text.strip_prefix("index ") {
            if let Some((_, mode)) = rest.split_once(' ') {
                known_type(mode).map_err(unsupported)?;
            }
        } else if text.starts_with("old mode ") || text.starts_with("new mode ") {
            return Err(unsupported(Feature::ModeChange));
        } else if ["rename from ", "rename to ", "rename old ", "rename new "]
            .iter()
            .any(|it| text.starts_with(it))
        {
            return Err(unsupported(Feature::Rename));
        } else if text.starts_with("copy from ") || text.starts_with("copy to ") {
            return Err(unsupported(Feature::Copy));
        } else if is_binary(text) {
            return Err(unsupported(Feature::Binary));
        } else if !text.starts_with("similarity index ") && !text.starts_with("dissimilarity index ") {
            return Ok(false);
        }
        Ok(true)
    }
}

fn parse_mode(mode: &str) -> Result<FileMode, Feature> {
    match mode.trim_end() {
        "100644" => Ok(FileMode::Regular),
        "100755" => Ok(FileMode::Executable),
        other => known_type(other).and(Err(Feature::OddMode)),
    }
}

/// Refuses the modes of what is not a regular file.
fn known_type(mode: &str) -> Result<(), Feature> {
    match mode.trim_end() {
        "120000" => Err(Feature::Symlink),
        "160000" => Err(Feature::Submodule),
        _ => Ok(()),
    }
}

/// Takes a line `--- NAME` or `+++ NAME`.
fn read_name(cursor: &mut Cursor<'_>) -> Result<Name, PatchError> {
    let line = cursor.number();
    let text = cursor.next().and_then(|line| line.get(4..)).unwrap_or_default();
    Name::parse(bare(text)).map_err(|problem| PatchError::Header { line, problem })
}

/// Name and kind as `---` and `+++` give them, if what git says agrees.
fn from_sides(line: usize, old: &Name, new: &Name, git: &GitHeader) -> Result<(Vec<u8>, Kind), PatchError> {
    let header = |problem| Err(PatchError::Header { line, problem });
    let said = git.name.as_deref();
    let (name, kind) = match (old.is_null(), new.is_null()) {
        (true, true) => return header(HeaderProblem::NoFile),
        (false, false) => {
            let rename = || PatchError::Unsupported {
                line,
                file: shown_name(&[&*old.bytes, b" and ", &*new.bytes].concat()),
                feature: Feature::Rename,
            };
            (names::common(&old.bytes, &new.bytes).ok_or_else(rename)?, Kind::Modify)
        }
        (true, false) => (names::lone(&new.bytes, "b/", said), Kind::Add { mode: FileMode::Regular }),
        (false, true) => (names::lone(&old.bytes, "a/", said), Kind::Delete),
    };
    let contradicts = said.is_some_and(|said| PatchPath::new(said) != PatchPath::new(name))
        || git.kind.is_some_and(|said| std::mem::discriminant(&said) != std::mem::discriminant(&kind));
    if contradicts {
        return header(HeaderProblem::Contradiction);
    }
    Ok((name.to_vec(), git.kind.unwrap_or(kind)))
}

/// The kind when a timestamp at the epoch and an empty side say that there is no file on that side.
fn from_epoch(kind: Kind, hunks: &[Hunk], old: &Name, new: &Name) -> Kind {
    match hunks {
        [only] if kind == Kind::Modify && old.at_epoch && only.old_count == 0 => {
            Kind::Add { mode: FileMode::Regular }
        }
        [only] if kind == Kind::Modify && new.at_epoch && only.new_count == 0 => Kind::Delete,
        _ => kind,
    }
}

/// Refuses hunks that the kind of the change cannot have.
fn check_kind(line: usize, file: &FilePatch) -> Result<(), PatchError> {
    let wrong = |hunk, problem| Err(PatchError::Hunk { line, path: file.path.clone(), hunk, problem });
    match file.kind {
        Kind::Modify => Ok(()),
        Kind::Add { .. } if file.hunks.len() > 1 => wrong(2, HunkProblem::AddHasOldLines),
        Kind::Add { .. } => match file.hunks.iter().position(|hunk| hunk.old_count > 0) {
            Some(at) => wrong(at + 1, HunkProblem::AddHasOldLines),
            None => Ok(()),
        },
        Kind::Delete => match file.hunks.iter().position(|hunk| hunk.new_count > 0) {
            Some(at) => wrong(at + 1, HunkProblem::DeleteHasNewLines),
            None => Ok(()),
        },
    }
}
