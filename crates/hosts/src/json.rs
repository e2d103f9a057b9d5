//! One entry of a JSON or JSONC text, read and changed in place: all other text stays as it is.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstObject, CstObjectProp, CstRootNode};
use serde::de::IgnoredAny;
use serde_json::Value;

/// How much a host reads beyond plain JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Nothing.
    Json,
    /// Comments and trailing commas.
    Jsonc,
}

/// Where an entry is, and what makes it one of the kind that pyro writes.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    /// How much is read beyond plain JSON.
    pub dialect: Dialect,
    /// The object with all entries, directly in the document.
    pub section: &'static str,
    /// The entry.
    pub name: &'static str,
    /// The value of `type` in entries of the kind. One of another kind has nothing that is worth keeping.
    pub kind: &'static str,
    /// Whether entries without a `type` are of the kind, too.
    pub kind_is_implied: bool,
}

impl Slot {
    /// The entry; none where there is none. Fails, in words, with a text that is malformed.
    pub fn read(self, text: &str) -> Result<Option<Value>, String> {
        let root = self.parse(text)?;
        let Some(section) = self.section_of(&root)? else { return Ok(None) };
        let Some(entry) = only(&section, self.name)? else { return Ok(None) };
        entry.to_serde_value().map(Some).ok_or_else(|| format!("`{}` has no value", self.name))
    }

    /// The text with `fields` in the entry, which is made where it is missing. Its other fields are kept where it is of the
    /// same kind.
    pub fn write(self, text: &str, fields: &[(&str, Value)]) -> Result<String, String> {
        let root = self.parse(text)?;
        let document = root.object_value_or_create().ok_or_else(no_object)?;
        let section = match self.section_of(&root)? {
            Some(section) => section,
            None => document.append(self.section, CstInputValue::Object(Vec::new())).object_value_or_set(),
        };
        match only(&section, self.name)? {
            None => drop(section.append(self.name, object(fields))),
            Some(entry) => match entry.object_value().filter(|_| self.is_of_the_kind(&entry)) {
                None => entry.set_value(object(fields)),
                Some(entry) => set_fields(&entry, fields)?,
            },
        }
        Ok(ended(root.to_string()))
    }

    fn parse(self, text: &str) -> Result<CstRootNode, String> {
        let lenient = self.dialect == Dialect::Jsonc;
        if !lenient && !text.trim().is_empty() {
            serde_json::from_str::<IgnoredAny>(text).map_err(|error| error.to_string())?;
        }
        let options = ParseOptions {
            allow_comments: lenient,
            allow_trailing_commas: lenient,
            allow_loose_object_property_names: false,
            allow_missing_commas: false,
            allow_single_quoted_strings: false,
            allow_hexadecimal_numbers: false,
            allow_unary_plus_numbers: false,
            allow_bare_decimal_point_numbers: false,
            allow_non_finite_numbers: false,
            allow_extended_string_escapes: false,
        };
        CstRootNode::parse(text, &options).map_err(|error| error.to_string())
    }

    fn section_of(self, root: &CstRootNode) -> Result<Option<CstObject>, String> {
        let Some(value) = root.value() else { return Ok(None) };
        let document = value.as_object().ok_or_else(no_object)?;
        let Some(section) = only(&document, self.section)? else { return Ok(None) };
        section.object_value().map(Some).ok_or_else(|| format!("`{}` is not an object", self.section))
    }

    fn is_of_the_kind(self, entry: &CstObjectProp) -> bool {
        match entry.to_serde_value().as_ref().and_then(|entry| entry.get("type")) {
            Some(kind) => kind == self.kind,
            None => self.kind_is_implied,
        }
    }
}

fn no_object() -> String {
    "it is not one JSON object".to_owned()
}

/// The property of this name. Of two, hosts take one, and people another.
fn only(object: &CstObject, name: &str) -> Result<Option<CstObjectProp>, String> {
    let mut found =
        object.properties().into_iter().filter(|property| property.decoded_name().as_deref() == Some(name));
    let first = found.next();
    if found.next().is_some() { Err(format!("it has `{name}` twice")) } else { Ok(first) }
}

fn set_fields(entry: &CstObject, fields: &[(&str, Value)]) -> Result<(), String> {
    for (name, value) in fields {
        match only(entry, name)? {
            Some(field) if field.to_serde_value().as_ref() == Some(value) => {}
            Some(field) => field.set_value(input(value)),
            None => drop(entry.append(name, input(value))),
        }
    }
    Ok(())
}

fn object(fields: &[(&str, Value)]) -> CstInputValue {
    CstInputValue::Object(fields.iter().map(|(name, value)| ((*name).to_owned(), input(value))).collect())
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(value) => CstInputValue::Bool(*value),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(values) => CstInputValue::Array(values.iter().map(input).collect()),
        Value::Object(fields) => {
            CstInputValue::Object(fields.iter().map(|(name, value)| (name.clone(), input(value))).collect())
        }
    }
}

/// With a line end, where it has none and no line of it has another.
fn ended(mut text: String) -> String {
    if !text.ends_with('\n') {
        text.push_str(if text.contains("\r\n") { "\r\n" } else { "\n" });
    }
    text
}

/// An array of words.
pub fn words(words: &[String]) -> Value {
    Value::Array(words.iter().cloned().map(Value::String).collect())
}

/// The words in an array; none where it is anything else.
pub fn as_words(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|word| word.as_str().map(ToOwned::to_owned)).collect()
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
