//! Several processes at once.

use crate::{DEBIAN, SUITE, run};

#[test]
fn two_runs_at_once_do_not_see_each_other() {
    let home = SUITE.with(DEBIAN);
    let both = ["first", "second"]
        .map(|word| (word, run(&home, &[], &["sh", "-c", &format!("sleep 1; echo {word}")]).spawn()));
    for (word, running) in both {
        assert_eq!(running.wait().expect(0).text(), format!("{word}\n"));
    }
    assert!(home.machines().is_empty());
}

#[test]
fn two_pulls_at_once_are_both_answered() {
    let home = SUITE.with(DEBIAN);
    let pulls = [(); 2].map(|()| home.pyro(["env", "pull", DEBIAN, "--json"]).spawn());
    let [first, second] = pulls.map(|pull| pull.wait().expect(0).json());
    assert_eq!(first["state"], "installed");
    assert_eq!(first["manifest"]["digest"], second["manifest"]["digest"]);
}
