use super::*;
use proptest::prelude::*;
use serde_json::json;

const SLOT: Slot =
    Slot { dialect: Dialect::Jsonc, section: "mcp", name: "pyro", kind: "local", kind_is_implied: false };

fn fields() -> Vec<(&'static str, Value)> {
    vec![("type", json!("local")), ("command", json!(["/p", "mcp", "serve"])), ("enabled", json!(true))]
}

#[test]
fn an_entry_is_added_or_changed_and_nothing_else() {
    let cases = [
        // Nothing there yet.
        ("", "{\n  \"mcp\": {\n    \"pyro\": ENTRY\n  }\n}\n"),
        ("{}\n", "{\n  \"mcp\": {\n    \"pyro\": ENTRY\n  }\n}\n"),
        // Beside others, in their indentation, with their comments.
        (
            "{\n    // mine\n    \"mcp\": {\n        \"a\": {\"type\": \"remote\"}, // one\n    },\n    \"z\": 1e3,\n}\n",
            "{\n    // mine\n    \"mcp\": {\n        \"a\": {\"type\": \"remote\"}, // one\n        \"pyro\": ENTRY,\n    },\n    \"z\": 1e3,\n}\n",
        ),
        // Its own fields are kept, with their comments.
        (
            "{\"mcp\": {\n  \"pyro\": {\n    \"type\": \"local\",\n    \"timeout\": 9, // ms\n    \"command\": [\"old\"]\n  }\n}}\n",
            "{\"mcp\": {\n  \"pyro\": {\n    \"type\": \"local\",\n    \"timeout\": 9, // ms\n    \"command\": [\"/p\", \"mcp\", \"serve\"],\n    \"enabled\": true\n  }\n}}\n",
        ),
    ];
    for (text, expected) in cases {
        let written = SLOT.write(text, &fields()).unwrap();
        let indent = if text.contains("        ") { "        " } else { "    " };
        let step = &indent[..indent.len() / 2];
        // As the others have it.
        let comma = if text.contains("},\n}") || text.contains("1e3,") { "," } else { "" };
        let entry = format!(
            "{{\n{indent}{step}\"type\": \"local\",\n{indent}{step}\"command\": [\"/p\", \"mcp\", \"serve\"],\n{indent}{step}\"enabled\": true{comma}\n{indent}}}"
        );
        assert_eq!(written, expected.replace("ENTRY", &entry), "{text}");
        assert_eq!(SLOT.write(&written, &fields()).unwrap(), written, "a second time changes nothing");
    }
}

#[test]
fn an_entry_of_another_kind_is_replaced_as_a_whole() {
    for old in ["{\"type\": \"remote\", \"url\": \"x\"}", "7", "null", "{\"url\": \"x\"}"] {
        let text = format!("{{\"mcp\": {{\"pyro\": {old}, \"b\": 2}}}}\n");
        let written = SLOT.write(&text, &fields()).unwrap();
        let entry = SLOT.read(&written).unwrap().unwrap();
        assert_eq!(
            entry,
            json!({"type": "local", "command": ["/p", "mcp", "serve"], "enabled": true}),
            "{old}"
        );
        assert!(written.contains("\"b\": 2"), "{written}");
    }
}

#[test]
fn what_is_malformed_is_refused() {
    let cases = [
        ("{\"mcp\": [", "line 1"),
        ("[]", "not one JSON object"),
        ("7", "not one JSON object"),
        ("{\"mcp\": 7}", "`mcp` is not an object"),
        ("{\"mcp\": {}, \"mcp\": {}}", "`mcp` twice"),
        ("{\"mcp\": {\"pyro\": {}, \"p\\u0079ro\": {}}}", "`pyro` twice"),
        ("{'mcp': {}}", "line 1"),
        ("{mcp: {}}", "line 1"),
        ("{\"mcp\": {}} x", "line 1"),
    ];
    for (text, reason) in cases {
        let read = SLOT.read(text).unwrap_err();
        let written = SLOT.write(text, &fields()).unwrap_err();
        assert!(read.contains(reason) && written.contains(reason), "{text}: {read}, {written}");
    }
    let strict = Slot { dialect: Dialect::Json, ..SLOT };
    for text in ["{} // a", "{\"a\": 1,}"] {
        assert!(strict.read(text).is_err(), "{text}");
        assert!(SLOT.read(text).is_ok(), "{text}");
    }
}

