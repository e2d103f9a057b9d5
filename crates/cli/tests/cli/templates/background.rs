//! Templates that nobody asked for: made after a cold start, by a process for which nobody waits.

use crate::DEBIAN;
use crate::own_templates::{DEFAULT_SHAPE, OwnTemplates, says};
use pyro_testkit::{Pyro, Value};
use std::fs;
use std::time::Duration;

/// A process that has made a template has nothing else to do.
const GONE_DEADLINE: Duration = Duration::from_secs(10);
const NONE: &str = "there is no template for this environment and machine";

/// `run FLAGS --json -- CMD` where templates are made after cold starts.
fn auto(templates: &OwnTemplates, flags: &[&str], command: &[&str]) -> Pyro {
    let pyro = templates.pyro(&["run", DEBIAN, "--json"]).env("PYRO_TEMPLATES", "auto");
    pyro.args(flags).args(["--"]).args(command)
}

#[test]
fn a_template_follows_a_cold_start_and_others_may_run_meanwhile() {
    let templates = OwnTemplates::none();
    let first = templates.run(&[]).env("PYRO_TEMPLATES", "auto").run().expect(0).json();
    assert_eq!((&first["start"], &first["cold_start_reason"]), (&"cold".into(), &NONE.into()));
    templates.expect_soon(&format!(".build-{DEFAULT_SHAPE}"));
    let meanwhile = templates.run(&[]).env("PYRO_TEMPLATES", "auto").run().expect(0).json();
    assert_eq!(meanwhile["exit_code"], 0);
    templates.expect_soon(&format!("{DEFAULT_SHAPE}.json"));
    templates.expect_no_process_within(GONE_DEADLINE);
    templates.expect_one_template();
    templates.expect_warm();
}

/// A shape of a machine: flags, a command that tells, what that prints, and the name of the template.
type Shape = (&'static [&'static str], &'static [&'static str], &'static str, &'static str);

const SHAPES: [Shape; 2] = [
    (&["--vcpu-count", "2", "--mem-mib", "512"], &["nproc"], "2\n", "debian-12-2x512"),
    (
        &["--mem-mib", "192"],
        &["awk", "/MemTotal/ { print $2 < 192 * 1024 }", "/proc/meminfo"],
        "1\n",
        "debian-12-1x192",
    ),
];

#[test]
fn every_shape_gets_a_template_of_its_own() {
    let templates = OwnTemplates::none();
    for (flags, command, printed, _) in SHAPES {
        let first = auto(&templates, flags, command).run().expect(0).json();
        assert_eq!((&first["start"], &first["cold_start_reason"]), (&"cold".into(), &NONE.into()));
        assert_eq!(first["stdout"], printed);
    }
    for (flags, command, printed, name) in SHAPES {
        templates.expect_soon(&format!("{name}.json"));
        let second = auto(&templates, flags, command).run().expect(0).json();
        assert_eq!((&second["start"], &second["cold_start_reason"]), (&"warm".into(), &Value::Null));
        assert_eq!(second["stdout"], printed);
    }
    templates.expect_no_process_within(GONE_DEADLINE);
    assert_eq!(templates.files().len(), 7 * SHAPES.len(), "{:?}", templates.files());
}

#[test]
fn a_machine_that_is_too_small_is_refused_and_gets_none() {
    let templates = OwnTemplates::none();
    let run = auto(&templates, &["--mem-mib", "100"], &["true"]).run().expect(2);
    let error = &run.json()["error"];
    assert!(says(&error["message"], "mem_mib must be between 192 and 65536, not 100"), "{error}");
    assert_eq!(templates.processes(), []);
    assert_eq!(templates.files(), [] as [&str; 0]);
}

#[test]
fn one_that_was_damaged_is_replaced_where_nobody_prepares() {
    let templates = OwnTemplates::copied();
    fs::remove_file(templates.file("ram")).unwrap();
    let damaged = templates.run(&[]).env("PYRO_TEMPLATES", "auto").run().expect(0).json();
    assert!(says(&damaged["cold_start_reason"], ".ram is missing"), "{damaged}");
    templates.expect_no_process_within(Duration::from_mins(1));
    templates.expect_one_template();
    templates.expect_warm();
}
