//! What a guest is given, and what it is not.

use crate::{DEBIAN, SUITE, run, sh};

#[test]
fn there_is_no_network_but_the_guests_own_loopback() {
    let home = SUITE.with(DEBIAN);
    let script = "ls /sys/class/net; ip -o address show dev lo | grep -c 127.0.0.1; ip route show table all | \
                  grep -vc 'dev lo'; cat /etc/hosts >/dev/null && getent hosts localhost | grep -c .";
    let run = sh(&home, &[], script).run();
    assert_eq!(run.text(), "lo\n1\n0\n1\n", "{}", run.stderr);
}

#[test]
fn nothing_of_one_run_is_in_the_next() {
    let home = SUITE.with(DEBIAN);
    let files = "/workspace/trace /etc/trace /tmp/trace /root/trace /usr/bin/trace /run/trace";
    let first = sh(&home, &[], &format!("touch {files} && cat /etc/machine-id && hostname")).run().expect(0);
    let second = sh(&home, &[], &format!("ls {files}; cat /etc/machine-id && hostname")).run().expect(0);
    assert_eq!(second.text().lines().count(), 2, "{}", second.text());
    let lines = first.text().lines().zip(second.text().lines());
    assert!(lines.clone().count() == 2 && lines.into_iter().all(|(first, second)| first != second));
}

#[test]
fn the_kernels_modules_are_there() {
    let home = SUITE.with(DEBIAN);
    let script = "cd /lib/modules/$(uname -r) && for module in tun wireguard nf_tables btrfs; do \
                  file=$(sed -n \"s,^\\([^:]*/$module\\.ko[^:]*\\):.*,\\1,p\" modules.dep) && test -s \"$file\" || exit 1; done";
    sh(&home, &[], script).run().expect(0).text();
}

#[test]
fn processors_and_memory_are_as_asked() {
    let home = SUITE.with(DEBIAN);
    let flags = ["--vcpu-count", "2", "--mem-mib", "512"];
    let run =
        sh(&home, &flags, "nproc; awk '/MemTotal/ { print int($2 / 1024) }' /proc/meminfo").run().expect(0);
    let [processors, memory] =
        run.text().lines().map(|line| line.parse::<u32>().unwrap()).collect::<Vec<_>>()[..]
    else {
        panic!("{}", run.text())
    };
    assert_eq!(processors, 2);
    assert!((400..=512).contains(&memory), "{memory} MiB");
}

#[test]
fn a_command_that_wants_more_memory_than_there_is_fails_alone() {
    let home = SUITE.with(DEBIAN);
    let hungry = ["perl", "-e", "my @all; push @all, 'x' x 1048576 while 1"];
    let run =
        run(&home, &["--mem-mib", "256", "--timeout-seconds", "60", "--json"], &hungry).run().expect(137);
    let result = run.json();
    assert_eq!(result["exit_code"], 137, "killed by the guest's kernel");
    assert_eq!(result["timed_out"], false);
}

#[test]
fn a_root_that_is_full_is_the_commands_failure() {
    let home = SUITE.with(DEBIAN);
    let script = "df --output=size -BM /workspace | tail -1; fallocate -l 100T /workspace/x";
    let run = sh(&home, &[], script).run().expect(1);
    assert!(run.stderr.contains("fallocate"), "{}", run.stderr);
}

#[test]
fn the_clock_is_the_hosts() {
    let home = SUITE.with(DEBIAN);
    let run = run(&home, &[], &["date", "+%s"]).run().expect(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let guest: u64 = run.text().trim().parse().unwrap();
    assert!(now.abs_diff(guest) < 30, "{guest} there, {now} here");
}

#[test]
fn a_guest_that_powers_itself_off_is_told_as_such() {
    let home = SUITE.with(DEBIAN);
    let run = sh(&home, &["--json"], "echo b > /proc/sysrq-trigger; sleep 20").run();
    run.refused((125, "guest_unavailable"));
}
