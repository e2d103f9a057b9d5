//! What a jailed process sees of the file system.

use super::{Host, Outcomes, python, refused, until_it_says};
use crate::jail::{Creates, Directory, Jail, LandlockLevel};
use crate::process::KeptProcess;
use std::fs;
use std::path::PathBuf;

#[tokio::test]
async fn only_listed_paths_are_within_reach() {
    let (host, neighbour) = (Host::new(), Host::new());
    let idle = Outcomes::of("", &host, Some(host.jail()), vec![]).await;
    if idle.is_without_walls() {
        return eprintln!("skipped: {:?}", idle.level);
    }
    let root = host.scratch.path().display();
    let script = format!(
        "attempt('home', lambda: read('{root}/home/secret'))
attempt('machine', lambda: read('{root}/machines/other/disk'))
attempt('machines', lambda: os.listdir('{root}/machines').index('other'))
attempt('temporary', lambda: os.listdir('{}/machines'))
attempt('climb', lambda: read('../other/disk'))
attempt('passwd', lambda: read('/etc/passwd'))
attempt('processes', lambda: os.listdir('/proc'))
attempt('maps', lambda: read('/proc/self/maps'))
attempt('image', lambda: open('{root}/cache/image', 'r+b').close())
attempt('truncate', lambda: os.truncate('{root}/cache/image', 5))
attempt('create', lambda: open('{root}/machines/own/new', 'wb').close())
attempt('pipe', lambda: os.mkfifo('{root}/machines/own/pipe'))
attempt('directory', lambda: os.mkdir('{root}/machines/own/directory'))
",
        neighbour.scratch.path().display()
    );
    let jailed = refused(&script, &host, host.jail()).await;
    if jailed.in_namespaces() {
        for (attempt, expected) in
            [("home", "ENOENT"), ("passwd", "ENOENT"), ("processes", "ENOENT"), ("climb", "ENOENT")]
        {
            assert_eq!(jailed.outcome(attempt), expected, "{attempt}");
        }
    }
    assert_eq!(fs::read(host.path("cache/image")).unwrap(), b"image");
}

/// As the kernel tells it to those outside.
#[tokio::test]
async fn the_root_holds_the_listed_paths_and_takes_no_others() {
    let host = Host::new();
    let script = "print('at', os.getcwd(), flush=True)\n__import__('time').sleep(600)\n";
    let command = python(script, &host.path("machines/own"));
    let process = KeptProcess::start(command, Some(host.jail()), vec![]).await.unwrap();
    if process.jail().unwrap().namespaces.is_err() {
        return eprintln!("skipped: {:?}", process.jail());
    }
    until_it_says("at ", &process).await;
    assert!(process.output().contains(&format!("at {}\n", host.path("machines/own").display())));
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", process.pid())).unwrap();
    let mut found: Vec<(PathBuf, Vec<&str>)> = mounts
        .lines()
        .map(|line| {
            let mut fields = line.split(' ').skip(4);
            let path = PathBuf::from(fields.next().unwrap());
            let flags = ["ro", "nosuid", "nodev", "noexec"];
            let options: Vec<_> = fields.next().unwrap().split(',').collect();
            (path, flags.into_iter().filter(|flag| options.contains(flag)).collect())
        })
        .collect();
    found.sort();
    let program = ["ro", "nosuid", "nodev"].as_slice();
    let mut expected: Vec<(PathBuf, &[&str])> =
        ["/usr", "/bin", "/lib", "/lib64"].map(|path| (path.into(), program)).to_vec();
    expected.push(("/".into(), &["ro", "nosuid", "nodev", "noexec"]));
    expected.push((host.path("cache/image"), &["ro", "nosuid", "nodev", "noexec"]));
    expected.push((host.path("machines/own/disk"), &["nosuid", "nodev", "noexec"]));
    expected.push(("/dev/null".into(), &["nosuid", "noexec"]));
    expected.sort();
    assert_eq!(found.len(), expected.len(), "{mounts}");
    for ((path, flags), (expected, least)) in found.iter().zip(&expected) {
        assert_eq!(path, expected, "{mounts}");
        // A host may have restricted more.
        assert!(least.iter().all(|flag| flags.contains(flag)), "{}: {flags:?}", path.display());
        assert!(flags.contains(&"ro") == least.contains(&"ro"), "{}: {flags:?}", path.display());
    }
}

#[tokio::test]
async fn it_reads_and_writes_what_is_its_own() {
    let host = Host::new();
    let root = host.scratch.path().display();
    let script = format!(
        "attempt('image', lambda: read('{root}/cache/image'))
attempt('disk', lambda: open('{root}/machines/own/disk', 'r+b').write(b'DISK'))
attempt('relative', lambda: read('disk'))
attempt('null', lambda: open('/dev/null', 'r+b').close())
attempt('large', lambda: os.truncate('disk', 1 << 20))
attempt('larger', lambda: (__import__('signal').signal(25, 1), os.truncate('disk', (1 << 20) + 1)))
"
    );
    let jailed = Outcomes::of(&script, &host, Some(host.jail()), vec![]).await;
    for attempt in ["image", "disk", "relative", "null", "large"] {
        assert_eq!(jailed.outcome(attempt), "done", "{attempt}");
    }
    assert_eq!(jailed.outcome("larger"), "EFBIG");
    assert!(fs::read(host.path("machines/own/disk")).unwrap().starts_with(b"DISK"));
}

