//! A preparation that is no longer true: `doctor` says what has changed, and the next one does not answer from the
//! record.

use super::doctor;
use crate::own_templates::says;
use crate::{DEBIAN, OTHER_DIGEST, SUITE};
use pyro_testkit::{Home, edit_json};
use std::fs;
use std::path::Path;

#[test]
fn whatever_changed_since_is_named_and_proven_anew() {
    let home = SUITE.with(DEBIAN);
    let record = home.state().join("prepared/debian-12.json");
    prepare_anew(&home);
    let unreadable = |record: &Path| fs::write(record, "{").unwrap();
    expect_stale(&home, &record, unreadable, "the record of its preparation is unreadable");
    for (part, value, said) in [
        ("catalog_version", "0", "another version of the catalog"),
        ("platform", "linux-aarch64", "on another platform"),
        ("environment_digest", OTHER_DIGEST, "it was built anew since"),
        ("bundle", OTHER_DIGEST, "the runtime has changed"),
        ("host", OTHER_DIGEST, "the host has changed"),
        // A field of a later version may mean anything.
        ("unheard_of", "", "the record of its preparation is unreadable"),
    ] {
        let change = |record: &Path| edit_json(record, |record| record[part] = value.into());
        expect_stale(&home, &record, change, said);
    }
}

fn expect_stale(home: &Home, record: &Path, change: impl FnOnce(&Path), said: &str) {
    change(record);
    let report = doctor(home);
    let environment = &report["environment"];
    assert_eq!(environment["daily_loop"], "STALE", "{said}: {environment}");
    assert!(says(&environment["stale_reason"], said), "{said}: {environment}");
    // The template is as good as it was.
    assert_eq!(environment["next_start"], "warm", "{environment}");
    assert_eq!(report["next_command"], "pyro prepare debian:12");
    prepare_anew(home);
}

fn prepare_anew(home: &Home) {
    let prepared = home.pyro(["prepare", "--json"]).run().expect(0).json();
    assert_eq!((&prepared["reused"], &prepared["start"]), (&false.into(), &"warm".into()), "{prepared}");
    assert_eq!(doctor(home)["environment"]["daily_loop"], "WARM");
}
