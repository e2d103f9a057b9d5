//! Shells: programs at terminals, which go on between calls.

use bytes::Bytes;
use pyro_protocol::limits::{MAX_SHELLS, SHELL_BUFFER_BYTES};
use pyro_protocol::v1::{
    CloseShell, Exited, Failure, FailureKind, ListShells, OpenShell, ReadShell, ResizeShell, ShellState,
    SignalShell, WriteShell, reply, request,
};

use crate::client::{Guest, assert_failure, is_alive, run, wait_for, with_agent};

const INT: i32 = 2;

fn sh(id: &str) -> OpenShell {
    let argv = ["/bin/sh", "-c", "PS1=; export PS1; exec /bin/sh -i"];
    let argv = argv.iter().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
    OpenShell { id: id.to_owned(), argv, columns: 80, rows: 24, ..OpenShell::default() }
}

async fn open(guest: &Guest, request: OpenShell) -> u32 {
    guest.call(request::Call::OpenShell(request)).await.started().await
}

async fn refused(guest: &Guest, call: request::Call) -> Failure {
    guest.call(call).await.failure().await
}

async fn done(guest: &Guest, call: request::Call) {
    let answer = guest.ask(call).await;
    assert!(matches!(answer, reply::Reply::Done(_)), "{answer:?}");
}

async fn write(guest: &Guest, id: &str, text: &str) {
    let data = Bytes::copy_from_slice(text.as_bytes());
    done(guest, request::Call::WriteShell(WriteShell { id: id.to_owned(), data })).await;
}

fn reading(id: &str, cursor: u64) -> ReadShell {
    ReadShell { id: id.to_owned(), cursor, max_bytes: u64::MAX, limit_ms: 20_000, ..ReadShell::default() }
}

