//! The git-style unified diff of one text file.

use std::fmt::Write as _;
use std::time::Instant;

use similar::{Algorithm, DiffOp, capture_diff_slices_deadline, group_diff_ops};

use crate::model::FileMode;
use crate::path::PatchPath;
use crate::quote::quoted;

/// Unchanged lines shown before and after a change.
const CONTEXT_LINES: usize = 3;

/// Git's short name of the empty blob. Where a file without content comes or goes there are no `---` and `+++`, and
/// patch(1) needs this line to understand.
const EMPTY_BLOB: &str = "e69de29";

/// A text file on one side of a diff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileText<'a> {
    /// Its content.
    pub text: &'a str,
    /// Its mode, shown when the file comes or goes.
    pub mode: FileMode,
}

/// The diff from `before` to `after`, as git would write it: [`Patch::parse`](crate::Patch::parse), `git apply` and
/// patch(1) take it. Empty when the content is the same; a change of mode alone is not shown, and not taken either.
///
/// From `deadline` on what has not been compared yet counts as different, so the diff grows but stays right.
pub fn render(
    path: &PatchPath,
    before: Option<FileText<'_>>,
    after: Option<FileText<'_>>,
    deadline: Instant,
) -> String {
    let (old, new) = (before.map_or("", |file| file.text), after.map_or("", |file| file.text));
    if before.is_some() == after.is_some() && old == new {
        return String::new();
    }
    let mut diff = String::new();
    write_headers(&mut diff, path, before, after);
    if old != new {
        write_hunks(&mut diff, old, new, deadline);
    }
    diff
}

fn write_headers(
    diff: &mut String,
    path: &PatchPath,
    before: Option<FileText<'_>>,
    after: Option<FileText<'_>>,
) {
    let (old_name, new_name) = (quoted("a/", path.as_bytes()), quoted("b/", path.as_bytes()));
    let _ = writeln!(diff, "diff --git {old_name} {new_name}");
    let is_empty = match (before, after) {
        (None, Some(file)) => {
            let _ = writeln!(diff, "new file mode {}", file.mode);
            file.text.is_empty()
        }
        (Some(file), None) => {
            let _ = writeln!(diff, "deleted file mode {}", file.mode);
            file.text.is_empty()
        }
        _ => false,
    };
    if is_empty {
        let (old, new) = if after.is_some() { ("0000000", EMPTY_BLOB) } else { (EMPTY_BLOB, "0000000") };
        let _ = writeln!(diff, "index {old}..{new}");
        return;
    }
    // Git ends a name with blanks in it with a tab, so that nothing takes a part of it for a timestamp.
    let tab = if path.as_bytes().contains(&b' ') { "\t" } else { "" };
    for (marker, name, is_there) in [("---", old_name, before.is_some()), ("+++", new_name, after.is_some())]
    {
        let _ = if is_there {
            writeln!(diff, "{marker} {name}{tab}")
        } else {
            writeln!(diff, "{marker} /dev/null")
        };
    }
}

fn write_hunks(diff: &mut String, old: &str, new: &str, deadline: Instant) {
    let old: Vec<&str> = old.split_inclusive('\n').collect();
    let new: Vec<&str> = new.split_inclusive('\n').collect();
    let ops = capture_diff_slices_deadline(Algorithm::Myers, &old, &new, Some(deadline));
    for hunk in group_diff_ops(ops, CONTEXT_LINES) {
        let (Some(first), Some(last)) = (hunk.first(), hunk.last()) else { continue };
        let _ = writeln!(
            diff,
            "@@ -{} +{} @@",
            range(first.old_range().start, last.old_range().end),
            range(first.new_range().start, last.new_range().end)
        );
        for op in &hunk {
            if let DiffOp::Equal { .. } = op {
                write_lines(diff, ' ', old.get(op.old_range()));
            } else {
                write_lines(diff, '-', old.get(op.old_range()));
                write_lines(diff, '+', new.get(op.new_range()));
            }
        }
    }
}

/// Start and count of the lines from index `start` to `end`; where there are none, the line before counts.
fn range(start: usize, end: usize) -> String {
    match end.saturating_sub(start) {
        0 => format!("{start},0"),
        1 => format!("{}", start + 1),
        count => format!("{},{count}", start + 1),
    }
}

fn write_lines(diff: &mut String, marker: char, lines: Option<&[&str]>) {
    for line in lines.unwrap_or_default() {
        diff.push(marker);
        diff.push_str(line);
        if !line.ends_with('\n') {
            diff.push_str("\n\\ No newline at end of file\n");
        }
    }
}

#[cfg(test)]
mod tests;
