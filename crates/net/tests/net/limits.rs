//! More than a guest may have.

use crate::guest::{Guest, RAW, config, local};
use crate::hostile::{open, segment};
use pyro_net::{EventKind, Limit, Limits, NetworkConfig};
use smoltcp::wire::TcpControl;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;

fn with(limits: Limits) -> NetworkConfig {
    NetworkConfig { limits, ..config(local()) }
}

#[tokio::test]
async fn there_are_only_so_many_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let guest = Guest::start(with(Limits { tcp_flows: 4, ..Limits::default() }));
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(guest.connect(to).await.unwrap());
    }
    for _ in 0..20 {
        assert!(guest.connect(to).await.is_none());
    }
    assert_eq!((guest.counters().tcp_open, guest.counters().refused), (4, 20));
    let limit = guest.event(|event| matches!(event.kind, EventKind::Limit { .. })).await;
    assert_eq!(limit.kind, EventKind::Limit { limit: Limit::TcpFlows, count: 1 });
    // One that ends makes room.
    open[0].abort();
    guest.until(|counters| counters.tcp_open == 3).await;
    assert!(guest.connect(to).await.is_some());
}

/// Ten thousand connections from as many ports: those beyond the limit are refused, and the rest of the guest goes on.
#[tokio::test]
async fn ten_thousand_connections_meet_a_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let guest = Guest::start(with(Limits { tcp_flows: 64, pending_connects: 16, ..Limits::default() }));
    for port in 0..10_000 {
        guest.send(segment(RAW + port, to, TcpControl::Syn, 1, None, &[])).await;
    }
    guest.until(|counters| counters.packets_from_guest >= 10_000).await;
    let counters = guest.counters();
    assert_eq!((counters.tcp_open, counters.refused, counters.faults), (64, 10_000 - 64, 0));
}

/// An address that answers nothing: the first of each subnet this host is in would do, a black hole does better.
#[tokio::test]
async fn connects_that_hang_are_few_and_end() {
    let timeouts =
        Limits { pending_connects: 4, connect_timeout: Duration::from_millis(300), ..Limits::default() };
    let guest = Guest::start(with(timeouts));
    let to: SocketAddr = full_listener().await;
    for port in 0..50 {
        guest.send(segment(RAW + port, to, TcpControl::Syn, 1, None, &[])).await;
    }
    guest.until(|counters| counters.packets_from_guest >= 50 && counters.tcp_open == 0).await;
    let limit = guest.event(|event| matches!(event.kind, EventKind::Limit { .. })).await;
    assert!(matches!(limit.kind, EventKind::Limit { limit: Limit::PendingConnects, .. }));
}

/// A listener whose backlog is full, so that connecting to it takes for ever.
async fn full_listener() -> SocketAddr {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let to = listener.local_addr().unwrap();
    for _ in 0..8 {
        tokio::spawn(async move {
            let _stream = tokio::net::TcpStream::connect(to).await;
            std::future::pending::<()>().await;
        });
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    Box::leak(Box::new(listener));
    to
}

#[tokio::test]
async fn silence_ends_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let short = Duration::from_millis(200);
    for (limits, half) in [
        (Limits { tcp_idle: short, ..Limits::default() }, false),
        (Limits { half_closed_idle: short, ..Limits::default() }, true),
    ] {
        let guest = Guest::start(with(limits));
        let tcp = guest.connect(to).await.unwrap();
        let (_server, _) = listener.accept().await.unwrap();
        if half {
            tcp.close();
        }
        let closed = guest.event(|event| matches!(event.kind, EventKind::Closed { .. })).await;
        assert_eq!(closed.kind, EventKind::Closed { end: pyro_net::End::Idle });
        tcp.state(smoltcp::socket::tcp::State::Closed).await;
    }
}

/// Prints what connections cost in memory, this test's own ends included.
#[tokio::test]
#[ignore = "prints figures"]
async fn what_connections_cost() {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let (mut servers, mut ports) = (Vec::new(), RAW..);
    let idle = resident();
    let guest = Guest::start(with(Limits::default()));
    println!("network and guest: {} KiB more than {idle}", resident() - idle);
    for wanted in [32, 128, 400] {
        while servers.len() < wanted {
            open(&guest, ports.next().unwrap(), to).await;
            servers.push(listener.accept().await.unwrap().0);
        }
        println!("{wanted} idle connections: {} KiB", resident() - idle);
    }
}
