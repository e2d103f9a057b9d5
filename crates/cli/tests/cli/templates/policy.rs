//! `PYRO_TEMPLATES`: whether a template is used is up to the user, and to be seen in nothing but the time it takes.

use crate::{DEBIAN, SUITE, sh};
use pyro_testkit::{Home, Value};

/// What a command can see of its machine, but for names, times, numbers of processes, and the clock's rate, which is
/// measured anew for each kernel.
const LOOK: &str = "
    git --version; head -c 3 /etc/hostname; echo
    stat -c '%A %U:%G %s %n' /tmp /workspace /root /run /dev/shm /etc/hostname /etc/hosts /etc/machine-id
    ls -A / /root /workspace /tmp /run /dev/shm; ls /dev
    nproc; sed 's/tsc_early_khz=[0-9]*//' /proc/cmdline; mount | sort; ip -o link show; ip -o address show
    id; pwd; umask; env | sort; ulimit -a; nice; grep -E '^(Cap|NoNewPrivs|Seccomp)' /proc/self/status
    cat /proc/self/cgroup /proc/self/oom_score_adj; ls /proc/self/fd | wc -l
    cat /etc/resolv.conf /etc/hosts | sed 's/vm-[0-9a-f]*/vm/'";

fn look(home: &Home, policy: &str) -> Value {
    sh(home, &["--json"], LOOK).env("PYRO_TEMPLATES", policy).run().json()
}

#[test]
fn a_machine_is_the_same_whether_it_came_from_a_template_or_booted() {
    let home = SUITE.with(DEBIAN);
    let [warm, cold] = [look(&home, "manual"), look(&home, "off")];
    assert_eq!((&warm["start"], &cold["start"]), (&"warm".into(), &"cold".into()));
    for result in [&warm, &cold] {
        // Off is not a reason: nothing else was to be expected.
        assert_eq!(result["cold_start_reason"], Value::Null, "{result}");
    }
    let lines = |result: &Value| -> Vec<String> {
        result["stdout"].as_str().unwrap().lines().map(str::to_owned).collect()
    };
    let (of_warm, of_cold) = (lines(&warm), lines(&cold));
    assert!(of_warm[0].starts_with("git version 2."), "{}", of_warm[0]);
    // Line by line, or the one that differs would not be found among a hundred.
    for (warm, cold) in of_warm.iter().zip(&of_cold) {
        assert_eq!(warm, cold);
    }
    assert_eq!(of_warm.len(), of_cold.len());
    for field in ["stderr", "exit_code", "engine", "execution_mode"] {
        assert_eq!(warm[field], cold[field], "{field}");
    }
}

#[test]
fn off_is_what_it_says_for_prepare_and_doctor_too() {
    let home = SUITE.without_templates(DEBIAN);
    let off = |arguments: &[&str]| home.pyro(arguments).env("PYRO_TEMPLATES", "off").run().expect(0).json();
    let prepared = off(&["prepare", "--json"]);
    assert_eq!((&prepared["start"], &prepared["template"]), (&"cold".into(), &Value::Null), "{prepared}");
    assert_eq!(std::fs::read_dir(home.templates()).unwrap().count(), 0);
    let environment = &off(&["doctor", "--json"])["environment"];
    assert_eq!(environment["daily_loop"], "WARM", "prepared as well as it can be: {environment}");
    assert_eq!(environment["next_start"], "cold");
    assert_eq!(environment["cold_start_reason"], "templates are not used here");
}

#[test]
fn a_policy_without_a_meaning_is_refused() {
    let home = SUITE.with(DEBIAN);
    for command in [&["run", DEBIAN, "--", "true"][..], &["prepare"], &["doctor"], &["env", "list"]] {
        let run = home.pyro(command).env("PYRO_TEMPLATES", "sometimes").run().expect(2);
        assert!(run.stdout.is_empty(), "{command:?}");
        for said in ["`sometimes`", "auto, manual or off", " hint: "] {
            assert!(run.stderr.contains(said), "{command:?}: {}", run.stderr);
        }
    }
    let run = sh(&home, &["--json"], "true").env("PYRO_TEMPLATES", "OFF").run().expect(2);
    assert_eq!(run.json()["error"]["code"], "invalid_input");
}
