//! `pyro workspace summary`.

use super::diff::totals;
use super::logs::end;
use crate::human::{code, count, shell_words, size, visible};
use crate::input;
use crate::printer::Printer;
use anyhow::Result;
use pyro::workspace::{SummaryChanges, SummaryCommands, WorkspaceId, WorkspaceSummary};

/// Say what happened in a workspace since its last reset, as Markdown for a chat or a pull request
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
    let summary = super::pyro()?.summarize_workspace(&arguments.id).await?;
    printer.data(&summary, text)?;
    Ok(0)
}

fn text(summary: &WorkspaceSummary) -> String {
    let outcome = capitalized(&visible(&summary.outcome));
    let head = format!("{}\n\n{outcome}.\n\n{}\n", title(summary), since(summary));
    let sections = [
        ("Commands", commands(&summary.commands)),
        ("Edits", edits(summary)),
        ("Changes against the baseline", changes(&summary.changes)),
        ("Services", services(summary)),
        ("Refused by the network policy", refused(summary)),
        ("Exports", exports(summary)),
        ("Snapshots", snapshots(summary)),
    ];
    let sections = sections.iter().filter(|(_, lines)| !lines.is_empty());
    sections.fold(head, |text, (heading, lines)| format!("{text}\n### {heading}\n\n{}\n", lines.join("\n")))
}

fn title(summary: &WorkspaceSummary) -> String {
    let id = code(summary.workspace_id.as_str());
    let environment = code(&summary.environment);
    match &summary.name {
        Some(name) => format!("## {} ({id}, {environment})", visible(name)),
        None => format!("## Workspace {id} ({environment})"),
    }
}

fn capitalized(line: &str) -> String {
    let mut characters = line.chars();
    let first = characters.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(characters).collect()
}

fn since(summary: &WorkspaceSummary) -> String {
    let began = match summary.reset_count {
        0 => "its creation".to_owned(),
        resets => format!("its last reset ({} in all)", count(resets, "reset", "resets")),
    };
    format!("State: {}. Since {began}, {:.0}.", summary.state.as_str(), summary.since)
}

fn commands(commands: &SummaryCommands) -> Vec<String> {
    if commands.total == 0 {
        return vec![];
    }
    let mut lines = vec![format!(
        "{} run: {} succeeded, {} failed, {} interrupted\n",
        count(commands.total as u64, "command", "commands"),
        commands.succeeded,
        commands.failed,
        commands.interrupted
    )];
    let left_out = commands.total - commands.recent.len();
    if left_out > 0 {
        lines.push(format!("- ({left_out} before these)"));
    }
    lines.extend(commands.recent.iter().map(|command| {
        let end = end(command.state, command.exit_code, command.timed_out, command.duration_ms);
        format!("- {}: {end}", code(&shell_words(&command.command)))
    }));
    lines
}

fn edits(summary: &WorkspaceSummary) -> Vec<String> {
    let edits = &summary.edits;
    let kinds = [
        (edits.file_writes, "file write", "file writes"),
        (edits.patches, "patch", "patches"),
        (edits.syncs, "import", "imports"),
    ];
    let mut lines: Vec<_> = kinds
        .into_iter()
        .filter(|(number, ..)| *number > 0)
        .map(|(number, one, many)| format!("- {}", count(number as u64, one, many)))
        .collect();
    if !edits.paths.is_empty() {
        let paths: Vec<_> = edits.paths.iter().map(|path| code(path)).collect();
        lines.push(format!("- written: {}", paths.join(", ")));
    }
    lines
}

fn changes(changes: &SummaryChanges) -> Vec<String> {
    if !changes.available {
        let reason = changes.reason.as_deref().unwrap_or("for no known reason");
        return vec![format!("Not available: {}", visible(reason))];
    }
    if !changes.changed {
        return vec!["None".to_owned()];
    }
    let mut lines = vec![totals(&changes.summary) + "\n"];
    let shown = changes.entries.iter();
    lines.extend(shown.map(|entry| format!("- {} {}", entry.status.replace('_', " "), code(&entry.path))));
    let left_out = changes.summary.total.saturating_sub(changes.entries.len());
    if left_out > 0 {
        lines.push(format!("- ({left_out} more)"));
    }
    lines
}

fn services(summary: &WorkspaceSummary) -> Vec<String> {
    match summary.services.total {
        0 => vec![],
        total => vec![format!(
            "{}, {} running",
            count(total as u64, "service", "services"),
            summary.services.running
        )],
    }
}

fn refused(summary: &WorkspaceSummary) -> Vec<String> {
    summary
        .refused_destinations
        .iter()
        .map(|it| format!("- {}: {}, {}", code(&it.place()), it.reason, count(it.count, "time", "times")))
        .collect()
}

fn exports(summary: &WorkspaceSummary) -> Vec<String> {
    let exports = summary.artifacts.exports.iter();
    exports
        .map(|export| {
            format!(
                "- {} to {} ({}, {})",
                code(&export.path),
                code(&export.output_path),
                count(export.entry_count, "entry", "entries"),
                size(export.bytes_written)
            )
        })
        .collect()
}

fn snapshots(summary: &WorkspaceSummary) -> Vec<String> {
    summary.snapshots.names.iter().map(|name| format!("- {}", code(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_begin_with_a_capital() {
        for (given, expected) in [("", ""), ("a b", "A b"), ("ähm", "Ähm"), ("1 a", "1 a")] {
            assert_eq!(capitalized(given), expected);
        }
    }
}
