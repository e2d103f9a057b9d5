//! What is written where.
//!
//! Data goes to standard output, talk to standard error. With `--json` standard output carries exactly one document,
//! also when the command fails; a command line that makes no sense is answered on standard error alone.

use crate::human::visible;
use crate::input::InputError;
use anyhow::Result;
use pyro::{Diagnostic, PyroError, chain};
use pyro_hosts::HostError;
use pyro_mcp::{ListenError, ServeError};
use serde::Serialize;
use std::io::{self, Write};

/// Where a command's data goes and in which form.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    json: bool,
}

impl Printer {
    /// A printer for people, or of JSON.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether data is printed as JSON.
    pub fn json(self) -> bool {
        self.json
    }

    /// Prints a command's result: `data` as JSON, or the text that `human` makes of it.
    pub fn data<T: Serialize>(self, data: &T, human: impl FnOnce(&T) -> String) -> Result<()> {
        write_out(&if self.json { serde_json::to_string_pretty(data)? + "\n" } else { human(data) })
    }

    /// Reports a failure: cause, hint and log for people; the same as a document with `--json`.
    pub fn failure(self, error: &anyhow::Error) {
        let report = Report::of(error);
        talk(&report.text());
        if self.json {
            // Nothing more can be done for a reader who has closed standard output.
            let _unread = self.data(&Document { error: report }, |_| String::new());
        }
    }
}

/// Writes exactly `text` to standard output: data that has no other form, as an id or a file's content.
pub fn write_out(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(OutputFailed)?;
    Ok(())
}

/// What an error says about its kind and the way out, where it is one of ours.
pub fn diagnostic(error: &anyhow::Error) -> Option<&dyn Diagnostic> {
    fn one_of<E: Diagnostic + Send + Sync + 'static>(error: &anyhow::Error) -> Option<&dyn Diagnostic> {
        error.downcast_ref::<E>().map(|error| error as &dyn Diagnostic)
    }
    [
        one_of::<PyroError>,
        one_of::<InputError>,
        one_of::<HostError>,
        one_of::<ListenError>,
        one_of::<ServeError>,
    ]
    .into_iter()
    .find_map(|one_of| one_of(error))
}

/// Our own output could not be written; above all, because whoever read it has seen enough.
#[derive(Debug)]
pub struct OutputFailed(pub io::Error);

impl std::fmt::Display for OutputFailed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "cannot write the output: {}", self.0)
    }
}

impl std::error::Error for OutputFailed {}

/// Writes talk: a line, or several, on standard error.
pub fn talk(text: &str) {
    // There is nowhere left to complain to.
    let _unheard = writeln!(io::stderr().lock(), "{text}");
}

#[derive(Serialize)]
struct Document {
    error: Report,
}

/// A failure, ready to be shown.
#[derive(Serialize)]
struct Report {
    code: &'static str,
    message: String,
    hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
}

impl Report {
    fn of(error: &anyhow::Error) -> Self {
        let diagnostic = diagnostic(error);
        Self {
            code: diagnostic.map_or("host", |error| error.kind().code()),
            message: diagnostic.map_or_else(|| format!("{error:#}"), |error| chain(error)),
            hint: diagnostic.and_then(Diagnostic::hint),
            log: error.downcast_ref::<PyroError>().and_then(PyroError::end_of_log),
        }
    }

    /// For a terminal, which what a guest has said must not drive.
    fn text(&self) -> String {
        let lines = |text: &str| text.lines().map(visible).collect::<Vec<_>>().join("\n");
        let mut text = format!("error: {}", lines(&self.message));
        if let Some(hint) = &self.hint {
            text.push_str("\n hint: ");
            text.push_str(&lines(hint));
        }
        if let Some(log) = &self.log {
            text.push_str("\n  log:");
            for line in log.lines() {
                text.push_str("\n       ");
                text.push_str(&visible(line));
            }
        }
        text
    }
}
