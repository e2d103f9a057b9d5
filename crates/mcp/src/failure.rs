//! Why a tool failed, as a model is told: code, cause, next step, and the end of a log where there is one.

use pyro::workspace::{SecretError, WorkspaceDiskError, WorkspaceError};
use pyro::{Diagnostic, ErrorKind, PyroError, chain};
use rmcp::ErrorData;
use rmcp::handler::server::tool::IntoCallToolResult;
use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock};

/// What stands before the hint, and before the log, in the text of a failure.
const HINT: &str = "\nnext step: ";
const LOG: &str = "\nend of the log:\n";
/// Last lines of a log that are shown.
const LOG_LINES: usize = 20;

/// A tool that has failed. It is a result, not an error of the protocol: the model can act on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    log: Option<String>,
}

impl Failure {
    /// Arguments that cannot be right.
    pub(crate) fn invalid(message: impl Into<String>, hint: impl Into<String>) -> Self {
        let (message, hint) = (message.into(), Some(hint.into()));
        Self { kind: ErrorKind::InvalidInput, message, hint, log: None }
    }

    /// As a text.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}: {}", self.kind.code(), self.message);
        if let Some(hint) = &self.hint {
            text.push_str(HINT);
            text.push_str(hint);
        }
        if let Some(log) = &self.log {
            text.push_str(LOG);
            text.push_str(log);
        }
        text
    }
}

/// The text of a failure with another hint. What the cause and the log say, a guest may have said: they stay as they are.
pub(crate) fn with_hint(text: &str, reworded: impl Fn(&str) -> String) -> String {
    let Some((cause, rest)) = text.split_once(HINT) else { return text.to_owned() };
    let end = rest.find(LOG).unwrap_or(rest.len());
    let (hint, log) = rest.split_at(end);
    format!("{cause}{HINT}{}{log}", reworded(hint))
}

impl IntoCallToolResult for Failure {
    fn into_call_tool_result(self) -> Result<CallToolResponse, ErrorData> {
        Ok(CallToolResult::error(vec![ContentBlock::text(self.text())]).into())
    }
}

impl From<PyroError> for Failure {
    fn from(error: PyroError) -> Self {
        let log = error.log().filter(|log| !log.trim().is_empty()).map(|log| {
            let lines: Vec<&str> = log.trim_end().lines().collect();
            lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
        });
        Self { kind: error.kind(), message: chain(&error), hint: error.hint(), log }
    }
}

impl From<WorkspaceError> for Failure {
    fn from(error: WorkspaceError) -> Self {
        PyroError::from(error).into()
    }
}

impl From<SecretError> for Failure {
    fn from(error: SecretError) -> Self {
        PyroError::from(error).into()
    }
}

impl From<WorkspaceDiskError> for Failure {
    fn from(error: WorkspaceDiskError) -> Self {
        WorkspaceError::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hint_is_reworded() {
        let failure = |log: Option<&str>| Failure {
            log: log.map(ToOwned::to_owned),
            ..Failure::invalid("it said `--flag", "give --flag")
        };
        let reworded = |failure: &Failure| with_hint(&failure.text(), |_| "do it".to_owned());
        assert_eq!(reworded(&failure(None)), "invalid_input: it said `--flag\nnext step: do it");
        let logged = reworded(&failure(Some("run `--flag")));
        assert_eq!(logged, "invalid_input: it said `--flag\nnext step: do it\nend of the log:\nrun `--flag");
        assert_eq!(with_hint("--flag", |_| String::new()), "--flag");
    }
}
