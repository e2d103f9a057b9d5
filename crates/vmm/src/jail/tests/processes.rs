//! What a jailed process can do to others, to the kernel, and to its own end.

use super::{DEADLINE, Host, Outcomes, python, refused, until_it_says};
use crate::jail::{Jail, LandlockLevel};
use crate::process::KeptProcess;
use rustix::process::geteuid;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A process of the same user.
struct Bystander(Child);

impl Bystander {
    fn new() -> Self {
        Self(Command::new("/bin/sleep").arg("600").spawn().unwrap())
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test]
async fn other_processes_are_not_its_to_touch() {
    let host = Host::new();
    let mut bystander = Bystander::new();
    let pid = bystander.0.id();
    // Signal 0 and 18 (CONT) do no harm where they get through.
    let script = format!(
        "attempt('probe', lambda: os.kill({pid}, 0))
attempt('signal', lambda: os.kill({pid}, 18))
attempt('thread-signal', lambda: call(234, {pid}, {pid}, 18))
attempt('thread', lambda: call(200, {pid}, 18))
attempt('pidfd', lambda: os.close(call(434, {pid}, 0)))
attempt('limit', lambda: call(302, {pid}, 7, 0, 0))
attempt('owner', lambda: call(72, 0, 8, {pid}))
attempt('priority', lambda: call(141, 0, {pid}, 1))
attempt('io-priority', lambda: call(251, 1, {pid}, 2 << 13 | 4))
attempt('processors', lambda: os.sched_setaffinity({pid}, os.sched_getaffinity(0)))
attempt('fork', lambda: os.fork() or os._exit(0))
"
    );
    refused(&script, &host, host.jail()).await;
    let kill = format!(
        "attempt('kill', lambda: os.kill({pid}, 9))\nattempt('trace', lambda: call(101, 16, {pid}, 0, 0))\n"
    );
    let jailed = Outcomes::of(&kill, &host, Some(host.jail()), vec![]).await;
    assert_eq!((jailed.outcome("kill"), jailed.outcome("trace")), ("EPERM", "EPERM"));
    assert!(bystander.0.try_wait().unwrap().is_none());
}

/// Arguments are zero: what gets past the filter would fail otherwise, or do nothing.
#[tokio::test]
async fn system_calls_that_no_vmm_needs_are_denied() {
    let host = Host::new();
    let script = format!(
        "for number in {:?}:
    attempt(str(number), lambda: call(number, -1, 0, 0, 0, 0, 0))
attempt('clone3', lambda: call(435, 0, 0))
attempt('x32', lambda: call(0x40000000 | 39))
attempt('clone-process', lambda: call(56, 17, 0, 0, 0, 0) or os._exit(0))
attempt('clone-user', lambda: call(56, 0x10000000 | 0x10f00, 0, 0, 0, 0))
attempt('outlive', lambda: call(157, 1, 0, 0, 0, 0))
attempt('dumpable', lambda: call(157, 4, 0, 0, 0, 0))
attempt('own-signal', lambda: os.kill(os.getpid(), 0))
attempt('own-limit', lambda: call(302, 0, 7, 0, 0))
attempt('own-priority', lambda: call(141, 0, 0, 0))
attempt('priority-of-the-user', lambda: call(141, 2, 0, 0))
attempt('own-processors', lambda: os.sched_setaffinity(0, os.sched_getaffinity(0)))
thread = threading.Thread(target=lambda: attempt('in-thread', lambda: call(165, 0, 0, 0, 0, 0)))
thread.start()
thread.join()
",
        super::super::seccomp::DENIED
    );
    let jailed = Outcomes::of(&script, &host, Some(host.jail()), vec![]).await;
    for (attempt, outcome) in &jailed.attempts {
        let expected = match attempt.as_str() {
            "clone3" | "x32" => "ENOSYS",
            "dumpable" | "own-signal" | "own-limit" | "own-priority" | "own-processors" => "done",
            _ => "EPERM",
        };
        assert_eq!(outcome, expected, "{attempt}");
    }
    assert!(jailed.attempts.contains_key("in-thread"));
}

#[tokio::test]
async fn it_has_no_rights_but_to_open_its_files() {
    let host = Host::new();
    let own = std::fs::metadata(host.scratch.path()).unwrap();
    let script = "data = open('/dev/null')
header = (ctypes.c_uint32 * 2)(0x20080522, 0)
sets = (ctypes.c_uint32 * 6)()
libc.capget(header, sets)
for name, index in ('effective', 0), ('permitted', 1), ('inheritable', 2):
    print(name, sets[index] | sets[index + 3] << 32)
print('bounding', sum(1 << bit for bit in range(64) if libc.prctl(23, bit, 0, 0, 0) == 1))
print('no-new-privileges', libc.prctl(39, 0, 0, 0, 0))
print('user', os.getuid() == os.geteuid() == os.getgid(), os.getuid())
print('groups', os.getgroups())
attempt('regain', lambda: os.setuid(0))
attempt('chown', lambda: os.chown('disk', 1, 1))
";
    let jailed = Outcomes::of(script, &host, Some(host.jail()), vec![]).await;
    let level = jailed.level.as_ref().unwrap();
    assert_eq!(jailed.outcome("no-new-privileges"), "1");
    if geteuid().is_root() {
        // DAC_OVERRIDE and DAC_READ_SEARCH.
        for set in ["effective", "permitted", "inheritable", "bounding"] {
            assert_eq!(jailed.outcome(set), "6", "{set}");
        }
        assert_ne!(jailed.outcome("chown"), "done");
        if level.own_user {
            let user = jailed.outcome("user").strip_prefix("True ").unwrap();
            assert!(user.parse::<u32>().unwrap() >= 0x7000_0000, "{user}");
            assert_eq!(jailed.outcome("groups"), "[]");
            assert_eq!(jailed.outcome("regain"), "EPERM");
        }
    } else {
        for set in ["effective", "permitted", "inheritable"] {
            assert_eq!(jailed.outcome(set), "0", "{set}");
        }
        let own = std::os::unix::fs::MetadataExt::uid(&own);
        assert!(jailed.outcome("user").ends_with(&own.to_string()));
        assert_ne!(jailed.outcome("regain"), "done");
    }
}

#[tokio::test]
async fn it_inherits_what_it_is_given_and_nothing_else() {
    let host = Host::new();
    let (given, kept): (OwnedFd, OwnedFd) = {
        let open = || std::fs::File::open(host.path("home/secret")).unwrap().into();
        (open(), open())
    };
    let script = format!(
        "attempt('given', lambda: os.fstat({}))
attempt('kept', lambda: os.fstat({}))
print('open', sum(1 for fd in range(3, 256) if not libc.fcntl(fd, 1) < 0))
",
        given.as_raw_fd(),
        kept.as_raw_fd()
    );
    let jailed = Outcomes::of(&script, &host, Some(host.jail()), vec![given]).await;
    assert_eq!(jailed.outcome("given"), "done");
    assert_eq!(jailed.outcome("kept"), "EBADF");
    assert_eq!(jailed.outcome("open"), "1");
}

#[tokio::test]
async fn descriptors_have_names_only_where_they_are_asked_for() {
    let host = Host::new();
    let script = "descriptor = os.memfd_create('memory')
attempt('name', lambda: open(f'/proc/self/fd/{descriptor}', 'r+b').close())
attempt('maps', lambda: read('/proc/self/maps'))
attempt('root', lambda: os.listdir('/proc/self/root'))
";
    let jail = Jail { named_descriptors: true, ..host.jail() };
    let named = Outcomes::of(script, &host, Some(jail), vec![]).await;
    assert_eq!(named.outcome("name"), "done");
    assert_ne!(named.outcome("maps"), "done");
    assert_ne!(named.outcome("root"), "done");
    let unnamed = Outcomes::of(script, &host, Some(host.jail()), vec![]).await;
    assert!(!unnamed.in_namespaces() || unnamed.outcome("name") == "ENOENT");
}

/// What the host offers is found out by a process without a jail, in the same way.
#[tokio::test]
async fn all_that_the_host_offers_is_entered() {
    let host = Host::new();
    // landlock_create_ruleset for its version; unshare, for a user namespace as well, and mount.
    let script = "attempt('landlock', lambda: call(444, 0, 0, 1))
root = ctypes.cast(ctypes.c_char_p(b'/'), ctypes.c_void_p).value
attempt('namespaces', lambda: (call(272, 0x4c020000 | (os.geteuid() and 0x10000000)), call(165, 0, root, 0, 0x44000, 0)))
";
    let free = Outcomes::of(script, &host, None, vec![]).await;
    let command =
        python("print('ready', flush=True)\n__import__('time').sleep(600)\n", &host.path("machines/own"));
    let process = KeptProcess::start(command, Some(host.jail()), vec![]).await.unwrap();
    let level = process.jail().unwrap();
    assert_eq!(free.outcome("landlock") == "done", level.landlock != LandlockLevel::None, "{level:?}");
    if free.outcome("namespaces") != "done" {
        return eprintln!("skipped: no namespaces here: {level:?}");
    }
    assert_eq!(level.namespaces, Ok(()));
    until_it_says("ready", &process).await;
    for namespace in ["mnt", "net", "ipc", "uts"] {
        let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/{namespace}")).unwrap();
        assert_ne!(of(&process.pid().to_string()), of("self"), "{namespace}");
    }
}

/// A pyro that starts a jailed process, says which, and is killed.
#[tokio::test]
async fn a_jailed_process_dies_with_its_pyro() {
    const ROLE: &str = "PYRO_TEST_JAIL_PARENT";
    if std::env::var_os(ROLE).is_some() {
        let host = Host::new();
        let script = "print('ready', flush=True)\n__import__('time').sleep(600)\n";
        let command = python(script, &host.path("machines/own"));
        let process = KeptProcess::start(command, Some(host.jail()), vec![]).await.unwrap();
        until_it_says("ready", &process).await;
        println!("\njailed {}", process.pid());
        // Killed before this ends.
        tokio::time::sleep(DEADLINE).await;
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let mut parent = Command::new("/proc/self/exe");
    let test = "jail::tests::processes::a_jailed_process_dies_with_its_pyro";
    parent.args(["--exact", test, "--nocapture"]).env(ROLE, "1").env("TMPDIR", scratch.path());
    let mut parent = parent.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(parent.stdout.take().unwrap()).lines();
    let jailed: u32 =
        lines.find_map(|line| line.unwrap().strip_prefix("jailed ")?.parse().ok()).expect("a jailed process");
    assert!(is_alive(jailed));
    parent.kill().unwrap();
    parent.wait().unwrap();
    let begun = Instant::now();
    while is_alive(jailed) {
        assert!(begun.elapsed() < DEADLINE, "{jailed} lives on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A zombie whose reaper is slow is dead enough.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X'])))
}
