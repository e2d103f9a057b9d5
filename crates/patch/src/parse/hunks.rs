//! The hunks of one file.

use crate::error::{Feature, HunkProblem, PatchError, shown, shown_name};
use crate::model::{Hunk, HunkLine, LineKind};
use crate::path::PatchPath;

use super::cursor::{Cursor, bare};
use super::section;

/// Reads hunks for as long as there are any, and makes sure that none of their lines is left over.
pub(super) fn read(cursor: &mut Cursor<'_>, path: &PatchPath) -> Result<Vec<Hunk>, PatchError> {
    let mut hunks = Vec::new();
    let mut ended = false;
    loop {
        skip_blanks_before_hunk(cursor);
        let line = cursor.number();
        let hunk = hunks.len() + 1;
        let wrong = |line, problem| PatchError::Hunk { line, path: path.clone(), hunk, problem };
        match cursor.peek() {
            Some(text) if text.starts_with("@@@") => {
                let file = shown_name(path.as_bytes());
                return Err(PatchError::Unsupported { line, file, feature: Feature::Combined });
            }
            Some(text) if text.starts_with("@@") => {
                // The one before ended the file.
                if ended {
                    return Err(wrong(line, HunkProblem::Marker));
                }
                let header = Header::parse(bare(text))
                    .ok_or_else(|| wrong(line, HunkProblem::Header { text: shown(text) }))?;
                cursor.next();
                let mut body = Body::new(header);
                body.read(cursor).map_err(|problem| wrong(cursor.number(), problem))?;
                ended = body.old_ended || body.new_ended;
                hunks.push(body.hunk);
                if is_left_over(*cursor) {
                    let problem = HunkProblem::TooLong { old: header.old_count, new: header.new_count };
                    return Err(wrong(line, problem));
                }
            }
            _ => return Ok(hunks),
        }
    }
}

/// Skips blank lines if a hunk's header follows them.
fn skip_blanks_before_hunk(cursor: &mut Cursor<'_>) {
    let mut ahead = *cursor;
    while ahead.peek().is_some_and(|line| line.trim().is_empty()) {
        ahead.next();
    }
    if ahead.peek().is_some_and(|line| line.starts_with("@@")) {
        *cursor = ahead;
    }
}

/// Whether a line of a hunk comes next, blank lines aside, where the hunk ought to have ended.
fn is_left_over(mut cursor: Cursor<'_>) -> bool {
    while let Some(line) = cursor.peek() {
        if line.trim().is_empty() {
            cursor.next();
            continue;
        }
        // `-- ` begins the signature of a mail.
        let is_other = section::begins(&cursor) || bare(line).trim_end() == "--";
        return !is_other && line.starts_with([' ', '+', '-', '\\']);
    }
    false
}

/// What `@@ -START,COUNT +START,COUNT @@` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    old_start: usize,
    old_count: usize,
    new_count: usize,
}

impl Header {
    fn parse(text: &str) -> Option<Self> {
        let (old, rest) = text.strip_prefix("@@ -")?.split_once(" +")?;
        let (new, _section) = rest.split_once(" @@")?;
        let ((old_start, old_count), (_, new_count)) = (range(old)?, range(new)?);
        (old_count > 0 || new_count > 0).then_some(Self { old_start, old_count, new_count })
    }
}

/// `START,COUNT`, or `START` alone for one line.
fn range(text: &str) -> Option<(usize, usize)> {
    let number = |text: &str| {
        let plain = !text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| text.parse().ok())?
    };
    match text.split_once(',') {
        Some((start, count)) => Some((number(start)?, number(count)?)),
        None => Some((number(text)?, 1)),
    }
}

/// The lines of a hunk while they are read.
struct Body {
    header: Header,
    hunk: Hunk,
    /// Whether `\ No newline at end of file` ended that side.
    old_ended: bool,
    new_ended: bool,
}

impl Body {
    fn new(header: Header) -> Self {
        let hunk = Hunk { old_start: header.old_start, old_count: 0, new_count: 0, lines: Vec::new() };
        Self { header, hunk, old_ended: false, new_ended: false }
    }

    fn is_complete(&self) -> bool {
        self.hunk.old_count == self.header.old_count && self.hunk.new_count == self.header.new_count
    }

    fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<(), HunkProblem> {
        loop {
            if cursor.peek().is_some_and(|line| line.starts_with("\\ ")) {
                cursor.next();
                self.end_file()?;
            } else if self.is_complete() {
                return Ok(());
            } else {
                self.take(cursor)?;
            }
        }
    }

    /// Takes a line of the hunk.
    fn take(&mut self, cursor: &mut Cursor<'_>) -> Result<(), HunkProblem> {
        let line = cursor.peek().unwrap_or_default();
        let (kind, marker) = match line.bytes().next() {
            Some(b' ') => (LineKind::Context, 1),
            Some(b'+') => (LineKind::Added, 1),
            Some(b'-') => (LineKind::Removed, 1),
            // An empty line of context whose blank fell victim to an editor or a model.
            Some(b'\n') => (LineKind::Context, 0),
            Some(b'\r') if line == "\r\n" => (LineKind::Context, 0),
            _ => return Err(self.too_short()),
        };
        let full = (kind.is_old() && self.hunk.old_count == self.header.old_count)
            || (kind.is_new() && self.hunk.new_count == self.header.new_count);
        if full {
            return Err(HunkProblem::TooLong { old: self.header.old_count, new: self.header.new_count });
        }
        if (kind.is_old() && self.old_ended) || (kind.is_new() && self.new_ended) {
            return Err(HunkProblem::Marker);
        }
        self.hunk.old_count += usize::from(kind.is_old());
        self.hunk.new_count += usize::from(kind.is_new());
        if let Some(range) = cursor.next_range(marker) {
            self.hunk.lines.push(HunkLine { kind, range });
        }
        Ok(())
    }

    /// The marker: the line before it has no newline, and is the last of its side or sides.
    fn end_file(&mut self) -> Result<(), HunkProblem> {
        let last = self.hunk.lines.last_mut().ok_or(HunkProblem::Marker)?;
        if (last.kind.is_old() && self.old_ended) || (last.kind.is_new() && self.new_ended) {
            return Err(HunkProblem::Marker);
        }
        self.old_ended |= last.kind.is_old();
        self.new_ended |= last.kind.is_new();
        last.range.end -= 1;
        Ok(())
    }

    fn too_short(&self) -> HunkProblem {
        HunkProblem::TooShort {
            old: self.header.old_count,
            new: self.header.new_count,
            found_old: self.hunk.old_count,
            found_new: self.hunk.new_count,
        }
    }
}
