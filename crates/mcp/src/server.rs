//! The server: which tools it offers, and how a call of one goes.
//!
//! A call is checked against the tool's schema, runs with a handle of the SDK of its own, which tells the client about phases,
//! and is dropped when the client cancels it or goes away: what it runs in a guest is then ended by the SDK.

use crate::check::{check, nearest, tidy};
use crate::guidance::purpose;
use crate::hints::for_model;
use crate::offer::{Defaults, Offer};
use crate::progress::Reporter;
use crate::{Exposure, Failure, tools};
use pyro::{DEFAULT_ENVIRONMENT, Project, ProjectKind, ProjectOptions, ProjectReport, Pyro, PyroError};
use rmcp::handler::server::tool::{IntoCallToolResult, ToolCallContext};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CustomRequest, CustomResult, ErrorCode, GetPromptRequestParams,
    GetPromptResponse, Implementation, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult,
    ListToolsResult, PaginatedRequestParams, PromptsCapability, ReadResourceRequestParams,
    ReadResourceResponse, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How alike the name of a tool has to be to be meant: they all have much in common.
const ALIKE_TOOLS: f64 = 0.8;
/// How long the project may take to be listed when the server starts, after at most 2 s to find it. Hosts wait for that, some of
/// them 10 s.
const LISTING: Duration = Duration::from_secs(3);
/// Largest message: a text of 1 MiB, every byte of which may need an escape.
pub(crate) const MAX_MESSAGE_BYTES: usize = 8 << 20;

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
    let report = project.diagnose_within(LISTING).await;
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
        mut request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(route) = self.offer.get(&request.name) else { return Err(self.unknown_tool(&request.name)) };
        let arguments = request.arguments.get_or_insert_default();
        tidy(&route.attr.input_schema, arguments);
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
        let rest = if tools::all().has_route(name) {
            ": it is not offered here; `--profile workspace-full` of the server has it".to_owned()
        } else {
            let near = nearest(name, self.offer.names(), ALIKE_TOOLS);
            near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
        };
        ErrorData::invalid_params(format!("this server has no tool `{shown}`{rest}"), None)
    }

    /// A failure with its hint in the words of this server's tools.
    pub(crate) fn in_its_words(&self, failure: Failure) -> Failure {
        let is_offered = |tool: &str| self.offers(tool);
        failure.reworded(|hint| for_model(hint, is_offered, |argument| self.offer.has_argument(argument)))
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
        let mut response = self.call(request, context).await?;
        if let CallToolResponse::Complete(result) = &mut response
            && let Some(failure) = Failure::in_transit(result)
        {
            *result = self.in_its_words(failure).into_result();
        }
        Ok(response)
    }

    /// Requests that are none of the protocol's, or are like one in all but their parameters.
    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        let params = request.params.unwrap_or(Value::Null);
        let reason = match request.method.as_str() {
            "tools/call" => mistake::<CallToolRequestParams>(params),
            "prompts/get" => mistake::<GetPromptRequestParams>(params),
            "resources/read" => mistake::<ReadResourceRequestParams>(params),
            "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list" => {
                mistake::<PaginatedRequestParams>(params)
            }
            _ => return Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, request.method, None)),
        };
        Err(ErrorData::invalid_params(format!("the parameters of `{}`: {reason}", request.method), None))
    }
}

/// What is wrong with parameters.
fn mistake<T: DeserializeOwned>(params: Value) -> String {
    serde_json::from_value::<T>(params)
        .map_or_else(|error| error.to_string(), |_| "they are not understood".to_owned())
}
