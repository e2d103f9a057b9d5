//! One file's patch on one file, exactly or not at all.
//!
//! Every context and removed line of a hunk must be there, with its terminator. The first hunk is looked for at the
//! line that its header states, each later one at its own line moved by as much as the one before it was; if it is
//! not there, at the one nearest place after the hunk before it. There is no fuzz, and a tie is an error. Hunks that
//! only add, without context, are taken by empty files alone, for nothing could tell that their place is right.
//!
//! One courtesy: models do not write carriage returns. When a patch without any does not apply to a file whose lines
//! all end in CRLF, it is tried once more with CRLF in all of its lines.

use crate::error::{ApplyError, Cause, shown};
use crate::model::{FileMode, FilePatch, Hunk, HunkLine, Kind, LineKind};

/// Most steps (a step compares up to [`STEP_BYTES`] bytes) in the search for the places of a file's hunks. Sound
/// patches need about as many as they have lines, and a file's worth for each hunk that has moved.
const SEARCH_STEPS: usize = 200_000_000;

/// Bytes of two equally long lines that are compared in one step.
const STEP_BYTES: usize = 64;

/// What came of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// What happens to the file: as the patch says, or `Add` if it [creates](FilePatch::creates_if_missing) it.
    pub kind: Kind,
    /// Its new content; nothing when it is deleted.
    pub text: Option<String>,
    /// For each hunk by how many lines its place lies after (or, negative, before) the stated one.
    pub offsets: Vec<i64>,
    /// Whether the patch's lines were given the CRLF of the file's.
    pub with_crlf: bool,
}

impl FilePatch {
    /// Applies it to the file's content, or to nothing when there is no file. Fails, naming the hunk, the line, what
    /// was expected and what was found, unless it applies as a whole.
    pub fn apply(&self, original: Option<&str>) -> Result<Applied, ApplyError> {
        let path = || self.path.clone();
        let (kind, original) = match (self.kind, original) {
            (Kind::Add { .. }, Some(_)) => return Err(ApplyError::Exists { path: path() }),
            (kind @ Kind::Add { .. }, None) => (kind, ""),
            (Kind::Modify, None) if self.creates_if_missing() => (Kind::Add { mode: FileMode::Regular }, ""),
            (Kind::Modify | Kind::Delete, None) => return Err(ApplyError::Missing { path: path() }),
            (kind, Some(text)) => (kind, text),
        };
        let lines: Vec<&str> = original.split_inclusive('\n').collect();
        let (text, offsets, with_crlf) = match Placing::new(self, &lines).run() {
            Ok((text, offsets)) => (text, offsets, false),
            Err(error) => {
                let adapted = self.with_crlf_for(&error, original).ok_or_else(|| error.clone())?;
                let (text, offsets) = Placing::new(&adapted, &lines).run().map_err(|_| error)?;
                (text, offsets, true)
            }
        };
        if kind != Kind::Delete {
            return Ok(Applied { kind, text: Some(text), offsets, with_crlf });
        }
        if !text.is_empty() {
            return Err(ApplyError::LeavesContent { path: path(), line: self.first_uncovered(&offsets) });
        }
        Ok(Applied { kind, text: None, offsets, with_crlf })
    }

    /// First line, from 1, that the hunks leave alone when they are at these offsets.
    fn first_uncovered(&self, offsets: &[i64]) -> usize {
        let mut end = 0;
        for (hunk, offset) in self.hunks.iter().zip(offsets) {
            if signed(stated(hunk)) + offset != signed(end) {
                break;
            }
            end += hunk.old_count;
        }
        end + 1
    }

    /// This patch with CRLF in all of its lines, if that may be what `error` is about.
    fn with_crlf_for(&self, error: &ApplyError, original: &str) -> Option<Self> {
        let ends_in_crlf = |line: &str| !line.ends_with('\n') || line.ends_with("\r\n");
        let lines = || self.hunks.iter().flat_map(|hunk| &hunk.lines);
        let is_adaptable = matches!(error, ApplyError::Mismatch { .. })
            && original.contains('\n')
            && original.split_inclusive('\n').all(ends_in_crlf)
            && !lines().any(|line| self.text(line).contains('\r'));
        is_adaptable.then(|| {
            let mut source = String::new();
            let mut adapted = self.clone();
            for line in adapted.hunks.iter_mut().flat_map(|hunk| &mut hunk.lines) {
                let text = self.text(line);
                let start = source.len();
                source.push_str(text.strip_suffix('\n').unwrap_or(text));
                source.push_str(if text.ends_with('\n') { "\r\n" } else { "" });
                line.range = start..source.len();
            }
            adapted.source = source.into();
            adapted
        })
    }
}

/// The hunks of a file's patch on their way into the file's lines.
struct Placing<'a> {
    patch: &'a FilePatch,
    lines: &'a [&'a str],
    /// First line that no hunk has covered yet.
    next: usize,
    steps: usize,
    text: String,
    offsets: Vec<i64>,
}

