//! `pyro prepare`: what it promises, what it records, and what it does when something is in its way.

mod ended;
mod full_disk;
mod stale;

use crate::own_templates::{OwnTemplates, says};
use crate::{CLOSED_MIRROR, DEBIAN, SUITE};
use pyro_testkit::{Home, Value};

fn doctor(home: &Home) -> Value {
    home.pyro(["doctor", "--json"]).run().expect(0).json()
}

#[test]
fn the_first_proves_the_daily_loop_and_the_second_is_answered_from_the_record() {
    let home = SUITE.with(DEBIAN);
    assert_eq!(doctor(&home)["environment"]["daily_loop"], "COLD");
    let first = home.pyro(["prepare", "--json"]).run().expect(0);
    for step in ["create", "exec", "reset", "delete"] {
        assert!(first.stderr.contains(&format!("[prepare] phase=prove step={step}\n")), "{}", first.stderr);
        let took = first.json()["proof"][format!("{step}_ms")].as_u64();
        assert!(took.is_some_and(|took| took > 0), "{step}: {took:?}");
    }
    let first = first.json();
    assert_eq!((&first["reused"], &first["start"]), (&false.into(), &"warm".into()), "{first}");
    assert_eq!((&first["environment"], &first["network_proven"]), (&DEBIAN.into(), &false.into()));
    assert!(first["template"]["ram_disk_bytes"].is_u64() && first["template"]["state_bytes"].is_u64());

    let report = doctor(&home);
    let environment = &report["environment"];
    assert_eq!((&environment["daily_loop"], &environment["next_start"]), (&"WARM".into(), &"warm".into()));
    assert_eq!(
        (&environment["stale_reason"], &environment["cold_start_reason"]),
        (&Value::Null, &Value::Null)
    );
    assert!(says(&report["next_command"], "pyro run debian:12 -- "), "{report}");
    assert_eq!(report["capabilities"]["guest_exec"], true);

    let second = home.pyro(["prepare", "--json"]).env("PYRO_DEBIAN_MIRROR", CLOSED_MIRROR).run().expect(0);
    // It starts nothing, and so says nothing.
    assert_eq!(second.stderr, "");
    let mut expected = first;
    expected["reused"] = true.into();
    assert_eq!(second.json(), expected);
    let text = home.pyro(["prepare"]).run().expect(0);
    for said in ["nothing has changed since", "start from a template", "next:        pyro run debian:12 -- "]
    {
        assert!(text.text().contains(said), "{}", text.text());
    }
}

#[test]
fn force_makes_template_and_proof_anew() {
    let templates = OwnTemplates::copied();
    let first = templates.prepare(&[]);
    assert!(templates.prepare(&[])["reused"].as_bool().unwrap());
    let forced = templates.prepare(&["--force"]);
    assert_eq!((&forced["reused"], &forced["start"]), (&false.into(), &"warm".into()), "{forced}");
    assert_ne!(forced["prepared_at"], first["prepared_at"]);
    assert_ne!(forced["template"]["created_at"], first["template"]["created_at"]);
    templates.expect_one_template();
    templates.expect_warm();
}

#[test]
fn a_network_is_proven_once_and_when_it_is_asked_for() {
    let home = SUITE.with(DEBIAN);
    // The mirror is the place that has to be reached, and no guest reaches the host's loopback.
    let call = |flags: &[&str]| home.pyro(["prepare", "--json"]).args(flags);
    let failed =
        call(&["--network"]).env("PYRO_DEBIAN_MIRROR", CLOSED_MIRROR).run().refused((1, "unreachable"));
    assert!(says(&failed["message"], "127.0.0.1:1"), "{failed}");
    assert_eq!(doctor(&home)["environment"]["daily_loop"], "COLD");
    let prepare = |flags: &[&str]| {
        let prepared = call(flags).run().expect(0).json();
        (prepared["reused"].as_bool().unwrap(), prepared["network_proven"].as_bool().unwrap())
    };
    assert_eq!(prepare(&[]), (false, false));
    assert_eq!(doctor(&home)["capabilities"]["guest_network"], false);
    assert_eq!(prepare(&["--network"]), (false, true));
    assert_eq!(prepare(&["--network"]), (true, true));
    assert_eq!(prepare(&[]), (true, true));
    assert_eq!(doctor(&home)["capabilities"]["guest_network"], true);
}

#[test]
fn an_unknown_environment_is_answered_as_elsewhere() {
    let home = SUITE.bare();
    let near = home.pyro(["prepare", "debain:12"]).run().expect(1);
    assert!(near.stderr.contains("there is no environment `debain:12`"), "{}", near.stderr);
    assert!(near.stderr.contains("did you mean debian:12"), "{}", near.stderr);
    let error = home.pyro(["prepare", "nosuch:1", "--json"]).run().refused((1, "not_found"));
    assert!(says(&error["hint"], "pyro env list") && !says(&error["hint"], "did you mean"), "{error}");
    assert!(!home.cache().exists(), "nothing was fetched for it");
}

#[test]
fn prepared_without_a_template_it_is_prepared_again_when_there_can_be_one() {
    let templates = OwnTemplates::none();
    let without =
        || templates.pyro(&["prepare", "--json"]).env("PYRO_TEMPLATES", "off").run().expect(0).json();
    let booted = without();
    assert_eq!((&booted["reused"], &booted["start"]), (&false.into(), &"cold".into()), "{booted}");
    assert_eq!(without()["reused"], true, "as long as that is what is asked for");
    let prepared = templates.prepare(&[]);
    assert_eq!((&prepared["reused"], &prepared["start"]), (&false.into(), &"warm".into()), "{prepared}");
    assert!(prepared["template"]["ram_disk_bytes"].is_number(), "{prepared}");
    let booted = without();
    assert_eq!((&booted["reused"], &booted["start"]), (&false.into(), &"cold".into()), "{booted}");
}
