//! Exec: statuses, streams, time limits, cancelling, and what cannot be run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pyro_protocol::limits;
use pyro_protocol::v1::{EnvVar, Exec, FailureKind, OutputStream, Ping, reply, request};

use crate::client::{Guest, assert_failure, command, gone, is_alive, shell, wait_for, with_agent};

fn executable(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn path_bytes(path: &Path) -> Bytes {
    Bytes::copy_from_slice(path.as_os_str().as_encoded_bytes())
}

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: Bytes::copy_from_slice(name.as_bytes()), value: Bytes::copy_from_slice(value.as_bytes()) }
}

/// Resident memory of the process, in KiB.
fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn exit_codes_and_signals_are_reported() {
    with_agent(async |guest| {
        for (script, exit_code, signal) in
            [("exit 0", 0, 0), ("exit 7", 7, 0), ("kill -TERM $$", 143, 15), ("kill -KILL $$", 137, 9)]
        {
            let exited = guest.exec(shell(script)).await.exited;
            assert_eq!((exited.exit_code, exited.signal), (exit_code, signal), "{script}");
            assert!(!exited.timed_out && !exited.output_cut);
        }
    });
}

#[test]
fn stdout_and_stderr_stay_apart() {
    with_agent(async |guest| {
        let outcome = guest.exec(shell("echo out; echo err >&2; echo more")).await;
        assert_eq!(outcome.text(), "out\nmore\n");
        assert_eq!(outcome.stderr, b"err\n");
    });
}

#[test]
fn stdin_is_fed_and_ended() {
    with_agent(async |guest| {
        let exec = Exec { stdin: true, ..command(["cat"]) };
        let mut cat = guest.call(request::Call::Exec(exec)).await;
        let sent: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        assert!(cat.data(&sent[..40_000]).await);
        assert!(cat.data(&[]).await);
        assert!(cat.data(&sent[40_000..100_000]).await);
        cat.end().await;
        let outcome = cat.outcome().await;
        assert_eq!(outcome.exited.exit_code, 0);
        assert!(outcome.stdout == sent[..100_000]);

        let outcome = guest.exec(command(["cat"])).await;
        assert_eq!((outcome.exited.exit_code, outcome.text()), (0, ""), "without input it is empty");
    });
}

#[test]
fn a_command_that_does_not_read_its_input_is_no_failure() {
    with_agent(async |guest| {
        let exec = Exec { stdin: true, ..shell("exec <&-; exit 3") };
        let mut call = guest.call(request::Call::Exec(exec)).await;
        call.started().await;
        // More than all the buffers between hold; the agent drops the stream when the command is gone.
        call.data(&vec![0; 8 * 1024 * 1024]).await;
        assert_eq!(call.outcome().await.exited.exit_code, 3);
    });
}

