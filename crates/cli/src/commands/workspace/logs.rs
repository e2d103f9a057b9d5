//! `pyro workspace logs`.

use crate::human::{duration, shell_words, size, visible};
use crate::input;
use crate::printer::Printer;
use anyhow::Result;
use pyro::workspace::{CommandState, LogEntry, WorkspaceId, WorkspaceLogs};
use std::fmt::Write;

/// Show every command since the last reset, with its output
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
    let logs = super::pyro()?.logs_workspace(&arguments.id).await?;
    printer.data(&logs, text)?;
    Ok(0)
}

fn text(logs: &WorkspaceLogs) -> String {
    if logs.entries.is_empty() {
        return "no commands\n".to_owned();
    }
    logs.entries.iter().map(entry_text).collect::<Vec<_>>().join("\n")
}

fn entry_text(entry: &LogEntry) -> String {
    let mut text = format!("$ {}\n", shell_words(&entry.command));
    let end = end(entry.state, entry.exit_code, entry.timed_out, entry.duration_ms);
    let reason = entry.interrupted.as_deref().map(|reason| format!(" ({})", visible(reason)));
    // Writing to a String cannot fail.
    let _written = writeln!(text, "  {end}{}, {:.0}", reason.unwrap_or_default(), entry.started_at);
    text.push_str(&output("stdout", &entry.stdout));
    text.push_str(&output("stderr", &entry.stderr));
    if entry.truncated {
        let (stdout, stderr) = (size(entry.stdout_bytes), size(entry.stderr_bytes));
        let _written = writeln!(text, "  there was more: {stdout} of stdout and {stderr} of stderr in all");
    }
    text
}

/// How a command ended, if it did, and after how many milliseconds.
pub fn end(state: CommandState, exit_code: Option<u8>, timed_out: bool, duration_ms: u64) -> String {
    let timed_out = if timed_out { ", timed out" } else { "" };
    match (state, exit_code) {
        (CommandState::Running, _) => "running".to_owned(),
        (CommandState::Interrupted, _) | (_, None) => "interrupted".to_owned(),
        (CommandState::Exited, Some(code)) => format!("exit {code}{timed_out}, {}", duration(duration_ms)),
    }
}

fn output(name: &str, content: &str) -> String {
    if content.is_empty() {
        return String::new();
    }
    // The journal is pyro's own account: what a command printed must not rewrite it on the reader's screen.
    let safe = |line: &str| line.split('\t').map(visible).collect::<Vec<_>>().join("\t");
    let lines = content.lines().map(|line| format!("    {}\n", safe(line)));
    format!("  {name}:\n{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_apart() {
        let cases = [
            (CommandState::Running, None, false, "running"),
            (CommandState::Exited, Some(0), false, "exit 0, 7 ms"),
            (CommandState::Exited, Some(124), true, "exit 124, timed out, 7 ms"),
            (CommandState::Exited, Some(124), false, "exit 124, 7 ms"),
            (CommandState::Interrupted, None, false, "interrupted"),
        ];
        for (state, exit_code, timed_out, expected) in cases {
            assert_eq!(end(state, exit_code, timed_out, 7), expected);
        }
    }

    #[test]
    fn outputs_are_told_apart() {
        assert_eq!(output("stderr", ""), "");
        assert_eq!(output("stdout", "a\n\nb"), "  stdout:\n    a\n    \n    b\n");
    }
}