#[tokio::test]
async fn it_makes_sockets_and_files_in_a_directory_that_is_its_own() {
    let host = Host::new();
    std::os::unix::fs::symlink(host.path("cache/image"), host.path("machines/own/image")).unwrap();
    std::os::unix::fs::symlink(host.path("home/secret"), host.path("machines/own/secret")).unwrap();
    let script = "listener = socket.socket(socket.AF_UNIX)
attempt('bind', lambda: listener.bind('v.sock'))
attempt('listen', lambda: listener.listen())
attempt('connect', lambda: socket.socket(socket.AF_UNIX).connect('v.sock'))
attempt('write', lambda: open('state', 'wb').write(b'state'))
attempt('truncate', lambda: os.truncate('state', 3))
attempt('passing', lambda: open('passing', 'wb').close())
attempt('remove', lambda: os.unlink('passing'))
attempt('link', lambda: read('image'))
attempt('through-link', lambda: read('secret'))
attempt('climb', lambda: read('../other/disk'))
attempt('execute', lambda: (os.chmod('state', 0o755), os.execv('./state', ['state'])))
";
    let jailed = Outcomes::of(script, &host, Some(host.jail_with_directory()), vec![]).await;
    for attempt in ["bind", "listen", "connect", "write", "truncate", "passing", "remove", "link"] {
        assert_eq!(jailed.outcome(attempt), "done", "{attempt}");
    }
    for attempt in ["through-link", "climb", "execute"] {
        assert_ne!(jailed.outcome(attempt), "done", "{attempt}");
    }
    assert_eq!(fs::read(host.path("machines/own/state")).unwrap(), b"sta");
    assert!(host.path("machines/own/v.sock").exists() && !host.path("machines/own/passing").exists());
}

/// A read-only image in a directory that the VMM may write.
#[tokio::test]
async fn what_is_listed_as_readable_stays_so_wherever_it_lies() {
    let host = Host::new();
    let mut jail = host.jail_with_directory();
    jail.readable.push(host.path("machines/own/boot"));
    fs::write(host.path("machines/own/boot"), "boot").unwrap();
    let script = "attempt('read', lambda: read('boot'))
attempt('write', lambda: open('boot', 'r+b').close())
attempt('remove', lambda: os.unlink('boot'))
";
    let jailed = Outcomes::of(script, &host, Some(jail), vec![]).await;
    assert_eq!(jailed.outcome("read"), "done");
    if jailed.in_namespaces() {
        assert_eq!(jailed.outcome("write"), "EROFS");
        assert_eq!(jailed.outcome("remove"), "EBUSY");
    }
}

/// A root that cannot be completed: its place is missing.
#[tokio::test]
async fn without_a_root_there_are_no_namespaces_and_still_landlock() {
    let host = Host::new();
    let directory = Directory { path: host.path("not-there"), may_create: Creates::Nothing };
    let jail = Jail { directory, ..host.jail() };
    let root = host.scratch.path().display();
    let script = format!(
        "attempt('image', lambda: read('{root}/cache/image'))
attempt('secret', lambda: read('{root}/home/secret'))
attempt('mount', lambda: call(165, 0, 0, 0, 0, 0))
"
    );
    let jailed = Outcomes::of(&script, &host, Some(jail), vec![]).await;
    let level = jailed.level.as_ref().unwrap();
    let obstacle = level.namespaces.unwrap_err().to_string();
    let host_allows_namespaces = Outcomes::of("", &host, Some(host.jail()), vec![]).await.in_namespaces();
    assert!(
        !host_allows_namespaces || obstacle.starts_with("cannot mount a root: No such file"),
        "{obstacle}"
    );
    assert_eq!(jailed.outcome("image"), "done");
    assert_eq!(jailed.outcome("mount"), "EPERM");
    if level.landlock != LandlockLevel::None {
        assert_eq!(jailed.outcome("secret"), "EACCES");
    }
}

#[tokio::test]
async fn paths_that_climb_or_begin_nowhere_are_refused() {
    let host = Host::new();
    for path in [PathBuf::from("cache/image"), host.path("machines/../home/secret"), "/".into()] {
        let jail = Jail { readable: vec![path.clone()], ..host.jail() };
        let command = python("", &host.path("machines/own"));
        // A relative one is not found, and so left out like any that is not there.
        let started = KeptProcess::start(command, Some(jail), vec![]).await;
        assert!(started.is_err() || path.is_relative(), "{}", path.display());
    }
}
