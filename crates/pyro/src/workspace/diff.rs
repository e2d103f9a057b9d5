//! Diff: what has changed in `/workspace` since the creation.
//!
//! Secrets in contents are redacted first: a patch shows marks, and does not apply where they are.
//!
//! The tree at creation is a layer of its own in the guest, below the one that takes the changes: the agent looks only at what
//! the upper one holds, so the cost is in proportion to the change. Contents come along up to a limit, and the text of the
//! patch is made here.

use super::names::absolute;
use super::{ArtifactType, MAX_TEXT_BYTES, Redaction, WorkspaceId};
use crate::boxed;
use crate::engine::blocking;
use crate::{Pyro, PyroError};
use pyro_patch::{FileMode, FileText, PatchPath, is_text, render};
use pyro_vmm::guest::{Change, ChangeKind, DiffLimits, FileKind, Side};
use serde::Serialize;
use std::time::{Duration, Instant};

/// Most changes that are listed.
const MAX_CHANGES: u64 = 200_000;
/// Most bytes of content that are taken out of the guest for one diff.
const MAX_CONTENT_BYTES: u64 = 32 << 20;
/// How long comparing texts may take: what is left then counts as different.
const COMPARISON_LIMIT: Duration = Duration::from_secs(10);
/// Most bytes of the patch.
const MAX_PATCH_BYTES: usize = 8 << 20;

/// What has changed since the creation.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkspaceDiff {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// Anything has.
    pub changed: bool,
    /// Counts.
    pub summary: DiffSummary,
    /// What has changed, sorted by path.
    pub entries: Vec<DiffEntry>,
    /// Unified diff of what is text.
    pub patch: String,
    /// Some text is not in the patch, because it would be too long.
    pub patch_truncated: bool,
}

/// How much has changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DiffSummary {
    /// Entries in all.
    pub total: usize,
    /// Entries that are new.
    pub added: usize,
    /// Entries with another content, target or mode.
    pub modified: usize,
    /// Entries that are gone.
    pub deleted: usize,
    /// Entries that are of another type now.
    pub type_changed: usize,
    /// Entries whose change is in the patch.
    pub text_patched: usize,
    /// Entries whose change is not, for it is not one of text.
    pub non_text: usize,
}

/// One entry that has changed.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DiffEntry {
    /// Its absolute path, with U+FFFD for what is not UTF-8.
    pub path: String,
    /// `added`, `modified`, `deleted`, `type_changed`.
    pub status: &'static str,
    /// What it is now, or was when it is gone.
    pub artifact_type: ArtifactType,
    /// What it was, where it is of another type now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_artifact_type: Option<ArtifactType>,
    /// Size before, of a file.
    pub old_size_bytes: Option<u64>,
    /// Size now, of a file.
    pub size_bytes: Option<u64>,
    /// Permission bits before, in octal, where they are others now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_mode: Option<String>,
    /// Permission bits now, in octal, where they were others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The change is in the patch.
    pub text_patched: bool,
}

impl Pyro {
    /// Compares `/workspace` with what it was at its creation.
    #[boxed]
    pub async fn diff_workspace(&self, id: &WorkspaceId) -> Result<WorkspaceDiff, PyroError> {
        let session = self.session(id, "a diff").await?;
        session.record.require_guest("a diff")?;
        let limits = DiffLimits {
            max_content_bytes: MAX_TEXT_BYTES,
            max_total_content_bytes: MAX_CONTENT_BYTES,
            max_changes: MAX_CHANGES,
        };
        let collected = async {
            let mut call = session.guest.diff(limits).await?;
            let mut changes = Vec::new();
            while let Some(change) = call.next().await? {
                changes.push(change);
            }
            Ok::<_, PyroError>(changes)
        };
        let changes = match collected.await {
            Ok(changes) => changes,
            Err(error) => return Err(self.explain(&session, error).await),
        };
        let id = id.clone();
        let redaction = session.redaction;
        blocking(move || Ok(redacted(id, changes, &redaction))).await
    }
}

