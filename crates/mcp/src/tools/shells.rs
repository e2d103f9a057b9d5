//! Shells of workspaces.

use super::arguments::{self, SecretVariables, secret_env, workspace};
use crate::{Failure, Server};
use pyro::workspace::{
    OpenShell, ReadShell, ShellDone, ShellId, ShellInfo, ShellRead, ShellSignal, WorkspacePath,
};
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OpenArguments {
    /// Id of the workspace.
    workspace_id: String,
    /// Directory to begin in.
    #[serde(default = "arguments::root")]
    cwd: String,
    /// Columns of the terminal.
    #[serde(default = "arguments::shell_cols")]
    cols: u32,
    /// Rows of the terminal.
    #[serde(default = "arguments::shell_rows")]
    rows: u32,
    /// Secrets of the workspace to set as variables of the shell: {"SECRET_NAME": "VARIABLE"}.
    #[serde(default)]
    secret_env: SecretVariables,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReadArguments {
    /// Id of the workspace.
    workspace_id: String,
    /// Id of the shell.
    shell_id: String,
    /// Where to read from: 0 at first, then next_cursor of the read before.
    #[serde(default)]
    cursor: u64,
    /// Characters to read at most.
    #[serde(default = "arguments::shell_chars")]
    max_chars: u64,
    /// The output as a person sees it, without escape sequences and what was overwritten: usually what you want.
    #[serde(default)]
    plain: bool,
    /// Wait until the output has been quiet for so many milliseconds; 300 is good after a write.
    wait_for_idle_ms: Option<u64>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WriteArguments {
    /// Id of the workspace.
    workspace_id: String,
    /// Id of the shell.
    shell_id: String,
    /// What to type.
    input: String,
    /// Press Enter after it.
    #[serde(default = "arguments::yes")]
    append_newline: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SignalArguments {
    /// Id of the workspace.
    workspace_id: String,
    /// Id of the shell.
    shell_id: String,
    /// Signal for what runs in the foreground; INT is what Ctrl-C sends.
    #[serde(default)]
    signal_name: SignalName,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
enum SignalName {
    Hup,
    #[default]
    Int,
    Term,
    Kill,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct InShell {
    /// Id of the workspace.
    workspace_id: String,
    /// Id of the shell.
    shell_id: String,
}

#[tool_router(router = shell_tools, vis = "pub(crate)")]
impl Server {
    #[tool(
        description = "Open a terminal in a workspace, for programs that ask questions and for state that lasts between calls (directory, variables, running programs). Returns its shell_id. For single commands workspace_exec is simpler.",
        annotations(
            title = "Open a shell",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn shell_open(
        &self,
        Parameters(arguments): Parameters<OpenArguments>,
    ) -> Result<Json<ShellInfo>, Failure> {
        let request = OpenShell {
            cwd: WorkspacePath::parse(&arguments.cwd)?,
            cols: arguments.cols,
            rows: arguments.rows,
            secret_env: secret_env(&arguments.secret_env)?,
        };
        Ok(Json(self.pyro.open_shell(&workspace(&arguments.workspace_id), request).await?))
    }

    #[tool(
        description = "Read what a shell has printed since `cursor`. Give next_cursor of the result as the cursor of the next read.",
        annotations(title = "Read a shell", read_only_hint = true, open_world_hint = false)
    )]
    async fn shell_read(
        &self,
        Parameters(arguments): Parameters<ReadArguments>,
    ) -> Result<Json<ShellRead>, Failure> {
        let request = ReadShell {
            cursor: arguments.cursor,
            max_chars: arguments.max_chars,
            plain: arguments.plain,
            wait_for_idle_ms: arguments.wait_for_idle_ms,
        };
        let (id, shell) = (workspace(&arguments.workspace_id), ShellId::parse(&arguments.shell_id));
        Ok(Json(self.pyro.read_shell(&id, &shell, request).await?))
    }

    #[tool(
        description = "Type into a shell. Read what comes of it with shell_read and wait_for_idle_ms.",
        annotations(
            title = "Type into a shell",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn shell_write(
        &self,
        Parameters(arguments): Parameters<WriteArguments>,
    ) -> Result<Json<ShellDone>, Failure> {
        let mut input = arguments.input;
        if arguments.append_newline {
            input.push('\n');
        }
        let (id, shell) = (workspace(&arguments.workspace_id), ShellId::parse(&arguments.shell_id));
        Ok(Json(self.pyro.write_shell(&id, &shell, input.as_bytes()).await?))
    }

    #[tool(
        description = "Send a signal to what runs in the foreground of a shell, as Ctrl-C does.",
        annotations(
            title = "Signal a shell",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = false,
            open_world_hint = false
        )
    )]
    async fn shell_signal(
        &self,
        Parameters(arguments): Parameters<SignalArguments>,
    ) -> Result<Json<ShellDone>, Failure> {
        let signal = match arguments.signal_name {
            SignalName::Hup => ShellSignal::Hup,
            SignalName::Int => ShellSignal::Int,
            SignalName::Term => ShellSignal::Term,
            SignalName::Kill => ShellSignal::Kill,
        };
        let (id, shell) = (workspace(&arguments.workspace_id), ShellId::parse(&arguments.shell_id));
        Ok(Json(self.pyro.signal_shell(&id, &shell, signal).await?))
    }

    #[tool(
        description = "Close a shell and end everything that runs in it.",
        annotations(
            title = "Close a shell",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = false,
            open_world_hint = false
        )
    )]
    async fn shell_close(
        &self,
        Parameters(arguments): Parameters<InShell>,
    ) -> Result<Json<ShellInfo>, Failure> {
        let (id, shell) = (workspace(&arguments.workspace_id), ShellId::parse(&arguments.shell_id));
        Ok(Json(self.pyro.close_shell(&id, &shell).await?))
    }
}
