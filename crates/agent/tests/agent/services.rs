//! Services: named commands in the background that become ready, print, and end.

use bytes::Bytes;
use pyro_protocol::limits::{MAX_SERVICES, SERVICE_LOG_BYTES};
use pyro_protocol::v1::{
    Endpoint, FailureKind, HttpEndpoint, ListServices, ProbeCommand, ReadServiceLog, Readiness, ServiceLog,
    ServiceState, ServiceStatus, StartService, StopService, readiness, reply, request,
};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use crate::client::{Conversation, Guest, assert_failure, is_alive, run, wait_for, with_agent};

fn service(name: &str, script: &str) -> StartService {
    StartService {
        name: name.to_owned(),
        argv: ["/bin/sh", "-c", script].map(|word| Bytes::copy_from_slice(word.as_bytes())).to_vec(),
        ready_timeout_ms: 20_000,
        ready_interval_ms: 50,
        ..StartService::default()
    }
}

fn with(probe: readiness::Probe, service: StartService) -> StartService {
    StartService { readiness: Some(Readiness { probe: Some(probe) }), ..service }
}

async fn one(call: &mut Conversation) -> ServiceState {
    match call.reply().await {
        reply::Reply::Services(mut services) if services.services.len() == 1 => services.services.remove(0),
        other => panic!("{other:?}"),
    }
}

async fn start(guest: &Guest, request: StartService) -> ServiceState {
    let mut call = guest.call(request::Call::StartService(request)).await;
    call.started().await;
    one(&mut call).await
}

async fn stop(guest: &Guest, name: &str, grace_ms: u64) -> ServiceState {
    let request = StopService { name: name.to_owned(), grace_ms };
    one(&mut guest.call(request::Call::StopService(request)).await).await
}

async fn list(guest: &Guest) -> Vec<ServiceState> {
    match guest.ask(request::Call::ListServices(ListServices {})).await {
        reply::Reply::Services(services) => services.services,
        other => panic!("{other:?}"),
    }
}

async fn log(guest: &Guest, name: &str) -> (ServiceLog, String, String) {
    let mut call = guest.call(request::Call::ReadServiceLog(ReadServiceLog { name: name.to_owned() })).await;
    let reply::Reply::ServiceLog(log) = call.reply().await else { panic!("no log") };
    let mut bytes = Vec::new();
    loop {
        match call.reply().await {
            reply::Reply::Data(data) => bytes.extend_from_slice(&data.data),
            reply::Reply::Done(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bytes.len() as u64, log.stdout_bytes + log.stderr_bytes);
    let stderr = bytes.split_off(usize::try_from(log.stdout_bytes).unwrap());
    (log, String::from_utf8(bytes).unwrap(), String::from_utf8(stderr).unwrap())
}

/// A web server that knows one page; returns its port.
async fn answer_http() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::task::spawn_local(async move {
        while let Ok((client, _)) = listener.accept().await {
            let mut client = BufReader::new(client);
            let mut line = String::new();
            let _ = client.read_line(&mut line).await;
            let status = if line.starts_with("GET / HTTP/1.1") { "200 OK" } else { "404 Not Found" };
            let _ =
                client.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes()).await;
        }
    });
    port
}

#[test]
fn a_service_is_ready_when_its_probe_says_so() {
    with_agent(async |guest| {
        let port = answer_http().await;
        let endpoint = Endpoint { host: "127.0.0.1".into(), port: port.into() };
        let command =
            |script: &'static str| ProbeCommand { argv: vec!["/bin/sh".into(), "-c".into(), script.into()] };
        let probes = [
            (
                "file",
                with(
                    readiness::Probe::File("up".into()),
                    service("file", "echo out; sleep 0.2; touch up; exec sleep 1000"),
                ),
            ),
            (
                "command",
                with(
                    readiness::Probe::Command(command("test -e up2")),
                    service("command", "touch up2; exec sleep 1000"),
                ),
            ),
            ("tcp", with(readiness::Probe::Tcp(endpoint.clone()), service("tcp", "exec sleep 1000"))),
        ];
        for (name, request) in probes {
            let state = start(guest, request).await;
            assert_eq!((state.name.as_str(), state.status()), (name, ServiceStatus::Running), "{state:?}");
            assert!(state.ready_unix_ns >= state.started_unix_ns && state.ended_unix_ns == 0);
            assert!(is_alive(state.pid));
        }
        let http = HttpEndpoint { endpoint: Some(endpoint), path: "/".into() };
        let request = with(readiness::Probe::Http(http.clone()), service("http", "exec sleep 1000"));
        assert_eq!(start(guest, request).await.status(), ServiceStatus::Running);
        let missing = HttpEndpoint { path: "/none".into(), ..http };
        let request = with(
            readiness::Probe::Http(missing),
            StartService { ready_timeout_ms: 300, ..service("missing", "exec sleep 1000") },
        );
        assert_eq!(start(guest, request).await.status(), ServiceStatus::Failed, "404 is not ready");
        let names: Vec<_> = list(guest).await.into_iter().map(|state| state.name).collect();
        assert_eq!(names, ["file", "command", "tcp", "http", "missing"]);
        assert_eq!(log(guest, "file").await.1, "out\n");
    });
}