/// Position of the first byte, what was printed, and the state.
async fn read(guest: &Guest, request: ReadShell) -> (u64, String, ShellState) {
    let mut call = guest.call(request::Call::ReadShell(request)).await;
    let reply::Reply::ShellOutput(output) = call.reply().await else { panic!("no output") };
    let mut bytes = Vec::new();
    loop {
        match call.reply().await {
            reply::Reply::Data(data) => bytes.extend_from_slice(&data.data),
            reply::Reply::Done(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bytes.len() as u64, output.bytes);
    (output.first, String::from_utf8_lossy(&bytes).into_owned(), output.state.unwrap())
}

/// Reads from `cursor` on until `text` was printed; returns all of it.
async fn read_until(guest: &Guest, id: &str, cursor: u64, text: &str) -> String {
    let mut seen = String::new();
    loop {
        let next = cursor + seen.len() as u64;
        let (_, more, state) = read(guest, ReadShell { follow: true, ..reading(id, next) }).await;
        seen.push_str(&more);
        if seen.contains(text) {
            return seen;
        }
        assert!(state.exited.is_none(), "it has ended: {seen}");
    }
}

async fn close(guest: &Guest, id: &str) -> ShellState {
    match guest.ask(request::Call::CloseShell(CloseShell { id: id.to_owned() })).await {
        reply::Reply::ShellOutput(output) => output.state.unwrap(),
        other => panic!("{other:?}"),
    }
}

async fn list(guest: &Guest) -> Vec<ShellState> {
    match guest.ask(request::Call::ListShells(ListShells {})).await {
        reply::Reply::Shells(shells) => shells.shells,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_shell_goes_on_between_calls() {
    with_agent(async |guest| {
        let pid = open(guest, sh("one")).await;
        write(guest, "one", "cd /; number=40; stty -echo\n").await;
        write(
            guest,
            "one",
            "echo $((number + 2)) $PWD $TERM; stty size; test -t 0 && echo seat $((1 + 1))\n",
        )
        .await;
        let seen = read_until(guest, "one", 0, "seat 2\r\n").await;
        assert!(seen.contains("42 / xterm-256color\r\n24 80\r\n"), "{seen}");
        done(guest, request::Call::ResizeShell(ResizeShell { id: "one".into(), columns: 100, rows: 30 }))
            .await;
        let end = list(guest).await[0].end;
        write(guest, "one", "stty size\n").await;
        read_until(guest, "one", end, "30 100\r\n").await;
        // Read again from any position.
        let (first, again, state) = read(guest, reading("one", 0)).await;
        assert!(first == 0 && again.starts_with(&seen) && state.exited.is_none(), "{again}");
        assert_eq!(list(guest).await.len(), 1);
        assert!(is_alive(pid));
        close(guest, "one").await;
        assert!(!is_alive(pid) && list(guest).await.is_empty());
        assert_failure(
            &refused(guest, request::Call::ReadShell(reading("one", 0))).await,
            FailureKind::NotFound,
            "",
        );
    });
}

#[test]
fn a_read_waits_until_it_is_quiet_or_there_is_something() {
    with_agent(async |guest| {
        open(guest, sh("one")).await;
        write(guest, "one", "for i in 1 2 3 4 5; do echo tick $i; sleep 0.1; done; echo over\n").await;
        let quiet = ReadShell { idle_ms: 3000, ..reading("one", 0) };
        let (_, seen, _) = read(guest, quiet).await;
        assert!(seen.contains("tick 5\r\n") && seen.contains("over\r\n"), "{seen}");
        // Never quiet: the limit ends it.
        write(guest, "one", "while echo on; do sleep 0.05; done\n").await;
        let limited = ReadShell { idle_ms: 5000, limit_ms: 700, ..reading("one", 0) };
        let (_, seen, state) = read(guest, limited).await;
        assert!(seen.contains("on\r\n") && state.exited.is_none());
        done(guest, request::Call::SignalShell(SignalShell { id: "one".into(), number: INT })).await;
        let end = list(guest).await[0].end;
        write(guest, "one", "echo interrupted\n").await;
        read_until(guest, "one", end, "\r\ninterrupted\r\n").await;
    });
}

#[test]
fn the_end_of_a_shell_is_told_with_its_last_words() {
    with_agent(async |guest| {
        open(guest, sh("one")).await;
        write(guest, "one", "printf 'last words'; exit 3\n").await;
        let mut seen = String::new();
        let state = loop {
            let next = seen.len() as u64;
            let (_, more, state) = read(guest, ReadShell { follow: true, ..reading("one", next) }).await;
            seen.push_str(&more);
            if state.exited.is_some() {
                break state;
            }
        };
        assert!(seen.ends_with("last words"), "{seen}");
        assert_eq!(state.exited.map(|Exited { exit_code, signal, .. }| (exit_code, signal)), Some((3, 0)));
        let typed = WriteShell { id: "one".into(), data: Bytes::from_static(b"x") };
        assert_failure(
            &refused(guest, request::Call::WriteShell(typed)).await,
            FailureKind::WrongState,
            "ended",
        );
        let signal = SignalShell { id: "one".into(), number: INT };
        assert_failure(
            &refused(guest, request::Call::SignalShell(signal)).await,
            FailureKind::WrongState,
            "ended",
        );
        assert_eq!(close(guest, "one").await.exited.unwrap().exit_code, 3);
    });
}

#[test]
fn a_flood_is_kept_to_its_end_and_holds_nobody_up() {
    with_agent(async |guest| {
        open(guest, sh("one")).await;
        write(
            guest,
            "one",
            "stty -echo -onlcr; i=0; while [ $i -lt 300000 ]; do i=$((i+1)); echo line $i; done\n",
        )
        .await;
        let read_late = async {
            let state = loop {
                let (first, seen, state) = read(guest, ReadShell { idle_ms: 300, ..reading("one", 0) }).await;
                if seen.ends_with("line 300000\n") {
                    assert!(first > 0 && first == state.begin && seen.len() == SHELL_BUFFER_BYTES);
                    break state;
                }
            };
            assert_eq!(state.end - state.begin, SHELL_BUFFER_BYTES as u64);
        };
        // Meanwhile others are answered.
        let outcome = guest.exec(crate::client::shell("echo still here")).await;
        assert_eq!(outcome.text(), "still here\n");
        read_late.await;
    });
}

#[test]
fn closing_ends_what_the_shell_has_started() {
    with_agent(async |guest| {
        open(guest, sh("one")).await;
        // One in the background, one in the foreground that no hang-up ends.
        write(guest, "one", "sleep 1001 & echo job $!\n").await;
        write(guest, "one", "sh -c 'trap \"\" HUP; echo deaf $$; echo $((1 + 1)) there; sleep 1002'\n").await;
        let seen = read_until(guest, "one", 0, "2 there\r\n").await;
        let pid = |what: &str| {
            let text = seen.lines().rev().find_map(|line| line.strip_prefix(what));
            text.unwrap_or_else(|| panic!("{seen}")).trim().parse::<u32>().unwrap()
        };
        let pids = [pid("job "), pid("deaf ")];
        assert!(pids.iter().all(|pid| is_alive(*pid)), "{pids:?}");
        close(guest, "one").await;
        for pid in pids {
            wait_for("it is gone", || (!is_alive(pid)).then_some(())).await;
        }
    });
}

#[test]
fn what_cannot_be_is_refused() {
    run(async {
        let guest = Guest::start().await;
        let opening = |request| async { refused(&guest, request::Call::OpenShell(request)).await };
        assert_failure(&opening(sh("one")).await, FailureKind::WrongState, "configured");
        guest.configure().await;
        for id in ["", "a/b", "a b", &"x".repeat(65)] {
            assert_failure(&opening(sh(id)).await, FailureKind::Invalid, "id");
        }
        for (columns, rows) in [(0, 1), (1, 0), (1001, 1), (1, u32::MAX)] {
            assert_failure(
                &opening(OpenShell { columns, rows, ..sh("one") }).await,
                FailureKind::Invalid,
                "1000",
            );
        }
        let missing = OpenShell { argv: vec!["/no/shell".into()], ..sh("one") };
        assert_failure(&opening(missing).await, FailureKind::NotFound, "/no/shell");
        let elsewhere = OpenShell { cwd: "/nowhere".into(), ..sh("one") };
        assert_failure(&opening(elsewhere).await, FailureKind::NotFound, "/nowhere");
        open(&guest, sh("one")).await;
        assert_failure(&opening(sh("one")).await, FailureKind::AlreadyExists, "");
        for number in 1..MAX_SHELLS {
            open(&guest, sh(&format!("n-{number}"))).await;
        }
        assert_failure(&opening(sh("more")).await, FailureKind::Exhausted, "16");
        let call = |call| refused(&guest, call);
        let beyond = request::Call::ReadShell(reading("one", 1 << 40));
        assert_failure(&call(beyond).await, FailureKind::Invalid, "beyond the end");
        let signal = request::Call::SignalShell(SignalShell { id: "one".into(), number: 99 });
        assert_failure(&call(signal).await, FailureKind::Invalid, "99");
        let size = request::Call::ResizeShell(ResizeShell { id: "one".into(), columns: 0, rows: 1 });
        assert_failure(&call(size).await, FailureKind::Invalid, "columns");
        for call in [
            request::Call::CloseShell(CloseShell { id: "none".into() }),
            request::Call::WriteShell(WriteShell { id: "none".into(), data: Bytes::new() }),
        ] {
            assert_failure(&refused(&guest, call).await, FailureKind::NotFound, "no such shell");
        }
        assert!(guest.close().await.success(), "with shells open");
    });
}
