//! The CLI reference (`docs/cli.md`), made from the argument types and the documented environment variables.

use anyhow::Result;
use clap::{Command, CommandFactory};
use pyro::EnvVars;
use std::fmt::Write as _;
use std::io::Write as _;

/// Print the CLI reference as Markdown
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// That of the MCP tools instead
    #[arg(long)]
    tools: bool,
}

pub fn run(arguments: &Arguments) -> Result<u8> {
    let text = if arguments.tools { pyro_mcp::reference() } else { text()? };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(0)
}

fn text() -> Result<String> {
    let mut out = String::from(
        "# CLI reference\n\nMade by `pyro reference` from the program itself; a test keeps it so. Do not edit.\n",
    );
    let mut root = crate::commands::Arguments::command().term_width(100);
    root.build();
    section(&mut out, &mut root)?;
    out.push_str("\n## Environment variables\n\n");
    for variable in EnvVars::ALL {
        let doc = variable.doc.split_whitespace().collect::<Vec<_>>().join(" ");
        writeln!(out, "- `{}`: {doc}", variable.name)?;
    }
    Ok(out)
}

fn section(out: &mut String, command: &mut Command) -> Result<()> {
    let name = command.get_bin_name().unwrap_or("pyro").to_owned();
    writeln!(out, "\n## `{name}`\n\n```text")?;
    for line in command.render_long_help().to_string().trim_end().lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    out.push_str("```\n");
    for child in command.get_subcommands_mut() {
        if !child.is_hide_set() && child.get_name() != "help" {
            section(out, child)?;
        }
    }
    Ok(())
}
