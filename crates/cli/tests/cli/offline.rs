//! Nothing needs the network once everything is there.

use crate::{CLOSED_MIRROR, DEBIAN, SUITE, run};

#[test]
fn a_second_run_needs_no_network() {
    let home = SUITE.with(DEBIAN);
    let run = run(&home, &[], &["git", "--version"]).env("PYRO_DEBIAN_MIRROR", CLOSED_MIRROR).run().expect(0);
    assert!(run.text().starts_with("git version"));
    for arguments in [&["runtime", "fetch"][..], &["runtime", "verify"], &["env", "pull", DEBIAN]] {
        let call = home.pyro(arguments).env("PYRO_DEBIAN_MIRROR", CLOSED_MIRROR).run().expect(0);
        assert!(!call.stderr.contains("phase=resolve"), "{arguments:?}: {}", call.stderr);
    }
}