impl<'a> Placing<'a> {
    fn new(patch: &'a FilePatch, lines: &'a [&'a str]) -> Self {
        Self { patch, lines, next: 0, steps: SEARCH_STEPS, text: String::new(), offsets: Vec::new() }
    }

    /// The new content, and where the hunks went.
    fn run(mut self) -> Result<(String, Vec<i64>), ApplyError> {
        for (index, hunk) in self.patch.hunks.iter().enumerate() {
            let at = self.place(index, hunk)?;
            let end = at + hunk.old_count;
            self.text.extend(self.lines.get(self.next..at).unwrap_or_default().iter().copied());
            self.text.extend(self.side(hunk, LineKind::is_new));
            self.next = end;
            self.offsets.push(signed(at) - signed(stated(hunk)));
        }
        self.text.extend(self.lines.get(self.next..).unwrap_or_default().iter().copied());
        Ok((self.text, self.offsets))
    }

    /// Index of the line that the hunk begins at.
    fn place(&mut self, index: usize, hunk: &'a Hunk) -> Result<usize, ApplyError> {
        let (path, hunks, number) = (|| self.patch.path.clone(), self.patch.hunks.len(), index + 1);
        let old: Vec<&str> = self.side(hunk, LineKind::is_old).collect();
        if old.is_empty() {
            if self.lines.is_empty() {
                return Ok(0);
            }
            return Err(ApplyError::NoContext { path: path(), hunk: number, hunks });
        }
        let drift = self.offsets.last().copied().unwrap_or(0);
        let expected = usize::try_from(signed(stated(hunk)) + drift).unwrap_or(0);
        let at = match self.nearest(&old, expected) {
            Search::At(at) => at,
            Search::Tie(above, below) => {
                let (line, above, below) = (expected + 1, above + 1, below + 1);
                return Err(ApplyError::Ambiguous { path: path(), hunk: number, hunks, line, above, below });
            }
            Search::TooCostly => return Err(ApplyError::TooCostly { path: path(), hunk: number, hunks }),
            Search::Nowhere => return Err(self.mismatch(index, hunk, &old, expected)),
        };
        let end = at + old.len();
        let ends_file = self.side(hunk, LineKind::is_new).any(|line| !line.ends_with('\n'));
        if ends_file && end < self.lines.len() {
            return Err(ApplyError::NotAtEnd { path: path(), hunk: number, hunks, line: end + 1 });
        }
        Ok(at)
    }

    /// Looks for `old` at `expected` and then ever further from it, from the first line that is free.
    fn nearest(&mut self, old: &[&str], expected: usize) -> Search {
        let Some(last) = self.lines.len().checked_sub(old.len()).filter(|last| *last >= self.next) else {
            return Search::Nowhere;
        };
        let first = self.next;
        let expected = expected.clamp(first, last);
        for distance in 0..=(expected - first).max(last - expected) {
            let above = expected.checked_sub(distance).filter(|at| *at >= first && self.matches(old, *at));
            let below =
                Some(expected + distance).filter(|at| distance > 0 && *at <= last && self.matches(old, *at));
            match (above, below) {
                (Some(above), Some(below)) => return Search::Tie(above, below),
                (Some(at), None) | (None, Some(at)) => return Search::At(at),
                (None, None) if self.steps == 0 => return Search::TooCostly,
                (None, None) => {}
            }
        }
        Search::Nowhere
    }

    /// Whether `old` stands at `at`; no longer tells once the steps are used up.
    fn matches(&mut self, old: &[&str], at: usize) -> bool {
        let Some(there) = self.lines.get(at..at + old.len()) else { return false };
        there.iter().zip(old).all(|(there, old)| {
            let cost = if there.len() == old.len() { 1 + old.len() / STEP_BYTES } else { 1 };
            self.steps = self.steps.saturating_sub(cost);
            self.steps > 0 && there == old
        })
    }

    /// The lines of one side of a hunk.
    fn side(&self, hunk: &'a Hunk, is_on: fn(LineKind) -> bool) -> impl Iterator<Item = &'a str> + use<'a> {
        let patch = self.patch;
        hunk.lines.iter().filter(move |line| is_on(line.kind)).map(|line: &HunkLine| patch.text(line))
    }

    /// What to say when the hunk is nowhere.
    fn mismatch(&mut self, index: usize, hunk: &'a Hunk, old: &[&str], expected: usize) -> ApplyError {
        let at = expected.clamp(self.next, self.lines.len().max(self.next));
        let there = self.lines.get(at..).unwrap_or_default();
        // Without a difference here the hunk would have been found.
        let differing = old.iter().enumerate().find(|(offset, line)| there.get(*offset) != Some(*line));
        let (offset, wanted) = differing.map_or((0, ""), |(offset, line)| (offset, *line));
        let found = there.get(offset).copied();
        let new: Vec<&str> = self.side(hunk, LineKind::is_new).collect();
        let cause = if !new.is_empty() && new != old && self.matches(&new, at) {
            Cause::AlreadyApplied
        } else if let Some(cause) = found.and_then(|found| cause_of_lines(wanted, found)) {
            cause
        } else if (0..self.next).any(|at| self.matches(old, at)) {
            Cause::OutOfOrder
        } else {
            Cause::Different
        };
        ApplyError::Mismatch {
            path: self.patch.path.clone(),
            hunk: index + 1,
            hunks: self.patch.hunks.len(),
            line: at + offset + 1,
            expected: shown(wanted),
            found: found.map(shown),
            cause,
        }
    }
}

/// Outcome of a search.
enum Search {
    At(usize),
    /// Two places at the same distance.
    Tie(usize, usize),
    Nowhere,
    TooCostly,
}

/// Index of the line that a hunk states.
fn stated(hunk: &Hunk) -> usize {
    hunk.old_start.saturating_sub(1)
}

/// An index of a line as a signed number; none is anywhere near the bound.
fn signed(index: usize) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}

/// Why two lines that differ are nearly the same.
fn cause_of_lines(wanted: &str, found: &str) -> Option<Cause> {
    let bare = |line: &'_ str| line.trim_end_matches(['\r', '\n']).len();
    let is_same = wanted.get(..bare(wanted)) == found.get(..bare(found));
    if is_same && wanted.ends_with('\n') != found.ends_with('\n') {
        Some(Cause::FinalNewline)
    } else if is_same {
        Some(Cause::LineEndings)
    } else if wanted.split_whitespace().eq(found.split_whitespace()) {
        Some(Cause::Blanks)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