/// Values are taken out of the contents, since a patch takes them apart line by line, and once more out of what names files.
fn redacted(id: WorkspaceId, mut changes: Vec<Change>, redaction: &Redaction) -> WorkspaceDiff {
    for side in changes.iter_mut().flat_map(|change| [&mut change.before, &mut change.after]).flatten() {
        side.content = side.content.take().map(|content| redaction.bytes(content));
    }
    let mut diff = assemble(id, &changes);
    diff.patch = redaction.text(diff.patch);
    for entry in &mut diff.entries {
        entry.path = redaction.text(std::mem::take(&mut entry.path));
    }
    diff
}

fn assemble(workspace_id: WorkspaceId, changes: &[Change]) -> WorkspaceDiff {
    let mut diff = WorkspaceDiff {
        workspace_id,
        changed: !changes.is_empty(),
        summary: DiffSummary { total: changes.len(), ..DiffSummary::default() },
        entries: Vec::with_capacity(changes.len()),
        patch: String::new(),
        patch_truncated: false,
    };
    let deadline = Instant::now() + COMPARISON_LIMIT;
    for change in changes {
        let (status, count) = match change.kind {
            ChangeKind::Added => ("added", &mut diff.summary.added),
            ChangeKind::Modified => ("modified", &mut diff.summary.modified),
            ChangeKind::Deleted => ("deleted", &mut diff.summary.deleted),
            ChangeKind::TypeChanged => ("type_changed", &mut diff.summary.type_changed),
        };
        *count += 1;
        let text = Text::of(change);
        let mut text_patched = false;
        // A path that no patch can name is at least listed.
        if let Text::Changed { before, after } = text
            && let Ok(path) = PatchPath::new(&change.path)
        {
            let rendered = render(&path, before, after, deadline);
            text_patched = diff.patch.len() + rendered.len() <= MAX_PATCH_BYTES;
            if text_patched {
                diff.patch.push_str(&rendered);
            }
            diff.patch_truncated |= !text_patched;
        }
        diff.patch_truncated |= text == Text::Missing;
        if text_patched {
            diff.summary.text_patched += 1;
        } else {
            diff.summary.non_text += 1;
        }
        diff.entries.push(entry(change, status, text_patched));
    }
    diff
}

/// What a change is as one of text.
#[derive(PartialEq, Eq)]
enum Text<'a> {
    /// One of files that are text, or are not there.
    Changed { before: Option<FileText<'a>>, after: Option<FileText<'a>> },
    /// Not one of text.
    None,
    /// Files whose content did not come along.
    Missing,
}

impl<'a> Text<'a> {
    fn of(change: &'a Change) -> Self {
        let sides = [change.before.as_ref(), change.after.as_ref()];
        if change.kind == ChangeKind::TypeChanged
            || sides.iter().flatten().any(|side| side.kind != FileKind::File)
        {
            return Self::None;
        }
        if sides.iter().flatten().any(|side| side.content.is_none()) {
            return Self::Missing;
        }
        let text = |side: Option<&'a Side>| match side {
            Some(side) => {
                let text = side.content.as_deref().and_then(is_text);
                text.map(|text| Some(FileText { text, mode: FileMode::from_bits(side.mode) }))
            }
            None => Some(None),
        };
        match (text(sides[0]), text(sides[1])) {
            // Only the mode is another.
            (Some(Some(before)), Some(Some(after))) if before.text == after.text => Self::None,
            (Some(before), Some(after)) => Self::Changed { before, after },
            _ => Self::None,
        }
    }
}

fn entry(change: &Change, status: &'static str, text_patched: bool) -> DiffEntry {
    let (before, after) = (change.before.as_ref(), change.after.as_ref());
    let kind = |side: &Side| ArtifactType::from(side.kind);
    let size = |side: &Side| (side.kind == FileKind::File).then_some(side.size);
    let modes = before.zip(after).filter(|(before, after)| before.mode != after.mode);
    let octal = |mode: u32| format!("{mode:04o}");
    DiffEntry {
        path: absolute(&String::from_utf8_lossy(&change.path)),
        status,
        artifact_type: after.or(before).map_or(ArtifactType::Other, kind),
        old_artifact_type: before.filter(|_| change.kind == ChangeKind::TypeChanged).map(kind),
        old_size_bytes: before.and_then(size),
        size_bytes: after.and_then(size),
        old_mode: modes.map(|(before, _)| octal(before.mode)),
        mode: modes.map(|(_, after)| octal(after.mode)),
        text_patched,
    }
}
