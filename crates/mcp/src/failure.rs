//! Why a tool failed, as a model is told: code, cause, next step, and the end of a log where there is one.

use pyro::workspace::{SecretError, WorkspaceDiskError, WorkspaceError};
use pyro::{Diagnostic, ErrorKind, PyroError, chain};
use rmcp::ErrorData;
use rmcp::handler::server::tool::IntoCallToolResult;
use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock};

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
            text.push_str("\nnext step: ");
            text.push_str(hint);
        }
        if let Some(log) = &self.log {
            text.push_str("\nend of the log:\n");
            text.push_str(log);
        }
        text
    }
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
