//! A template serves the machines that it was made for, and is removed when there can be none any more.

use crate::OTHER_DIGEST;
use crate::broken_environment::copy_of_environment;
use crate::own_templates::{DEFAULT_SHAPE, OwnTemplates, says};
use pyro_testkit::{Value, edit_json};
use std::fs;

const OTHER_SHAPE: &str = "debian-12-2x512";

#[test]
fn a_template_for_something_else_is_not_used_and_made_anew() {
    let templates = OwnTemplates::copied();
    assert_eq!(templates.prepare(&[])["start"], "warm");
    for (part, said) in [
        ("image", "another build of the environment"),
        ("machine", "another kind of machine"),
        ("bundle", "another kernel or VMM"),
        ("host", "another host or processor"),
        ("agent", "another agent"),
    ] {
        let was = change_key(&templates, part, OTHER_DIGEST.into());
        let doctor = templates.doctor();
        let environment = &doctor["environment"];
        assert_eq!(environment["next_start"], "cold", "{part}");
        for reason in ["stale_reason", "cold_start_reason"] {
            assert!(says(&environment[reason], &format!("the template was made for {said}")), "{doctor}");
        }
        change_key(&templates, part, was);
    }
    assert_eq!(templates.doctor()["environment"]["daily_loop"], "WARM");
    change_key(&templates, "agent", OTHER_DIGEST.into());
    templates.expect_cold("the template was made for another agent");
    let prepared = templates.prepare(&[]);
    assert_eq!((&prepared["reused"], &prepared["start"]), (&false.into(), &"warm".into()), "{prepared}");
    templates.expect_one_template();
    templates.expect_warm();
}

/// Makes it a template for something else; returns what it was for.
fn change_key(templates: &OwnTemplates, part: &str, value: Value) -> Value {
    let mut was = Value::Null;
    templates.edit_manifest(|manifest| was = std::mem::replace(&mut manifest["key"][part], value));
    was
}

#[test]
fn pruning_keeps_the_template_that_fits_and_says_what_it_removed() {
    let templates = OwnTemplates::copied();
    let environments = copy_of_environment(&templates);
    let prune = |flags: &[&str]| {
        let pyro = templates.pyro(&["env", "prune"]).args(flags);
        pyro.env("PYRO_ENVIRONMENT_CACHE_DIR", &environments).run().expect(0)
    };
    let good = templates.files();
    let mut expected = [add_one_for_another_agent(&templates), add_leftovers(&templates)].concat();
    expected.sort();
    fs::write(templates.templates().join("notes.txt"), "mine").unwrap();

    let pruned = prune(&["--json"]).json();
    let removed = pruned["removed"].as_array().unwrap();
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap().to_owned();
    let mut told: Vec<_> = removed.iter().map(|entry| (text(entry, "file"), text(entry, "reason"))).collect();
    told.sort();
    assert_eq!(told, expected);
    assert_eq!(pruned["count"], expected.len());
    // The lock of the other one stays: somebody may be waiting for it.
    let mut kept = [good, vec![format!("{OTHER_SHAPE}.lock"), "notes.txt".to_owned()]].concat();
    kept.sort();
    assert_eq!(templates.files(), kept);
    assert_eq!(prune(&[]).text(), "nothing to remove\n");
    templates.expect_warm();

    // A template goes with the environment that it was made of.
    fs::remove_file(environments.join("debian-12.json")).unwrap();
    let pruned = prune(&[]);
    let line = format!("removed {DEFAULT_SHAPE}.json (a template that no longer fits, ");
    assert!(pruned.text().lines().any(|told| told.starts_with(&line)), "{}", pruned.text());
}

/// What pruning has to say of a file, and why it goes.
type Told = (String, String);

/// Adds what is whole, but was made for another agent.
fn add_one_for_another_agent(templates: &OwnTemplates) -> Vec<Told> {
    let directory = templates.templates();
    let manifest = format!("{OTHER_SHAPE}.json");
    fs::copy(templates.manifest(), directory.join(&manifest)).unwrap();
    edit_json(&directory.join(&manifest), |manifest| {
        manifest["key"]["vcpu_count"] = 2.into();
        manifest["key"]["mem_mib"] = 512.into();
        manifest["key"]["agent"] = OTHER_DIGEST.into();
    });
    let content = ["ram", "state"].map(|kind| format!("{OTHER_SHAPE}-0123456789abcdef.{kind}"));
    for file in &content {
        fs::write(directory.join(file), "content").unwrap();
    }
    let files = [vec![manifest], content.to_vec()].concat();
    files.into_iter().map(|file| (file, "a template that no longer fits".to_owned())).collect()
}

/// Adds what an interrupted build and a template that was replaced have left.
fn add_leftovers(templates: &OwnTemplates) -> Vec<Told> {
    fs::create_dir(templates.build_directory()).unwrap();
    fs::write(templates.build_directory().join("ram"), "half").unwrap();
    let orphan = format!("{DEFAULT_SHAPE}-0123456789abcdef.ram");
    fs::write(templates.templates().join(&orphan), "replaced").unwrap();
    vec![
        (format!(".build-{DEFAULT_SHAPE}"), "left by an interrupted build".to_owned()),
        (orphan, "not in use".to_owned()),
    ]
}
