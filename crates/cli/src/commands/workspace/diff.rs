//! `pyro workspace diff`.

use crate::human::{count, visible};
use crate::input;
use crate::printer::Printer;
use anyhow::Result;
use pyro::workspace::{DiffEntry, DiffSummary, WorkspaceDiff, WorkspaceId};
use std::fmt::Write;

/// Show what has changed in /workspace since the workspace was created
///
/// Changes of text come as a unified diff, after a list of those that are none: of links, directories, modes and binary
/// files.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Workspace, as shown by `pyro workspace list`
    #[arg(value_name = "ID", value_parser = input::workspace_id)]
    id: WorkspaceId,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

pub async fn run(arguments: Arguments, printer: Printer) -> Result<u8> {
    let diff = super::pyro()?.diff_workspace(&arguments.id).await?;
    printer.data(&diff, text)?;
    Ok(0)
}

fn text(diff: &WorkspaceDiff) -> String {
    if !diff.changed {
        return "no changes\n".to_owned();
    }
    let mut text = totals(&diff.summary) + "\n";
    for entry in diff.entries.iter().filter(|entry| !entry.text_patched) {
        // Writing to a String cannot fail.
        let _written = writeln!(text, "{:12}  {}{}", entry.status, visible(&entry.path), details(entry));
    }
    if diff.patch_truncated {
        text.push_str("some of it is text that is not in the patch, because it is too long\n");
    }
    if !diff.patch.is_empty() {
        text.push('\n');
        text.push_str(&diff.patch);
    }
    text
}

/// How much has changed, in one line; kinds of changes that there are none of are left out.
pub fn totals(summary: &DiffSummary) -> String {
    let DiffSummary { total, added, modified, deleted, type_changed, .. } = *summary;
    let kinds =
        [(added, "added"), (modified, "modified"), (deleted, "deleted"), (type_changed, "of another type")];
    let kinds =
        kinds.iter().filter(|(number, _)| *number > 0).map(|(number, kind)| format!("{number} {kind}"));
    format!("{}: {}", count(total as u64, "change", "changes"), kinds.collect::<Vec<_>>().join(", "))
}

/// What the status alone does not say.
fn details(entry: &DiffEntry) -> String {
    let types = match entry.old_artifact_type {
        Some(old) => format!("{} to {}", old.as_str(), entry.artifact_type.as_str()),
        None => entry.artifact_type.as_str().to_owned(),
    };
    let sizes = match (entry.old_size_bytes, entry.size_bytes) {
        (Some(old), Some(new)) if old != new => format!(", {old} to {new} bytes"),
        _ => String::new(),
    };
    let modes = match (&entry.old_mode, &entry.mode) {
        (Some(old), Some(new)) => format!(", mode {old} to {new}"),
        _ => String::new(),
    };
    format!(" ({types}{sizes}{modes})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyro::workspace::ArtifactType;

    fn entry(status: &'static str, text_patched: bool) -> DiffEntry {
        DiffEntry {
            path: "/workspace/a\x1b".to_owned(),
            status,
            artifact_type: ArtifactType::File,
            old_artifact_type: None,
            old_size_bytes: Some(1),
            size_bytes: Some(2),
            old_mode: Some("0644".to_owned()),
            mode: Some("0755".to_owned()),
            text_patched,
        }
    }

    #[test]
    fn what_is_not_in_the_patch_is_listed_before_it() {
        let summary =
            DiffSummary { total: 2, modified: 2, text_patched: 1, non_text: 1, ..DiffSummary::default() };
        let mut diff = WorkspaceDiff {
            workspace_id: WorkspaceId::parse("ws-1"),
            changed: true,
            summary,
            entries: vec![entry("modified", true), entry("modified", false)],
            patch: "--- a/b\n".to_owned(),
            patch_truncated: false,
        };
        let expected = "2 changes: 2 modified\n\
            modified      /workspace/a\\u{1b} (file, 1 to 2 bytes, mode 0644 to 0755)\n\n--- a/b\n";
        assert_eq!(text(&diff), expected);
        diff.changed = false;
        assert_eq!(text(&diff), "no changes\n");
    }
}