#[test]
fn line_ends_stay_what_they_are() {
    let written = SLOT.write("{\r\n  \"a\": 1\r\n}", &fields()).unwrap();
    assert!(written.ends_with("}\r\n") && !written.replace("\r\n", "").contains('\n'), "{written:?}");
}

/// Whether all of `part`, but for spaces, is in `whole`, in this order.
fn is_within(part: &str, whole: &str) -> bool {
    let mut rest = whole.chars();
    part.chars()
        .filter(|character| !character.is_whitespace())
        .all(|wanted| rest.any(|character| character == wanted))
}

fn space() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just(" ".to_owned()),
        Just("\n\t".to_owned()),
        Just(" // a, \"b\" {\n".to_owned()),
        Just(" /* } */ ".to_owned()),
    ]
}

/// Any value, with spaces and comments anywhere, as text.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("-1.50e+3".to_owned()),
        Just("12345678901234567890".to_owned()),
        "\"[a-z/ü{}]{0,5}\"",
        Just("\"\\u0041\\\"//\"".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec((space(), inner.clone(), space()), 0..3).prop_map(|values| {
                let values: Vec<_> = values.into_iter().map(|(a, value, b)| a + &value + &b).collect();
                format!("[{}]", values.join(","))
            }),
            (entries(inner), space(), any::<bool>())
                .prop_map(|(entries, space, comma)| object_of(&entries, &space, comma)),
        ]
    })
}

fn entries(value: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<String>> {
    let entry = (space(), value, space(), space());
    prop::collection::vec(entry, 0..4).prop_map(|entries| {
        let entries = entries.into_iter().enumerate();
        entries.map(|(number, (a, value, b, c))| format!("{a}\"k{number}\"{b}:{c}{value}")).collect()
    })
}

fn object_of(entries: &[String], space: &str, comma: bool) -> String {
    let comma = if comma && !entries.is_empty() { "," } else { "" };
    format!("{{{}{space}{comma}{space}}}", entries.join(","))
}

proptest! {
    #[test]
    fn all_other_text_survives(
        servers in entries(value()),
        others in entries(value()),
        (before, inside, after) in (space(), space(), space()),
        (comma, in_the_middle, has_section) in any::<(bool, bool, bool)>(),
    ) {
        let mut all = others;
        if has_section {
            let at = if in_the_middle { all.len() / 2 } else { all.len() };
            all.insert(at, format!("{inside}\"mcp\"{inside}:{}", object_of(&servers, &inside, comma)));
        }
        let text = format!("{before}{}{after}", object_of(&all, &inside, comma));
        prop_assert!(SLOT.read(&text).unwrap().is_none());
        let written = SLOT.write(&text, &fields()).unwrap();
        prop_assert!(is_within(&text, &written), "{text}\nbecame\n{written}");
        let entry = SLOT.read(&written).unwrap().unwrap();
        prop_assert_eq!(entry, json!({"type": "local", "command": ["/p", "mcp", "serve"], "enabled": true}));
        let value_of = |text: &str| SLOT.parse(text).unwrap().to_serde_value().unwrap();
        let (mut was, mut is) = (value_of(&text), value_of(&written));
        for value in [&mut was, &mut is] {
            let section = value.as_object_mut().unwrap().entry("mcp").or_insert_with(|| json!({}));
            section.as_object_mut().unwrap().remove("pyro");
        }
        prop_assert_eq!(was, is);
        prop_assert_eq!(SLOT.write(&written, &fields()).unwrap(), written);
    }
}
