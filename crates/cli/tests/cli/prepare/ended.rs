//! `prepare --force` killed in whatever it does, and two of them at once: there is a whole template or none.

use crate::own_templates::OwnTemplates;
use pyro_testkit::{GONE_DEADLINE, Running, Signal, poll_until};
use std::path::Path;
use std::time::Duration;

/// Kills it at `moment`. No process survives.
fn kill_at(templates: &OwnTemplates, moment: impl FnOnce(&mut Running)) {
    let mut running = templates.pyro(&["prepare", "--force", "--json"]).spawn();
    moment(&mut running);
    running.signal(Signal::KILL);
    let ended = running.wait();
    assert_eq!(ended.signal, Some(9), "it had ended before: {}", ended.stderr);
    templates.expect_no_process_within(GONE_DEADLINE);
}

fn wait_for(file: &Path) {
    let there = poll_until(Duration::from_mins(1), || file.exists().then_some(()));
    assert!(there.is_some(), "{} never came", file.display());
}

#[test]
fn killed_at_any_moment_it_leaves_the_template_before_in_use() {
    let templates = OwnTemplates::copied();
    let build = templates.build_directory();
    let moments: [&dyn Fn(&mut Running); 4] = [
        &|running| running.wait_for_stderr("[prepare] phase=template"),
        // The guest boots.
        &|_| wait_for(&build.join("state")),
        // Its memory is being written.
        &|_| wait_for(&build.join("ram")),
        &|running| running.wait_for_stderr("[prepare] phase=prove step=create"),
    ];
    for moment in moments {
        kill_at(&templates, moment);
        templates.expect_warm();
    }
    let prepared = templates.prepare(&["--force"]);
    assert_eq!((&prepared["reused"], &prepared["start"]), (&false.into(), &"warm".into()), "{prepared}");
    templates.expect_one_template();
    templates.expect_warm();
}

#[test]
fn killed_while_it_writes_the_first_template_there_is_none() {
    let templates = OwnTemplates::none();
    let ram = templates.build_directory().join("ram");
    kill_at(&templates, |_| wait_for(&ram));
    assert!(ram.exists() && !templates.manifest().exists());
    templates.expect_cold("the template is being made, or whoever was making it was killed");
    let prepared = templates.prepare(&[]);
    assert_eq!((&prepared["reused"], &prepared["start"]), (&false.into(), &"warm".into()), "{prepared}");
    templates.expect_one_template();
    templates.expect_warm();
}

#[test]
fn interrupted_it_leaves_nothing_of_the_template_that_it_was_making() {
    for templates in [OwnTemplates::none(), OwnTemplates::copied()] {
        let before = templates.files();
        let running = templates.pyro(&["prepare", "--force"]).spawn();
        wait_for(&templates.build_directory().join("state"));
        running.signal(Signal::INT);
        let _reported = running.wait().expect(130);
        templates.expect_no_process_within(GONE_DEADLINE);
        let without_locks = |files: Vec<String>| {
            files.into_iter().filter(|file| file.strip_suffix(".lock").is_none()).collect::<Vec<_>>()
        };
        assert_eq!(without_locks(templates.files()), without_locks(before));
    }
}

#[test]
fn two_at_once_both_succeed_and_one_template_results() {
    let templates = OwnTemplates::copied();
    let both = [(); 2].map(|()| templates.pyro(&["prepare", "--force", "--json"]).spawn());
    let made = both.map(|running| {
        let prepared = running.wait().expect(0).json();
        assert_eq!((&prepared["reused"], &prepared["start"]), (&false.into(), &"warm".into()), "{prepared}");
        prepared["template"]["created_at"].clone()
    });
    assert!(made[0].is_string() && made[0] != made[1], "{made:?}");
    templates.expect_one_template();
    templates.expect_warm();
}
