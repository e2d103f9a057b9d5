//! Every profile and mode against the lists that users rely on, and what their models see against what they saw before.

use super::*;
use crate::{Mode, Profile};
use serde_json::json;
use std::collections::BTreeSet;

/// The tools of every profile and mode, which users rely on.
const LISTS: &str = include_str!("../../tests/tools.json");

fn exposures() -> Vec<(String, Exposure)> {
    let profiles = Profile::ALL.iter().map(|profile| (profile.to_string(), Exposure::Profile(*profile)));
    profiles.chain(Mode::ALL.iter().map(|mode| (mode.to_string(), Exposure::Mode(*mode)))).collect()
}

fn offer(exposure: Exposure) -> Offer {
    Offer::new(
        exposure,
        &Defaults { environment: "debian:12", project: "/workspace begins with the project." },
    )
}

#[test]
fn the_tools_are_those_that_users_rely_on() {
    let lists: Value = serde_json::from_str(LISTS).unwrap();
    for (name, exposure) in exposures() {
        let kind = if matches!(exposure, Exposure::Profile(_)) { "profiles" } else { "modes" };
        let offered: Vec<Value> = offer(exposure).names().map(Into::into).collect();
        assert_eq!(json!(offered), lists[kind][&name], "{name}");
    }
    let count = |kind: &str| lists[kind].as_object().unwrap().len();
    assert_eq!(count("profiles") + count("modes"), exposures().len());
    assert_eq!(lists["default_profile"], Profile::default().as_str());
}

#[test]
fn each_tool_of_a_mode_is_described_for_it() {
    let mut seen = BTreeSet::new();
    for (name, exposure) in exposures() {
        for tool in offer(exposure).tools() {
            let description = tool.description.unwrap_or_default();
            assert!(description.ends_with(['.', '!']), "{name}: {}: {description}", tool.name);
            assert!(tool.annotations.is_some() && tool.output_schema.is_some(), "{name}: {}", tool.name);
            // Not every host follows references.
            assert!(!tool.input_schema.contains_key("$defs"), "{name}: {}", tool.name);
            if matches!(exposure, Exposure::Mode(_)) {
                let is_new = seen.insert((tool.name.to_string(), description.to_string()));
                assert!(is_new, "{name}: {} is described as in another mode", tool.name);
            }
        }
    }
}

/// A name in a text for models is that of a tool that they have.
#[test]
fn no_text_names_a_tool_that_is_not_offered() {
    let all: BTreeSet<String> =
        offer(Exposure::Profile(Profile::WorkspaceFull)).names().map(Into::into).collect();
    for (name, exposure) in exposures() {
        let offer = offer(exposure);
        let mut texts = vec![("instructions".to_owned(), crate::guidance::purpose(exposure).to_owned())];
        texts.extend(offer.tools().into_iter().map(|tool| {
            let arguments = Value::Object(Map::clone(&tool.input_schema)).to_string();
            (tool.name.to_string(), tool.description.unwrap_or_default().into_owned() + &arguments)
        }));
        for (place, text) in texts {
            let words = text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
            for word in words.filter(|word| all.contains(*word)) {
                assert!(offer.get(word).is_some(), "{name}: {place} names {word}, which is not offered");
            }
        }
    }
}

#[test]
fn what_crosses_the_boundary_is_offered_where_it_is_needed() {
    let has = |exposure, tool: &str, argument: &str| {
        let offer = offer(exposure);
        offer.get(tool).unwrap().attr.input_schema["properties"].get(argument).is_some()
    };
    let full = Exposure::Profile(Profile::WorkspaceFull);
    assert!(has(full, "workspace_create", "secrets") && has(full, "workspace_exec", "secret_env"));
    assert!(has(full, "workspace_create", "network_policy"));
    for (name, exposure) in exposures() {
        if exposure == full || exposure == Exposure::Profile(Profile::VmRun) {
            continue;
        }
        assert!(!has(exposure, "workspace_create", "secrets"), "{name}");
        assert!(!has(exposure, "workspace_exec", "secret_env"), "{name}");
        let is_cold_start = exposure == Exposure::Mode(Mode::ColdStart);
        assert_eq!(has(exposure, "workspace_create", "network_policy"), is_cold_start, "{name}");
        let is_mode = matches!(exposure, Exposure::Mode(_));
        assert_eq!(has(exposure, "workspace_create", "allow_host_compat"), !is_mode, "{name}");
    }
}

#[test]
fn models_see_what_they_saw_before() {
    for (name, exposure) in exposures() {
        let seen: Map<String, Value> = offer(exposure)
            .tools()
            .into_iter()
            .map(|tool| {
                let mut seen = json!({ "description": tool.description });
                if exposure == Exposure::Profile(Profile::WorkspaceFull) {
                    seen["annotations"] = serde_json::to_value(&tool.annotations).unwrap();
                    seen["input"] = Value::Object(Map::clone(&tool.input_schema));
                } else {
                    let properties = tool.input_schema["properties"].as_object().unwrap();
                    seen["arguments"] = properties.keys().cloned().collect();
                }
                (tool.name.to_string(), seen)
            })
            .collect();
        insta::assert_snapshot!(name, serde_json::to_string_pretty(&seen).unwrap());
    }
}

#[test]
fn results_have_the_shapes_that_they_had_before() {
    let shapes: Map<String, Value> = offer(Exposure::Profile(Profile::WorkspaceFull))
        .tools()
        .into_iter()
        .map(|tool| (tool.name.to_string(), Value::Object(Map::clone(&tool.output_schema.unwrap()))))
        .collect();
    insta::assert_snapshot!("results", serde_json::to_string_pretty(&shapes).unwrap());
}
