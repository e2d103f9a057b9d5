//! Workspaces as resources, for hosts that let their user pick what goes into a conversation.
//!
//! `pyro://workspace/ID/summary`, `pyro://workspace/ID/diff` and `pyro://workspace/ID/service/NAME/log`. Each is what the tool
//! of that name returns, and is there only where that tool is offered.

use crate::tools::budget;
use crate::{Failure, Server};
use pyro::workspace::WorkspaceId;
use rmcp::ErrorData;
use rmcp::model::{ReadResourceResult, Resource, ResourceContents, ResourceTemplate};

const SCHEME: &str = "pyro://workspace/";
const JSON: &str = "application/json";
const DIFF: &str = "text/x-diff";
const TEXT: &str = "text/plain";

/// A resource that there may be.
#[derive(Debug, PartialEq, Eq)]
enum Address<'a> {
    Summary(&'a str),
    Diff(&'a str),
    Log(&'a str, &'a str),
}

impl<'a> Address<'a> {
    fn parse(uri: &'a str) -> Option<Self> {
        let parts: Vec<&str> = uri.strip_prefix(SCHEME)?.split('/').collect();
        match parts.as_slice() {
            [id, "summary"] => Some(Self::Summary(id)),
            [id, "diff"] => Some(Self::Diff(id)),
            [id, "service", name, "log"] => Some(Self::Log(id, name)),
            _ => None,
        }
    }

    /// The tool that returns the same.
    fn tool(&self) -> &'static str {
        match self {
            Self::Summary(_) => "workspace_summary",
            Self::Diff(_) => "workspace_diff",
            Self::Log(..) => "service_logs",
        }
    }
}

impl Server {
    /// The resources of all workspaces.
    pub(crate) async fn resources(&self) -> Result<Vec<Resource>, ErrorData> {
        if !self.offers("workspace_summary") {
            return Ok(Vec::new());
        }
        let list = self.pyro.list_workspaces().await.map_err(|error| self.refusal(error.into()))?;
        let mut resources = Vec::new();
        for entry in list.workspaces {
            let (id, label) = (entry.workspace_id, entry.name.unwrap_or_default());
            let label = if label.is_empty() { id.to_string() } else { format!("{label} ({id})") };
            let mut add = |kind: &str, mime_type: &str, tool: &str| {
                if self.offers(tool) {
                    let name = format!("{kind} of workspace {label}");
                    resources
                        .push(Resource::new(format!("{SCHEME}{id}/{kind}"), name).with_mime_type(mime_type));
                }
            };
            add("summary", JSON, "workspace_summary");
            add("diff", DIFF, "workspace_diff");
        }
        Ok(resources)
    }

    /// The forms of their addresses.
    pub(crate) fn resource_templates(&self) -> Vec<ResourceTemplate> {
        let templates = [
            ("workspace_summary", "{workspace_id}/summary", "Summary of a workspace", JSON),
            ("workspace_diff", "{workspace_id}/diff", "Diff of a workspace against its baseline", DIFF),
            ("service_logs", "{workspace_id}/service/{service_name}/log", "Log of a service", TEXT),
        ];
        let offered = templates.into_iter().filter(|(tool, ..)| self.offers(tool));
        let template = |(_, form, name, mime_type)| {
            ResourceTemplate::new(format!("{SCHEME}{form}"), name).with_mime_type(mime_type)
        };
        offered.map(template).collect()
    }

    /// What is at an address.
    pub(crate) async fn resource(&self, uri: &str) -> Result<ReadResourceResult, ErrorData> {
        let address = Address::parse(uri).filter(|address| self.offers(address.tool()));
        let Some(address) = address else {
            let shown: String = uri.chars().take(120).collect();
            return Err(ErrorData::resource_not_found(format!("there is no resource `{shown}`"), None));
        };
        let (text, mime_type) = self.content(&address).await.map_err(|failure| self.refusal(failure))?;
        Ok(ReadResourceResult::new(vec![ResourceContents::text(text, uri).with_mime_type(mime_type)]))
    }

    async fn content(&self, address: &Address<'_>) -> Result<(String, &'static str), Failure> {
        Ok(match address {
            Address::Summary(id) => {
                let summary = self.pyro.summarize_workspace(&WorkspaceId::parse(id)).await?;
                (serde_json::to_string_pretty(&summary).unwrap_or_default(), JSON)
            }
            Address::Diff(id) => {
                let diff = budget::patch(self.pyro.diff_workspace(&WorkspaceId::parse(id)).await?);
                (diff.patch, DIFF)
            }
            Address::Log(id, name) => {
                let tail = Some(pyro::workspace::DEFAULT_TAIL_LINES);
                let logs = self.pyro.logs_service(&WorkspaceId::parse(id), name, tail).await?;
                (logs.stdout + &logs.stderr, TEXT)
            }
        })
    }

    /// A failure where the protocol has no result for failures.
    fn refusal(&self, failure: Failure) -> ErrorData {
        ErrorData::resource_not_found(self.in_its_words(failure).text(), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let cases = [
            ("pyro://workspace/ws-1/summary", Some(Address::Summary("ws-1"))),
            ("pyro://workspace/ws-1/diff", Some(Address::Diff("ws-1"))),
            ("pyro://workspace/ws-1/service/web/log", Some(Address::Log("ws-1", "web"))),
            ("pyro://workspace/ws-1", None),
            ("pyro://workspace/ws-1/service/web", None),
            ("file:///etc/passwd", None),
        ];
        for (uri, expected) in cases {
            assert_eq!(Address::parse(uri), expected, "{uri}");
        }
    }
}
