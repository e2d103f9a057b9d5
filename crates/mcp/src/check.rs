//! Arguments against the schema of a tool, before the tool is called.
//!
//! A model that makes a mistake is told which argument, what was expected there, and what it may have meant. Only what the
//! schemas of this server use is understood, which have no references; what is let through is still checked when the tool takes
//! the arguments apart.

use crate::Failure;
use serde_json::{Map, Value};

/// How alike the names of two arguments have to be for one to be taken for the other, from 0 to 1.
const ALIKE: f64 = 0.6;
/// Characters of a wrong value that are shown.
const SHOWN: usize = 40;

/// Fails with the first argument that is unknown, missing, or of another kind than `schema` says.
pub(crate) fn check(
    tool: &str,
    schema: &Map<String, Value>,
    arguments: &Map<String, Value>,
) -> Result<(), Failure> {
    Checker { tool }.object("", schema, arguments)
}

/// Takes arguments as they are meant: `null` for one that need not be there is none, and `30.0` for a whole number is 30.
pub(crate) fn tidy(schema: &Map<String, Value>, arguments: &mut Map<String, Value>) {
    let required = schema.get("required").and_then(Value::as_array);
    let is_required = |name: &str| required.is_some_and(|required| required.iter().any(|it| it == name));
    let schema_of = |name: &str| schema.get("properties")?.get(name)?.as_object();
    arguments.retain(|name, value| !value.is_null() || is_required(name) || schema_of(name).is_none());
    for (name, value) in arguments {
        let is_whole = schema_of(name).is_some_and(|schema| kinds(schema).any(|kind| kind == "integer"));
        if is_whole && let Some(whole) = value.as_f64().and_then(whole) {
            *value = whole.into();
        }
    }
}

/// A number that is written as a fraction and is none.
#[expect(clippy::cast_possible_truncation, reason = "within these bounds it is exact")]
fn whole(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() < EXACT).then_some(number as i64)
}

/// The name among `names` that is most like `given`, where one is as alike as that.
pub(crate) fn nearest<'a>(given: &str, names: impl Iterator<Item = &'a str>, least: f64) -> Option<&'a str> {
    let alike = names.map(|name| (strsim::normalized_damerau_levenshtein(given, name), name));
    alike.filter(|(alike, _)| *alike >= least).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

struct Checker<'a> {
    tool: &'a str,
}

impl Checker<'_> {
    fn object(
        &self,
        path: &str,
        schema: &Map<String, Value>,
        object: &Map<String, Value>,
    ) -> Result<(), Failure> {
        let empty = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        for (name, value) in object {
            let at = join(path, name);
            match properties.get(name) {
                Some(schema) => self.value(&at, schema, value)?,
                None => match schema.get("additionalProperties") {
                    Some(Value::Object(_)) => self.value(&at, &schema["additionalProperties"], value)?,
                    Some(Value::Bool(false)) => return Err(self.unknown(&at, name, properties)),
                    _ => {}
                },
            }
        }
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            if let Some(name) = name.as_str().filter(|name| !object.contains_key(*name)) {
                let what = properties.get(name).and_then(|schema| schema["description"].as_str());
                let message = format!("`{}` needs the argument `{}`", self.tool, join(path, name));
                return Err(Failure::invalid(message, what.unwrap_or("give it").to_owned()));
            }
        }
        Ok(())
    }

    fn unknown(&self, at: &str, name: &str, properties: &Map<String, Value>) -> Failure {
        let message = format!("`{}` has no argument `{}`", self.tool, shown(at));
        let hint = match nearest(name, properties.keys().map(String::as_str), ALIKE) {
            Some(near) => format!("did you mean `{near}`?"),
            None if properties.is_empty() => "call it without arguments".to_owned(),
            None => {
                let names: Vec<&str> = properties.keys().map(String::as_str).collect();
                format!("it has: {}", names.join(", "))
            }
        };
        Failure::invalid(message, hint)
    }

    fn value(&self, path: &str, schema: &Value, value: &Value) -> Result<(), Failure> {
        let Some(schema) = schema.as_object() else { return Ok(()) };
        if let Some(choices) = schema.get("anyOf").and_then(Value::as_array) {
            let mut outcomes = choices.iter().map(|choice| self.value(path, choice, value));
            if outcomes.any(|outcome| outcome.is_ok()) {
                return Ok(());
            }
            // What is meant is the choice that is of the value's kind; its complaint is the useful one.
            let same_kind = choices.iter().find(|choice| {
                choice.as_object().is_some_and(|schema| kinds(schema).any(|kind| is_kind(value, kind)))
            });
            if let Some(choice) = same_kind {
                return self.value(path, choice, value);
            }
            let schemas = choices.iter().filter_map(Value::as_object);
            return Err(wrong(path, value, &schemas.flat_map(kinds).collect::<Vec<_>>()));
        }
        let expected: Vec<&str> = kinds(schema).collect();
        if !expected.is_empty() && !expected.iter().any(|kind| is_kind(value, kind)) {
            return Err(wrong(path, value, &expected));
        }
        if let Some(choices) = choices(schema)
            && !choices.contains(&value)
        {
            let names: Vec<&str> = choices.iter().filter_map(|choice| choice.as_str()).collect();
            let given = shown(&value.to_string());
            return Err(Failure::invalid(
                format!("`{path}` is {given}"),
                format!("use one of: {}", names.join(", ")),
            ));
        }
        match value {
            Value::Object(object) => self.object(path, schema, object),
            Value::Array(items) => {
                let Some(item) = schema.get("items") else { return Ok(()) };
                let mut items = items.iter().enumerate();
                items.try_for_each(|(index, value)| self.value(&format!("{path}[{index}]"), item, value))
            }
            Value::Number(number) => bounds(path, schema, number.as_f64().unwrap_or_default()),
            _ => Ok(()),
        }
    }
}

