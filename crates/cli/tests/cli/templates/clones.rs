//! Machines from one template: what must not be the same in two of them is not, and their clocks are right.

use crate::sdk::{block_on, prepared};
use crate::{DEBIAN, SUITE, sh};
use pyro::StartKind;
use pyro::vm::Throwaway;
use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

/// What each machine must have to itself, and how it is asked for.
const OWN: [(&str, &str); 10] = [
    ("urandom", "head -c 16 /dev/urandom | od -An -tx1"),
    // The system call itself, which no library stands before.
    ("getrandom", r#"perl -e '$b = "\0" x 16; syscall(318, $b, 16, 0) == 16 or die; print unpack "H*", $b'"#),
    ("uuid", "cat /proc/sys/kernel/random/uuid"),
    ("boot_id", "cat /proc/sys/kernel/random/boot_id"),
    ("machine-id", "cat /etc/machine-id"),
    ("hostname", "hostname"),
    ("etc-hostname", "cat /etc/hostname"),
    ("rand", "perl -e 'print rand'"),
    ("mktemp", "mktemp -u"),
    ("stack", r"sed -n 's/ .*\[stack\]//p' /proc/self/maps"),
];

/// How many machines run at once, and how often.
const AT_ONCE: usize = 3;
const ROUNDS: usize = 2;

#[test]
fn no_two_clones_share_randomness_or_a_name() {
    let home = SUITE.with(DEBIAN);
    let lines: Vec<String> = OWN.iter().map(|(name, command)| format!("echo {name} $({command})")).collect();
    let script = lines.join("\n");
    let clone = || sh(&home, &["--json"], &script).spawn();
    let mut seen = BTreeSet::new();
    for _ in 0..ROUNDS {
        let started = [(); AT_ONCE].map(|()| clone());
        for running in started {
            let result = running.wait().expect(0).json();
            assert_eq!(result["start"], "warm", "{result}");
            let printed = result["stdout"].as_str().unwrap();
            assert_eq!(printed.lines().count(), OWN.len(), "{printed}");
            for (line, (name, _)) in printed.lines().zip(OWN) {
                let value = line.strip_prefix(name).map(str::trim).unwrap_or_default();
                assert!(!value.is_empty(), "{line}");
                assert!(seen.insert((name, value.to_owned())), "two clones have the same {name}: {value}");
            }
        }
    }
    assert_eq!(seen.len(), OWN.len() * ROUNDS * AT_ONCE);
}

#[test]
fn no_clone_has_keys_that_others_know() {
    let home = SUITE.with(DEBIAN);
    let run = sh(&home, &[], "ls /etc/ssh/ssh_host_* /var/lib/systemd/random-seed /var/lib/dbus/machine-id");
    assert!(run.run().expect(2).stdout.is_empty());
}

#[test]
fn the_clock_of_a_clone_is_the_hosts() {
    const TOLERANCE: f64 = 0.05;
    const CLONES: usize = 3;
    const READINGS: usize = 4;
    let (home, pyro) = prepared();
    block_on(async {
        let mut clones = Vec::new();
        for _ in 0..CLONES {
            clones.push(Throwaway::create(&pyro, DEBIAN, 1, 1024).await.unwrap());
        }
        for _ in 0..READINGS {
            for clone in &clones {
                assert_eq!(clone.start(), StartKind::Warm);
                let before = now();
                let (exit_code, printed) = clone.exec(&["date", "+%s.%N"]).await.unwrap();
                let after = now();
                assert_eq!(exit_code, 0);
                let guest: f64 = printed.trim().parse().unwrap();
                let range = before - TOLERANCE..=after + TOLERANCE;
                assert!(range.contains(&guest), "{guest:.3} there, {before:.3} to {after:.3} here");
            }
        }
        for clone in clones {
            clone.delete().await;
        }
    });
    assert!(home.machines().is_empty());
}

/// Seconds since the Unix epoch.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}
