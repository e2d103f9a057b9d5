//! The reference of the tools (`docs/tools.md`), made from what servers offer.

use crate::offer::{Defaults, Offer};
use crate::{Exposure, Mode, Profile};
use pyro::DEFAULT_ENVIRONMENT;
use rmcp::model::Tool;
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// The reference as Markdown.
pub fn reference() -> String {
    let defaults = Defaults { environment: DEFAULT_ENVIRONMENT, project: "" };
    let offer = |exposure| Offer::new(exposure, &defaults);
    let mut out = String::from(
        "# MCP tools\n\nMade by `pyro reference --tools` from the server itself; a test keeps it so. Do not edit.\n\n\
         Arguments are listed with their types and defaults; those in bold are required. Every tool returns structured content \
         with an output schema, the same document as its command prints with `--json`, and the same as text.\n\n\
         ## Which tools a server has\n\n| flag | tools |\n|---|---|\n",
    );
    let profiles = Profile::ALL.iter().map(|one| (format!("--profile {one}"), Exposure::Profile(*one)));
    let modes = Mode::ALL.iter().map(|one| (format!("--mode {one}"), Exposure::Mode(*one)));
    for (flag, exposure) in profiles.chain(modes) {
        let names: Vec<String> = match exposure {
            Exposure::Profile(Profile::WorkspaceFull) => vec!["all of them".to_owned()],
            _ => offer(exposure).names().map(|name| format!("`{name}`")).collect(),
        };
        // A `String` takes whatever is written to it.
        let _written = writeln!(out, "| `{flag}` | {} |", names.join(", "));
    }
    for tool in offer(Exposure::Profile(Profile::WorkspaceFull)).tools() {
        describe(&mut out, &tool);
    }
    out
}

fn describe(out: &mut String, tool: &Tool) {
    let description = tool.description.as_deref().unwrap_or_default().trim();
    let _written = write!(out, "\n## `{}`\n\n{description}\n", tool.name);
    let empty = Map::new();
    let properties = tool.input_schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    let required = tool.input_schema.get("required").and_then(Value::as_array);
    let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|one| one == name));
    if !properties.is_empty() {
        out.push_str("\n| argument | type | default | |\n|---|---|---|---|\n");
    }
    for (name, schema) in properties {
        let shown = if is_required(name) { format!("**`{name}`**") } else { format!("`{name}`") };
        let default = match schema.get("default") {
            Some(Value::String(text)) => format!("`{text}`"),
            Some(value) => format!("`{value}`"),
            None => String::new(),
        };
        let about = schema.get("description").and_then(Value::as_str).unwrap_or_default();
        let about = about.split_whitespace().collect::<Vec<_>>().join(" ");
        let kind = kind(schema).replace('|', "\\|");
        let _written = writeln!(out, "| {shown} | {kind} | {default} | {about} |");
    }
}

/// The type of an argument, in a word or two.
fn kind(schema: &Value) -> String {
    for choices in ["anyOf", "oneOf"] {
        if let Some(choices) = schema.get(choices).and_then(Value::as_array) {
            let kinds = choices.iter().map(|choice| match choice.get("const") {
                Some(value) => format!("`{}`", value.as_str().unwrap_or_default()),
                None => kind(choice),
            });
            return kinds.filter(|kind| kind != "null").collect::<Vec<_>>().join(" or ");
        }
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let values = values.iter().filter_map(Value::as_str).map(|value| format!("`{value}`"));
        return values.collect::<Vec<_>>().join(" or ");
    }
    let name = match schema.get("type") {
        Some(Value::Array(names)) => names.iter().find(|name| *name != "null").and_then(Value::as_str),
        name => name.and_then(Value::as_str),
    };
    match name.unwrap_or_default() {
        "array" => format!("list of {}", schema.get("items").map_or_else(String::new, kind)),
        "object" => match schema.get("properties").and_then(Value::as_object) {
            Some(properties) => {
                let names: Vec<String> = properties.keys().map(|name| format!("`{name}`")).collect();
                format!("object of {}", names.join(", "))
            }
            None => "object".to_owned(),
        },
        name => name.to_owned(),
    }
}
