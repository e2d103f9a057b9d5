//! Results that fit a model: long outputs lose their middle, where the least is to be learnt.
//!
//! Nothing is lost by it: byte counts say how much there was, and a command can be run again with its output in a file.

use pyro::RunResult;
use pyro::workspace::{WorkspaceDiff, WorkspaceExecResult, WorkspaceFileList, WorkspaceLogs};
use schemars::JsonSchema;
use serde::Serialize;

/// Bytes of each output of a command.
const OUTPUT: usize = 32 << 10;
/// Bytes of each output of an entry of the journal.
const LOG_OUTPUT: usize = 4 << 10;
/// Bytes of all outputs of a journal; those of the oldest entries give way first.
const LOG_TOTAL: usize = 128 << 10;
/// Bytes of a unified diff.
const PATCH: usize = 256 << 10;
/// Bytes of the entries of a listing.
const ENTRIES: usize = 64 << 10;
/// Of what is kept, a quarter is the beginning; the end says more about what went wrong.
const HEAD_SHARE: usize = 4;

pub(super) fn run(mut result: RunResult) -> RunResult {
    let shortened = [shorten(&mut result.stdout, OUTPUT), shorten(&mut result.stderr, OUTPUT)];
    result.truncated |= shortened.contains(&true);
    result
}

pub(super) fn exec(mut result: WorkspaceExecResult) -> WorkspaceExecResult {
    let shortened = [shorten(&mut result.stdout, OUTPUT), shorten(&mut result.stderr, OUTPUT)];
    result.truncated |= shortened.contains(&true);
    result
}

pub(super) fn logs(mut logs: WorkspaceLogs) -> WorkspaceLogs {
    let mut left = LOG_TOTAL;
    for entry in logs.entries.iter_mut().rev() {
        for output in [&mut entry.stdout, &mut entry.stderr] {
            entry.truncated |= shorten(output, LOG_OUTPUT.min(left));
            left = left.saturating_sub(output.len());
        }
    }
    logs
}

/// A result with a list that may have been too long.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Listing<T> {
    #[serde(flatten)]
    listing: T,
    /// The last entries are missing, for there are too many; the counts are of all.
    entries_truncated: bool,
}

pub(super) fn list(mut listing: WorkspaceFileList) -> Listing<WorkspaceFileList> {
    let entries_truncated = cut(&mut listing.entries);
    Listing { listing, entries_truncated }
}

pub(super) fn diff(diff: WorkspaceDiff) -> Listing<WorkspaceDiff> {
    let mut listing = patch(diff);
    let entries_truncated = cut(&mut listing.entries);
    Listing { listing, entries_truncated }
}

/// Takes away what is too much at the end of a list; whether anything was.
fn cut<T: Serialize>(entries: &mut Vec<T>) -> bool {
    let mut left = ENTRIES;
    let kept = entries.iter().take_while(|entry| {
        let bytes = serde_json::to_string(entry).map_or(usize::MAX, |json| json.len());
        left.checked_sub(bytes).inspect(|rest| left = *rest).is_some()
    });
    let kept = kept.count();
    let is_cut = kept < entries.len();
    entries.truncate(kept);
    is_cut
}

/// A diff that breaks off says so, and cannot be applied: that is better than one with a hole.
pub(crate) fn patch(mut diff: WorkspaceDiff) -> WorkspaceDiff {
    if diff.patch.len() > PATCH {
        let end = diff.patch[..diff.patch.floor_char_boundary(PATCH)].rfind('\n').map_or(0, |end| end + 1);
        diff.patch.truncate(end);
        diff.patch_truncated = true;
    }
    diff
}

/// Takes out the middle of a text that is longer than `max` bytes; whether it was.
fn shorten(text: &mut String, max: usize) -> bool {
    if text.len() <= max {
        return false;
    }
    let head = text.floor_char_boundary(max / HEAD_SHARE);
    let tail = text.ceil_char_boundary(text.len() - (max - head));
    let note = format!("\n[… {} bytes left out …]\n", tail - head);
    text.replace_range(head..tail, &note);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_list_gives_way() {
        let mut short = vec!["abc"; 10];
        assert!(!cut(&mut short) && short.len() == 10);
        let mut long = vec!["abc"; ENTRIES];
        assert!(cut(&mut long));
        assert_eq!(long.len(), ENTRIES / 5);
    }

    #[test]
    fn the_middle_gives_way() {
        let mut short = "abc".to_owned();
        assert!(!shorten(&mut short, 3));
        let mut long = "ä".repeat(100);
        assert!(shorten(&mut long, 16));
        assert_eq!(long, format!("ää\n[… 184 bytes left out …]\n{}", "ä".repeat(6)));
        let mut gone = "abc".to_owned();
        assert!(shorten(&mut gone, 0));
        assert_eq!(gone, "\n[… 3 bytes left out …]\n");
    }
}
