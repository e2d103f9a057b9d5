//! The tools of one server: those of its profile or mode, with the descriptions and arguments that they have there.

use crate::guidance::role;
use crate::{Exposure, Server, tools};
use rmcp::handler::server::tool::ToolRoute;
use rmcp::model::Tool;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a server offers, by name.
pub(crate) struct Offer {
    routes: BTreeMap<String, ToolRoute<Server>>,
}

/// What the tools of one server are told about it.
pub(crate) struct Defaults<'a> {
    /// Environment where none is named.
    pub environment: &'a str,
    /// Where the files of a workspace come from, where that is not said: a sentence.
    pub project: &'a str,
}

impl Offer {
    pub(crate) fn new(exposure: Exposure, defaults: &Defaults<'_>) -> Self {
        let routes = tools::all().into_iter().filter(|route| exposure.offers(route.name()));
        let routes = routes.map(|mut route| {
            adapt(&mut route.attr, exposure, defaults);
            (route.name().to_owned(), route)
        });
        Self { routes: routes.collect() }
    }

    /// A tool that is offered.
    pub(crate) fn get(&self, name: &str) -> Option<&ToolRoute<Server>> {
        self.routes.get(name)
    }

    /// Whether some tool has this argument.
    pub(crate) fn has_argument(&self, argument: &str) -> bool {
        let mut schemas = self.routes.values().filter_map(|route| route.attr.input_schema.get("properties"));
        schemas.any(|properties| properties.get(argument).is_some())
    }

    /// The names of all.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.routes.keys().map(String::as_str)
    }

    /// All of them, as clients see them.
    pub(crate) fn tools(&self) -> Vec<Tool> {
        self.routes.values().map(|route| route.attr.clone()).collect()
    }
}

/// Makes a tool what it is in this server.
fn adapt(tool: &mut Tool, exposure: Exposure, defaults: &Defaults<'_>) {
    let mut description = tool.description.take().unwrap_or_default().into_owned();
    if tool.name == "workspace_create" {
        description.push(' ');
        description.push_str(defaults.project);
    }
    if let Some(role) = role(exposure, &tool.name) {
        description.push(' ');
        description.push_str(role);
    }
    tool.description = Some(description.into());
    let mut input = Map::clone(&tool.input_schema);
    simplify(&mut input);
    // Some hosts want it to be there, even with nothing in it.
    let properties = input.entry("properties").or_insert_with(|| Map::new().into());
    if let Value::Object(properties) = properties {
        properties.retain(|name, _| exposure.offers_argument(name));
        if let Some(Value::Object(environment)) = properties.get_mut("environment") {
            environment.insert("default".to_owned(), defaults.environment.into());
        }
    }
    tool.input_schema = Arc::new(input);
    if let Some(schema) = tool.output_schema.take() {
        let mut output = Map::clone(&schema);
        simplify(&mut output);
        tool.output_schema = Some(Arc::new(output));
    }
}

/// Takes out what validators do not know and models do not need: the widths of integers, and the name of the dialect.
fn simplify(schema: &mut Map<String, Value>) {
    schema.remove("$schema");
    let is_width = |format: &Value| {
        format.as_str().is_some_and(|format| format.starts_with("uint") || format.starts_with("int"))
    };
    if schema.get("format").is_some_and(is_width) {
        schema.remove("format");
    }
    for value in schema.values_mut() {
        simplify_value(value);
    }
}

fn simplify_value(value: &mut Value) {
    match value {
        Value::Object(schema) => simplify(schema),
        Value::Array(values) => values.iter_mut().for_each(simplify_value),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
