//! The server: which tools it offers, and how a call of one goes.
//!
//! A call is checked against the tool's schema, runs with a handle of the SDK of its own, which tells the client about phases,
//! and is dropped when the client cancels it or goes away: what it runs in a guest is then ended by the SDK.

use crate::Exposure;
use crate::check::{check, nearest};
use crate::failure::with_hint;
use crate::guidance::purpose;
use crate::hints::for_model;
use crate::offer::{Defaults, Offer};
use crate::progress::Reporter;
use pyro::{DEFAULT_ENVIRONMENT, Project, ProjectKind, ProjectOptions, ProjectReport, Pyro, PyroError};
use rmcp::handler::server::tool::{IntoCallToolResult, ToolCallContext};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ContentBlock, GetPromptRequestParams, GetPromptResponse,
    Implementation, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
    PaginatedRequestParams, PromptsCapability, ReadResourceRequestParams, ReadResourceResponse,
    ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use std::path::Path;
use std::sync::Arc;

/// What a server offers.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Which tools.
    pub exposure: Exposure,
    /// Environment of workspaces for which none is named.
    pub environment: String,
    /// What workspaces begin with for which no seed is named.
    pub project: ProjectOptions,
}

impl Default for ServerSettings {
    fn default() -> Self {
        let environment = DEFAULT_ENVIRONMENT.to_owned();
        Self { exposure: Exposure::default(), environment, project: ProjectOptions::default() }
    }
}

/// An MCP server over the SDK. Cloning shares it.
#[derive(Clone)]
pub struct Server {
    pub(crate) pyro: Pyro,
    pub(crate) project: Project,
    settings: Arc<ServerSettings>,
    report: Arc<ProjectReport>,
    pub(crate) offer: Arc<Offer>,
}

/// A server over `pyro`, for the project around `cwd` unless the settings name another, or none.
///
/// Fails for settings that contradict each other and for a named project that is none. One that cannot be read is no reason not to
/// start: the report says so, and so does each creation that would need it.
pub async fn create_server(pyro: Pyro, settings: ServerSettings, cwd: &Path) -> Result<Server, PyroError> {
    let project = Project::resolve(&settings.project, cwd).await?;
    let report = project.diagnose().await;
    let defaults = Defaults { environment: &settings.environment, project: &beginning(&report) };
    let offer = Arc::new(Offer::new(settings.exposure, &defaults));
    Ok(Server { pyro, project, settings: Arc::new(settings), report: Arc::new(report), offer })
}

/// What `/workspace` begins with where no seed is named, for a model.
fn beginning(report: &ProjectReport) -> String {
    if report.kind == ProjectKind::None {
        return "/workspace begins empty unless seed_path names a directory or archive.".to_owned();
    }
    let state = if report.ready { "" } else { " It is not ready: name a seed_path, or ask the user." };
    format!("Without seed_path, /workspace begins with {}.{state}", report.describe())
}

impl Server {
    /// The project that workspaces begin with, and whether it is ready.
    pub fn project_report(&self) -> &ProjectReport {
        &self.report
    }

    /// The environment that is asked for, else the server's.
    pub(crate) fn environment(&self, given: Option<String>) -> String {
        given.unwrap_or_else(|| self.settings.environment.clone())
    }

    /// Whether a tool is offered.
    pub(crate) fn offers(&self, tool: &str) -> bool {
        self.offer.get(tool).is_some()
    }

    async fn call(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(route) = self.offer.get(&request.name) else { return Err(self.unknown_tool(&request.name)) };
        let empty = serde_json::Map::new();
        let arguments = request.arguments.as_ref().unwrap_or(&empty);
        if let Err(failure) = check(route.name(), &route.attr.input_schema, arguments) {
            return failure.into_call_tool_result();
        }
        let reporter = Reporter::of(&context);
        let server = Self { pyro: self.pyro.with_progress(reporter.progress()), ..self.clone() };
        let cancelled = context.ct.clone();
        let call = (route.call)(ToolCallContext::new(&server, request, context));
        tokio::select! {
            outcome = call => outcome,
            // Nobody waits for it any more. Dropping the call ends what it does.
            () = cancelled.cancelled() => Err(ErrorData::internal_error("cancelled", None)),
            never = reporter.run() => match never {},
        }
    }

    fn unknown_tool(&self, name: &str) -> ErrorData {
        let shown: String = name.chars().take(80).collect();
        let near = nearest(name, self.offer.names());
        let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        ErrorData::invalid_params(format!("this server has no tool `{shown}`{near}"), None)
    }

    /// The words of a failure, for this server's model.
    fn in_its_words(&self, mut response: CallToolResponse) -> CallToolResponse {
        if let CallToolResponse::Complete(result) = &mut response
            && result.is_error == Some(true)
        {
            for block in &mut result.content {
                if let ContentBlock::Text(text) = block {
                    text.text = with_hint(&text.text, |hint| {
                        for_model(
                            hint,
                            |tool| self.offers(tool),
                            |argument| self.offer.has_argument(argument),
                        )
                    });
                }
            }
        }
        response
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let mut capabilities = ServerCapabilities::builder().enable_tools().enable_resources().build();
        if !self.prompts().is_empty() {
            capabilities.prompts = Some(PromptsCapability::default());
        }
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("pyro", env!("CARGO_PKG_VERSION")).with_title("pyro"))
            .with_instructions(purpose(self.settings.exposure))
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.offer.tools()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.offer.get(name).map(|route| route.attr.clone())
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(self.resources().await?))
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(ListResourceTemplatesResult::with_all_items(self.resource_templates()))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        Ok(self.resource(&request.uri).await?.into())
    }

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(ListPromptsResult::with_all_items(self.prompts()))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        Ok(self.prompt(&request.name, request.arguments.as_ref())?.into())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.call(request, context).await.map(|response| self.in_its_words(response))
    }
}