/// The values that a schema lists, however it does.
fn choices(schema: &Map<String, Value>) -> Option<Vec<&Value>> {
    if let Some(listed) = schema.get("enum").and_then(Value::as_array) {
        return Some(listed.iter().collect());
    }
    let one_of = schema.get("oneOf").and_then(Value::as_array)?;
    one_of.iter().map(|choice| choice.get("const")).collect()
}

fn kinds(schema: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let (one, several) = match schema.get("type") {
        Some(Value::String(kind)) => (Some(kind.as_str()), None),
        Some(Value::Array(kinds)) => (None, Some(kinds)),
        _ => (None, None),
    };
    one.into_iter().chain(several.into_iter().flatten().filter_map(Value::as_str))
}

fn is_kind(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    }
}

fn bounds(path: &str, schema: &Map<String, Value>, number: f64) -> Result<(), Failure> {
    let bound = |name| schema.get(name).and_then(Value::as_f64);
    let (low, high) = (bound("minimum"), bound("maximum"));
    if low.is_none_or(|low| number >= low) && high.is_none_or(|high| number <= high) {
        return Ok(());
    }
    let range = match (low, high) {
        (Some(low), Some(high)) => format!("from {low} to {high}"),
        (Some(low), None) => format!("{low} or more"),
        (None, high) => format!("{} or less", high.unwrap_or_default()),
    };
    Err(Failure::invalid(format!("`{path}` is {number}"), format!("choose a number: {range}")))
}

fn wrong(path: &str, value: &Value, expected: &[&str]) -> Failure {
    let named: Vec<String> = expected
        .iter()
        .filter(|kind| **kind != "null")
        .map(|kind| match *kind {
            "array" => "a list".to_owned(),
            "integer" => "a whole number".to_owned(),
            "object" => "an object".to_owned(),
            other => format!("a {other}"),
        })
        .collect();
    let given = shown(&value.to_string());
    Failure::invalid(format!("`{path}` is {given}"), format!("give it {}", named.join(" or ")))
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_is_meant_is_taken() {
        let schema = object(json!({
            "required": ["id"],
            "properties": { "id": {}, "seconds": { "type": "integer" }, "name": { "type": ["string", "null"] } },
        }));
        let mut given = object(json!({ "id": null, "seconds": 30.0, "name": null, "other": null }));
        tidy(&schema, &mut given);
        assert_eq!(Value::Object(given), json!({ "id": null, "seconds": 30, "other": null }));
        let mut given = object(json!({ "seconds": 30.5 }));
        tidy(&schema, &mut given);
        assert_eq!(Value::Object(given), json!({ "seconds": 30.5 }));
    }

    #[test]
    fn mistakes_are_named_with_what_was_meant() {
        let schema = object(json!({
            "type": "object", "additionalProperties": false, "required": ["workspace_id"],
            "properties": {
                "workspace_id": { "type": "string", "description": "Id of the workspace." },
                "name": { "type": ["string", "null"] },
                "command": { "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] },
                "labels": { "type": "object", "additionalProperties": { "type": "string" } },
                "policy": { "oneOf": [{ "const": "off" }, { "const": "egress" }] },
                "ports": { "type": "array", "items": {
                    "type": "object", "additionalProperties": false, "required": ["guest_port"],
                    "properties": { "guest_port": { "type": "integer", "minimum": 1, "maximum": 65535 } },
                } },
            },
        }));
        let cases = [
            (json!({ "workspace_id": "a", "name": null, "command": ["b"], "labels": { "c": "d" } }), ""),
            (json!({ "workspace_id": "a", "policy": "egress", "ports": [{ "guest_port": 80 }] }), ""),
            (
                json!({ "workspace": "a" }),
                "`t` has no argument `workspace`\nnext step: did you mean `workspace_id`?",
            ),
            (json!({}), "`t` needs the argument `workspace_id`\nnext step: Id of the workspace."),
            (json!({ "workspace_id": 1 }), "`workspace_id` is 1\nnext step: give it a string"),
            (
                json!({ "workspace_id": "a", "nam": "b" }),
                "`t` has no argument `nam`\nnext step: did you mean `name`?",
            ),
            (
                json!({ "workspace_id": "a", "zzz": 1 }),
                "`t` has no argument `zzz`\nnext step: it has: command, labels, name, policy, ports, workspace_id",
            ),
            (
                json!({ "workspace_id": "a", "command": 7 }),
                "`command` is 7\nnext step: give it a string or a list",
            ),
            (
                json!({ "workspace_id": "a", "command": ["b", 7] }),
                "`command[1]` is 7\nnext step: give it a string",
            ),
            (
                json!({ "workspace_id": "a", "labels": { "b": 7 } }),
                "`labels.b` is 7\nnext step: give it a string",
            ),
            (
                json!({ "workspace_id": "a", "policy": "on" }),
                "`policy` is \"on\"\nnext step: use one of: off, egress",
            ),
            (
                json!({ "workspace_id": "a", "ports": [{ "guest_port": 0 }] }),
                "`ports[0].guest_port` is 0\nnext step: choose a number: from 1 to 65535",
            ),
            (
                json!({ "workspace_id": "a", "ports": [{ "guest_prt": 1, "guest_port": 1 }] }),
                "`t` has no argument `ports[0].guest_prt`\nnext step: did you mean `guest_port`?",
            ),
        ];
        for (arguments, expected) in cases {
            let said = check("t", &schema, &object(arguments.clone()));
            let said = said.map_or_else(|failure| failure.text(), |()| String::new());
            let expected =
                if expected.is_empty() { String::new() } else { format!("invalid_input: {expected}") };
            assert_eq!(said, expected, "{arguments}");
        }
    }
}