#[test]
fn a_long_output_stalls_neither_other_calls_nor_fills_memory() {
    const BYTES: usize = 50 * 1024 * 1024;
    with_agent(async |guest| {
        let script = format!("head -c {BYTES} /dev/zero");
        let mut long = guest.call(request::Call::Exec(shell(&script))).await;
        long.started().await;
        // Nobody reads the output: the command waits, and the agent holds only what is on its way.
        for token in 0..20 {
            let pinged = guest.ask(request::Call::Ping(Ping { token })).await;
            assert!(matches!(pinged, reply::Reply::Pong(pong) if pong.token == token));
        }
        let mut received = 0;
        let exited = loop {
            match long.reply().await {
                reply::Reply::Output(output) => {
                    assert!(output.data.len() <= limits::MAX_CHUNK_BYTES);
                    assert_eq!(output.stream(), OutputStream::Stdout);
                    received += output.data.len();
                }
                reply::Reply::Exited(exited) => break exited,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((received, exited.exit_code), (BYTES, 0));
        assert!(resident_kib(guest.pid()) < 32 * 1024, "{} KiB", resident_kib(guest.pid()));
    });
}

#[test]
fn a_timeout_ends_the_whole_group() {
    with_agent(async |guest| {
        let exec =
            Exec { timeout_ms: 300, ..shell("sleep 1000 & echo $!; trap '' TERM; sleep 1000; sleep 1000") };
        let started = Instant::now();
        let outcome = guest.exec(exec).await;
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
        assert!(outcome.exited.timed_out && outcome.exited.duration_ms >= 300);
        assert_eq!((outcome.exited.exit_code, outcome.exited.signal), (124, 9));
        gone(outcome.text().trim().parse().unwrap()).await;
    });
}

#[test]
fn dropping_the_call_ends_the_whole_group() {
    with_agent(async |guest| {
        let mut call = guest.call(request::Call::Exec(shell("sleep 1000 & echo $!; sleep 1000"))).await;
        let leader = call.started().await;
        let reply::Reply::Output(output) = call.reply().await else { panic!() };
        let background = String::from_utf8_lossy(&output.data).trim().parse().unwrap();
        assert!(is_alive(leader) && is_alive(background));
        drop(call);
        gone(leader).await;
        gone(background).await;
    });
}

#[test]
fn dropping_a_call_whose_input_is_not_read_ends_it() {
    with_agent(async |guest| {
        let exec = Exec { stdin: true, ..command(["sleep", "1000"]) };
        let mut call = guest.call(request::Call::Exec(exec)).await;
        let pid = call.started().await;
        assert!(call.data(&vec![0; 150 * 1024]).await);
        drop(call);
        gone(pid).await;
    });
}

#[test]
fn signals_go_to_the_group() {
    with_agent(async |guest| {
        let script = "trap 'echo got; exit 5' USR1; echo ready; while :; do sleep 0.01; done";
        let mut call = guest.call(request::Call::Exec(shell(script))).await;
        call.started().await;
        assert!(matches!(call.reply().await, reply::Reply::Output(_)));
        call.signal(10).await;
        let outcome = call.outcome().await;
        assert!(outcome.text().contains("got"));
        assert_eq!(outcome.exited.exit_code, 5);

        let mut call = guest.call(request::Call::Exec(command(["sleep", "1000"]))).await;
        let pid = call.started().await;
        call.signal(4711).await;
        assert_failure(&call.failure().await, FailureKind::Invalid, "4711");
        gone(pid).await;
    });
}

#[test]
fn what_is_left_in_the_background_lives_on_and_holds_output_only_so_long() {
    with_agent(async |guest| {
        let started = Instant::now();
        let outcome = guest.exec(shell("sleep 1000 & echo $!")).await;
        assert!(outcome.exited.output_cut);
        assert!(started.elapsed() >= limits::OUTPUT_LINGER);
        let background = outcome.text().trim().parse().unwrap();
        assert!(is_alive(background), "a normal end leaves the background alone");

        let outcome = guest.exec(shell("(yes & echo $! >&2; sleep 0.05)")).await;
        assert!(outcome.exited.output_cut && !outcome.stdout.is_empty());

        let outcome = guest.exec(shell("(sleep 0.1; echo late) &")).await;
        assert_eq!((outcome.text(), outcome.exited.output_cut), ("late\n", false));
    });
}

#[test]
fn a_slow_host_still_gets_all_that_was_written_before_the_end() {
    with_agent(async |guest| {
        // Held open from the background, and more than fits in the stream: it is still in the pipe at the end.
        let script = "head -c 600000 /dev/zero; sleep 1000 & exit 0";
        let mut call = guest.call(request::Call::Exec(shell(script))).await;
        call.started().await;
        // Not to wait for anything: this is how slow the host is.
        tokio::time::sleep(2 * limits::OUTPUT_LINGER).await;
        let outcome = call.outcome().await;
        assert_eq!(outcome.stdout.len(), 600_000);
    });
}

#[test]
fn the_working_directory_and_the_environment_are_as_asked() {
    with_agent(async |guest| {
        let home = fs::canonicalize(guest.home()).unwrap();
        assert_eq!(Path::new(guest.exec(command(["pwd", "-P"])).await.text().trim()), home);
        let exec = Exec { cwd: Bytes::from_static(b"/usr"), ..shell("pwd; echo $PWD") };
        assert_eq!(guest.exec(exec).await.text(), "/usr\n/usr\n");

        let env = vec![variable("A", "1"), variable("A", "2"), variable("TERM", "vt100")];
        let outcome = guest.exec(Exec { env, ..command(["env"]) }).await;
        let mut names: Vec<_> = outcome.text().lines().collect();
        names.sort_unstable();
        assert!(names.contains(&"A=2") && names.contains(&"TERM=vt100") && names.contains(&"LANG=C.UTF-8"));
        assert!(!names.iter().any(|line| line.starts_with("CARGO")), "{names:?}");

        let missing = Exec { cwd: Bytes::from_static(b"/no/where"), ..command(["true"]) };
        let failure = refused(guest, missing).await;
        assert_failure(&failure, FailureKind::NotFound, "/no/where");
        assert_eq!(failure.path, "/no/where");
    });
}

async fn refused(guest: &Guest, exec: Exec) -> pyro_protocol::v1::Failure {
    guest.call(request::Call::Exec(exec)).await.failure().await
}

#[test]
fn what_cannot_be_run_says_why() {
    with_agent(async |guest| {
        fs::create_dir(guest.path("folder")).unwrap();
        fs::write(guest.path("plain"), "#!/bin/sh\n").unwrap();
        executable(&guest.path("no-shebang"), b"echo hello\n");
        executable(&guest.path("lost-script"), b"#!/no/interpreter -x\n");
        executable(&guest.path("empty"), b"");
        let cases = [
            ("no-such-program", FailureKind::NotFound, "no-such-program"),
            ("./absent", FailureKind::NotFound, "./absent"),
            ("/no/absent", FailureKind::NotFound, "/no/absent"),
            ("./folder", FailureKind::NotExecutable, "directory"),
            ("./plain", FailureKind::NotExecutable, "not executable"),
            ("./no-shebang", FailureKind::NotExecutable, "#!"),
            ("./empty", FailureKind::NotExecutable, "#!"),
            ("./lost-script", FailureKind::NotExecutable, "/no/interpreter"),
        ];
        for (program, kind, part) in cases {
            assert_failure(&refused(guest, command([program])).await, kind, part);
        }
        for exec in [command([]), command([""]), command(["a\0"])] {
            assert_eq!(refused(guest, exec).await.kind(), FailureKind::Invalid);
        }
    });
}

#[test]
fn programs_are_found_where_the_request_says() {
    with_agent(async |guest| {
        fs::create_dir(guest.path("bin")).unwrap();
        executable(&guest.path("bin/tool"), b"#!/bin/sh\necho \"$0\" \"$@\"\n");
        let relative = guest.exec(command(["./bin/tool", "a b"])).await;
        assert!(relative.text().ends_with("/bin/tool a b\n"), "{}", relative.text());
        let path = guest.path("bin");
        let env = vec![variable("PATH", path.to_str().unwrap())];
        let found = guest.exec(Exec { env: env.clone(), ..command(["tool", "c"]) }).await;
        assert!(found.text().ends_with("/bin/tool c\n"), "{}", found.text());
        let hidden = refused(guest, Exec { env, ..command(["cat"]) }).await;
        assert_failure(&hidden, FailureKind::NotFound, "PATH");
        let in_folder = Exec { cwd: path_bytes(&path), ..command(["./tool"]) };
        assert_eq!(guest.exec(in_folder).await.exited.exit_code, 0);
    });
}

#[test]
fn orphans_are_reaped() {
    with_agent(async |guest| {
        let outcome = guest.exec(shell("(sleep 0.05 & echo $!) 2>/dev/null")).await;
        let orphan: u32 = outcome.text().trim().parse().unwrap();
        let entry = format!("/proc/{orphan}");
        wait_for("the orphan is reaped", || (!Path::new(&entry).exists()).then_some(())).await;
    });
}
