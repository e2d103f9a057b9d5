//! Handshake, frames, states, and the end of the connection.

use pyro_protocol::preamble::{ANSWER, MAGIC, NONCE_BYTES};
use pyro_protocol::v1::{
    FailureKind, Ping, Request, Root, Seal, SetClock, Shutdown, Stage, Sync, reply, request,
};
use pyro_protocol::{GENERATION, limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{
    Guest, Process, assert_failure, command, configure, gone, is_alive, run, shell, wait_for, with_agent,
};

fn ping(token: u64) -> request::Call {
    request::Call::Ping(Ping { token })
}

#[test]
fn the_handshake_reads_past_leftovers() {
    run(async {
        let (process, mut channel) = Process::start();
        channel.write_all(&[0xAA; 5000]).await.unwrap();
        channel.write_all(&MAGIC[..9]).await.unwrap();
        channel.write_all(&MAGIC).await.unwrap();
        channel.write_all(&[9; NONCE_BYTES]).await.unwrap();
        let mut answer = [0; ANSWER.len() + NONCE_BYTES];
        channel.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[ANSWER.len()..], [9; NONCE_BYTES]);
        drop(channel);
        assert!(process.ended().await.success());
    });
}

#[test]
fn only_ping_and_sync_are_answered_before_configure() {
    run(async {
        let guest = Guest::start().await;
        let reply::Reply::Pong(pong) = guest.ask(ping(5)).await else { panic!() };
        assert_eq!((pong.token, pong.generation, pong.configured), (5, GENERATION, false));
        assert!(pong.uptime_ns > 0 && !pong.kernel_release.is_empty() && !pong.agent_version.is_empty());
        assert!(matches!(guest.ask(request::Call::Sync(Sync {})).await, reply::Reply::Done(_)));
        let mut exec = guest.call(request::Call::Exec(command(["true"]))).await;
        assert_failure(&exec.failure().await, FailureKind::WrongState, "configured");
        guest.configure().await;
        assert_failure(&guest.call(configure()).await.failure().await, FailureKind::WrongState, "already");
        let reply::Reply::Pong(pong) = guest.ask(ping(6)).await else { panic!() };
        assert!(pong.configured);
        assert!(guest.close().await.success());
    });
}

#[test]
fn what_is_no_request_is_refused_and_nothing_else_suffers() {
    with_agent(async |guest| {
        let other_generation = Request { generation: GENERATION + 1, call: Some(ping(1)) };
        let failure = guest.request(other_generation).await.failure().await;
        assert_failure(&failure, FailureKind::Unsupported, "generation");
        let no_call = Request { generation: GENERATION, call: None };
        assert_failure(&guest.request(no_call).await.failure().await, FailureKind::Unsupported, "not known");
        let garbage: [(&[u8], &str); 2] =
            [(b"\0\0\0\x04\xff\xff\xff\xff", "decode"), (b"\x7f\xff\xff\xff rest", "at most")];
        for (bytes, part) in garbage {
            let mut stream = guest.open().await;
            stream.write_all(bytes).await.unwrap();
            stream.flush().await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            let failure = String::from_utf8_lossy(&answer).into_owned();
            assert!(failure.contains(part), "{failure}");
        }
        assert!(matches!(guest.ask(ping(1)).await, reply::Reply::Pong(_)));
    });
}

#[test]
fn garbage_instead_of_yamux_ends_the_agent() {
    run(async {
        let (process, mut channel) = Process::start();
        channel.write_all(&MAGIC).await.unwrap();
        channel.write_all(&[1; NONCE_BYTES]).await.unwrap();
        channel.write_all(&[0xFF; 64]).await.unwrap();
        process.ended().await;
    });
}

#[test]
fn many_calls_at_once_are_served() {
    with_agent(async |guest| {
        let mut calls = Vec::new();
        for _ in 0..limits::MAX_STREAMS / 4 {
            calls.push(guest.call(request::Call::Exec(shell("read line; echo $line"))).await);
        }
        for (call, token) in calls.iter_mut().zip(0..) {
            assert!(matches!(guest.ask(ping(token)).await, reply::Reply::Pong(pong) if pong.token == token));
            assert_eq!(call.outcome().await.exited.exit_code, 0);
        }
    });
}

#[test]
fn closing_the_connection_ends_everything_that_was_started() {
    run(async {
        let guest = Guest::start().await;
        guest.configure().await;
        let mut running = guest.call(request::Call::Exec(shell("sleep 1000 & sleep 1000"))).await;
        let leader = running.started().await;
        let daemon = guest.exec(shell("setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $!")).await;
        let daemon = daemon.text().trim().parse().unwrap();
        assert!(is_alive(leader) && is_alive(daemon));
        assert!(guest.close().await.success());
        gone(leader).await;
        gone(daemon).await;
    });
}

#[test]
fn shutdown_answers_then_gives_processes_their_grace() {
    run(async {
        let guest = Guest::start().await;
        guest.configure().await;
        let (ready, saw) = (guest.path("ready"), tempfile::tempdir().unwrap());
        let script = format!(
            "trap 'echo term > {}; exit' TERM; touch {}; while :; do sleep 0.01; done",
            saw.path().join("signal").display(),
            ready.display(),
        );
        let mut polite = guest.call(request::Call::Exec(shell(&script))).await;
        let polite = polite.started().await;
        let mut stubborn =
            guest.call(request::Call::Exec(shell("trap '' TERM; sleep 1000; sleep 1000"))).await;
        let stubborn_pid = stubborn.started().await;
        wait_for("the trap is set", || ready.exists().then_some(())).await;
        let reply = guest.ask(request::Call::Shutdown(Shutdown { grace_ms: 300 })).await;
        assert!(matches!(reply, reply::Reply::Done(_)));
        assert!(guest.close().await.success());
        gone(polite).await;
        gone(stubborn_pid).await;
    });
}

#[test]
fn an_agent_without_a_channel_says_so() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_pyro-agent"))
        .args(["--channel-fd", "1000", "--workdir", "/"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("pyro-agent: "));
}

#[test]
fn an_ordinary_process_cannot_become_a_template() {
    run(async {
        let guest = Guest::start().await;
        let refused = |call| async { guest.call(call).await.failure().await };
        let stage = || request::Call::Stage(Stage { root: Some(Root::default()) });
        let (seal, set_clock) = (
            || request::Call::Seal(Seal::default()),
            || request::Call::SetClock(SetClock { unix_time_ns: 1 }),
        );
        assert_failure(&refused(stage()).await, FailureKind::Unsupported, "ordinary process");
        assert_failure(&refused(seal()).await, FailureKind::WrongState, "not staged");
        assert_failure(&refused(set_clock()).await, FailureKind::WrongState, "not configured");
        guest.configure().await;
        assert_failure(&refused(stage()).await, FailureKind::WrongState, "fresh");
        let before = std::time::SystemTime::now();
        assert!(matches!(guest.ask(set_clock()).await, reply::Reply::Done(_)));
        assert!(std::time::SystemTime::now() >= before, "the host's clock is left as it is");
        assert!(guest.close().await.success());
    });
}
