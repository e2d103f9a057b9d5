//! A disk that is too small for a template: machines boot, and everybody says why.

use crate::own_templates::{DEFAULT_SHAPE, OwnTemplates, says, template_issue};
use pyro_testkit::{Pyro, SmallDisk, Value};

#[test]
fn a_template_that_does_not_fit_is_not_there_and_the_disk_is_named() {
    const FULL: &str = "ram: No space left on device";
    let templates = OwnTemplates::none();
    let disk = SmallDisk::on(&templates.templates(), 40);
    let call = |pyro: Pyro| -> Value { pyro.wrapped_in(disk.enter()).run().expect(0).json() };
    let prepare = |flags: &[&str]| call(templates.pyro(&["prepare", "--json"]).args(flags));
    let run = || call(templates.run(&[]));

    let prepared = prepare(&[]);
    assert_eq!((&prepared["reused"], &prepared["start"]), (&false.into(), &"cold".into()), "{prepared}");
    assert_eq!(prepared["template"], Value::Null, "{prepared}");
    assert!(says(&prepared["cold_start_reason"], FULL), "{prepared}");
    let rejected = [format!("{DEFAULT_SHAPE}.lock"), format!("{DEFAULT_SHAPE}.rejected.json")];
    assert_eq!(disk.files(), rejected);
    let booted = run();
    assert!(booted["start"] == "cold" && says(&booted["cold_start_reason"], FULL), "{booted}");
    let doctor = call(templates.pyro(&["doctor", "--json"]));
    assert_eq!(doctor["environment"]["next_start"], "cold");
    let issue = template_issue(&doctor).unwrap();
    assert!(says(&issue["problem"], FULL) && says(&issue["way_out"], "pyro prepare --force"), "{doctor}");

    // Room for one, but not for the next one beside it: that one stays in use.
    disk.resize(200);
    let made = prepare(&["--force"]);
    assert_eq!((&made["reused"], &made["start"]), (&false.into(), &"warm".into()), "{made}");
    let files = disk.files();
    let forced =
        templates.pyro(&["prepare", "--json", "--force"]).wrapped_in(disk.enter()).run().expect(1).json();
    assert!(says(&forced["error"]["message"], FULL) && forced["error"]["hint"].is_string(), "{forced}");
    assert_eq!(disk.files(), files);
    assert_eq!(run()["start"], "warm");
}