#[test]
fn what_does_not_become_ready_has_failed_and_is_gone() {
    with_agent(async |guest| {
        let died = start(
            guest,
            with(readiness::Probe::File("never".into()), service("died", "echo why >&2; exit 3")),
        )
        .await;
        assert_eq!(died.status(), ServiceStatus::Failed);
        assert_eq!(died.exited.unwrap().exit_code, 3);
        assert_eq!(log(guest, "died").await.2, "why\n");
        let late = StartService {
            ready_timeout_ms: 200,
            ..service("late", "trap 'echo told; exit 0' TERM; while :; do sleep 0.05; done")
        };
        let late = start(guest, with(readiness::Probe::File("never".into()), late)).await;
        assert_eq!((late.status(), late.exited.unwrap().exit_code), (ServiceStatus::Failed, 0));
        assert!(late.reason.contains("200 ms"), "{late:?}");
        assert_eq!(log(guest, "late").await.1, "told\n");
        assert!(!is_alive(late.pid));
        // The name is free again.
        assert_eq!(start(guest, service("late", "exec sleep 1000")).await.status(), ServiceStatus::Running);
        assert_eq!(list(guest).await.len(), 2);
    });
}

#[test]
fn a_service_ends_with_all_that_it_has_started() {
    with_agent(async |guest| {
        let script = "sleep 1001 & echo $!; trap '' TERM; echo up; while :; do sleep 1000; done";
        let state = start(guest, service("deaf", script)).await;
        let child = wait_for_log(guest, "deaf", "up\n").await.lines().next().unwrap().parse::<u32>().unwrap();
        assert!(is_alive(child));
        let stopped = stop(guest, "deaf", 200).await;
        assert_eq!((stopped.status(), stopped.exited.unwrap().signal), (ServiceStatus::Stopped, 9));
        for pid in [state.pid, child] {
            wait_for("it is gone", || (!is_alive(pid)).then_some(())).await;
        }
        assert_eq!(stop(guest, "deaf", 200).await.status(), ServiceStatus::Stopped, "again");
        // One that ends by itself takes its children with it, too.
        let script = "sleep 1002 & echo $!; sleep 0.3; exit 4";
        start(guest, service("short", script)).await;
        let child = wait_for_log(guest, "short", "\n").await.trim().parse::<u32>().unwrap();
        loop {
            let state = list(guest).await.pop().unwrap();
            if state.status() == ServiceStatus::Exited {
                assert_eq!(state.exited.unwrap().exit_code, 4);
                break;
            }
            tokio::task::yield_now().await;
        }
        wait_for("it is gone", || (!is_alive(child)).then_some(())).await;
    });
}

/// What a service has printed once `text` is in it.
async fn wait_for_log(guest: &Guest, name: &str, text: &str) -> String {
    loop {
        let (_, stdout, _) = log(guest, name).await;
        if stdout.contains(text) {
            return stdout;
        }
        tokio::task::yield_now().await;
    }
}

#[test]
fn logs_keep_the_end_of_a_flood() {
    with_agent(async |guest| {
        let script = "yes 0123456789 | head -c 2000000; echo over; echo beside >&2; exec sleep 1000";
        start(guest, service("flood", script)).await;
        let stdout = wait_for_log(guest, "flood", "over\n").await;
        let (log, _, stderr) = log(guest, "flood").await;
        assert_eq!(
            (stdout.len(), log.stdout_missed),
            (SERVICE_LOG_BYTES, 2_000_005 - SERVICE_LOG_BYTES as u64)
        );
        assert!(log.stderr_missed == 0 && (stderr.is_empty() || stderr == "beside\n"), "{stderr}");
    });
}

#[test]
fn a_service_outlives_the_call_that_starts_it() {
    with_agent(async |guest| {
        let slow = with(
            readiness::Probe::File("up".into()),
            service("slow", "sleep 0.3; touch up; exec sleep 1000"),
        );
        let mut call = guest.call(request::Call::StartService(slow)).await;
        call.started().await;
        assert_eq!(list(guest).await[0].status(), ServiceStatus::Starting);
        drop(call);
        while list(guest).await[0].status() != ServiceStatus::Running {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn what_cannot_be_is_refused() {
    run(async {
        let guest = Guest::start().await;
        let refused =
            |request| async { guest.call(request::Call::StartService(request)).await.failure().await };
        assert_failure(&refused(service("one", "true")).await, FailureKind::WrongState, "configured");
        guest.configure().await;
        for name in ["", "a/b", "a b", &"x".repeat(65)] {
            assert_failure(&refused(service(name, "true")).await, FailureKind::Invalid, "name");
        }
        let endpoint = |host: &str, port| Endpoint { host: host.to_owned(), port };
        let http = |path: &str| HttpEndpoint { endpoint: Some(endpoint("::1", 80)), path: path.to_owned() };
        let probes = [
            readiness::Probe::File(Bytes::new()),
            readiness::Probe::Tcp(endpoint("", 80)),
            readiness::Probe::Tcp(endpoint("localhost", 0)),
            readiness::Probe::Tcp(endpoint("localhost", 65_536)),
            readiness::Probe::Http(http("no-slash")),
            readiness::Probe::Http(http("/a b")),
            readiness::Probe::Http(http("/a\r\nX: y")),
            readiness::Probe::Command(ProbeCommand { argv: Vec::new() }),
        ];
        for probe in probes {
            assert_failure(&refused(with(probe, service("one", "true"))).await, FailureKind::Invalid, "");
        }
        let missing = StartService { argv: vec!["/no/program".into()], ..service("one", "") };
        assert_failure(&refused(missing).await, FailureKind::NotFound, "/no/program");
        assert!(list(&guest).await.is_empty(), "nothing is left of what was refused");
        for number in 0..MAX_SERVICES {
            start(&guest, service(&format!("n-{number}"), "exec sleep 1000")).await;
        }
        assert_failure(&refused(service("n-0", "true")).await, FailureKind::AlreadyExists, "");
        assert_failure(&refused(service("more", "true")).await, FailureKind::Exhausted, "16");
        let stop = request::Call::StopService(StopService { name: "none".into(), grace_ms: 1 });
        assert_failure(&guest.call(stop).await.failure().await, FailureKind::NotFound, "no such service");
        assert!(guest.close().await.success(), "with services up");
    });
}
