//! Connections to real servers.

use crate::guest::{Guest, PATIENCE, config, local};
use pyro_net::{End, EventKind, Policy, Refusal, refused_range};
use smoltcp::socket::tcp::State;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const BULK: usize = 32 * 1024 * 1024;
/// A prime, so that a piece that is lost, doubled or moved shows.
const PERIOD: usize = 65_521;

async fn listener(address: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn accept(listener: &TcpListener) -> TcpStream {
    timeout(PATIENCE, listener.accept()).await.unwrap().unwrap().0
}

fn pattern() -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    let mut bytes: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_be_bytes()[0]
    })
    .take(PERIOD)
    .collect();
    bytes.extend_from_within(..);
    bytes
}

/// Checks bytes that continue the pattern at `at`.
fn check(pattern: &[u8], at: usize, bytes: &[u8]) {
    let mut at = at;
    for chunk in bytes.chunks(PERIOD) {
        let start = at % PERIOD;
        assert!(pattern[start..start + chunk.len()] == *chunk, "wrong bytes after {at}");
        at += chunk.len();
    }
}

/// Sends the pattern from the guest, and gives the MB/s.
async fn upload(address: &str) -> f64 {
    let (listener, to) = listener(address).await;
    let guest = Guest::start(config(local()));
    let server = tokio::spawn(async move {
        let (mut stream, pattern, mut total) = (accept(&listener).await, pattern(), 0);
        let mut buffer = vec![0; 65_536];
        loop {
            let read = stream.read(&mut buffer).await.unwrap();
            check(&pattern, total, &buffer[..read]);
            total += read;
            if read == 0 {
                return total;
            }
        }
    });
    let (tcp, pattern, started) = (guest.connect(to).await.unwrap(), pattern(), Instant::now());
    let mut sent = 0;
    while sent < BULK {
        let length = (BULK - sent).min(PERIOD);
        assert!(tcp.write(&pattern[sent % PERIOD..][..length]).await);
        sent += length;
    }
    tcp.close();
    assert_eq!(server.await.unwrap(), BULK);
    tcp.state(State::TimeWait).await;
    let closed = guest.event(|event| matches!(event.kind, EventKind::Closed { .. })).await;
    assert_eq!((closed.kind, closed.bytes_sent), (EventKind::Closed { end: End::Closed }, BULK as u64));
    rate(started)
}

/// Sends the pattern to the guest, and gives the MB/s.
async fn download(address: &str) -> f64 {
    let (listener, to) = listener(address).await;
    let guest = Guest::start(config(local()));
    let server = tokio::spawn(async move {
        let (mut stream, pattern, mut sent) = (accept(&listener).await, pattern(), 0);
        while sent < BULK {
            let length = (BULK - sent).min(PERIOD);
            stream.write_all(&pattern[sent % PERIOD..][..length]).await.unwrap();
            sent += length;
        }
    });
    let (tcp, pattern, started) = (guest.connect(to).await.unwrap(), pattern(), Instant::now());
    let (mut total, mut buffer) = (0, vec![0; 65_536]);
    loop {
        let read = tcp.read(&mut buffer).await.unwrap();
        check(&pattern, total, &buffer[..read]);
        total += read;
        if read == 0 {
            break;
        }
    }
    assert_eq!(total, BULK);
    server.await.unwrap();
    tcp.close();
    let closed = guest.event(|event| matches!(event.kind, EventKind::Closed { .. })).await;
    assert_eq!((closed.kind, closed.bytes_received), (EventKind::Closed { end: End::Closed }, BULK as u64));
    rate(started)
}

fn rate(started: Instant) -> f64 {
    f64::from(u32::try_from(BULK).unwrap()) / 1e6 / started.elapsed().as_secs_f64()
}

#[tokio::test]
async fn bulk_arrives_whole_both_ways() {
    for address in ["127.0.0.1", "::1"] {
        let (up, down) = (upload(address).await, download(address).await);
        println!("{address}: from the guest {up:.0} MB/s, to the guest {down:.0} MB/s");
    }
}

#[tokio::test]
async fn both_ways_at_once_on_one_connection() {
    let (listener, to) = listener("127.0.0.1").await;
    let guest = Guest::start(config(local()));
    let echo = tokio::spawn(async move {
        let mut stream = accept(&listener).await;
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap()
    });
    let tcp = guest.connect(to).await.unwrap();
    let pattern = pattern();
    let send = async {
        for _ in 0..64 {
            assert!(tcp.write(&pattern[..PERIOD]).await);
        }
        tcp.close();
    };
    let receive = async {
        let bytes = tcp.read_to_end().await.unwrap();
        check(&pattern, 0, &bytes);
        bytes.len()
    };
    let ((), received) = tokio::join!(send, receive);
    assert_eq!((received, echo.await.unwrap()), (64 * PERIOD, 64 * PERIOD as u64));
}

#[tokio::test]
async fn two_hundred_connections_at_once() {
    echoes(200, 64).await;
}

/// All of them wait for their turn nearly always, and none for one that has gone.
#[tokio::test]
async fn connections_share_a_channel_that_is_nearly_always_full() {
    echoes(50, 1).await;
}

async fn echoes(connections: usize, channel: usize) {
    let (listener, to) = listener("127.0.0.1").await;
    let guest = Guest::with_channels(config(local()), channel);
    tokio::spawn(async move {
        loop {
            let mut stream = accept(&listener).await;
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await.ok();
            });
        }
    });
    let mut clients = tokio::task::JoinSet::new();
    for index in 0..connections {
        let guest = guest.clone();
        clients.spawn(async move {
            let tcp = guest.connect(to).await.expect("a connection");
            let message = vec![u8::try_from(index).unwrap(); 200_000 + index];
            assert!(tcp.write(&message).await);
            tcp.close();
            assert!(tcp.read_to_end().await.unwrap() == message, "{index}");
        });
    }
    clients.join_all().await;
    guest.until(|counters| counters.tcp_open == 0).await;
    let counters = guest.counters();
    assert_eq!(
        (counters.tcp_connected, counters.refused, counters.packets_dropped),
        (connections as u64, 0, 0)
    );
    assert_eq!(counters.bytes_sent, counters.bytes_received);
}

#[tokio::test]
async fn each_side_may_close_first() {
    let (listener, to) = listener("127.0.0.1").await;
    let guest = Guest::start(config(local()));
    // The guest asks and is done asking; the answer still comes.
    let tcp = guest.connect(to).await.unwrap();
    let mut server = accept(&listener).await;
    assert!(tcp.write(b"question").await);
    tcp.close();
    let mut asked = Vec::new();
    server.read_to_end(&mut asked).await.unwrap();
    assert_eq!(asked, b"question");
    server.write_all(&vec![5; 300_000]).await.unwrap();
    drop(server);
    assert_eq!(tcp.read_to_end().await.unwrap(), vec![5; 300_000]);
    // The server is done first; what the guest says still arrives.
    let tcp = guest.connect(to).await.unwrap();
    let mut server = accept(&listener).await;
    server.write_all(b"banner").await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(tcp.read_to_end().await.unwrap(), b"banner");
    assert!(tcp.write(&vec![6; 300_000]).await);
    tcp.close();
    let mut said = Vec::new();
    server.read_to_end(&mut said).await.unwrap();
    assert_eq!(said, vec![6; 300_000]);
    guest.until(|counters| counters.tcp_open == 0).await;
}

#[tokio::test]
async fn resets_go_through() {
    let (listener, to) = listener("127.0.0.1").await;
    let guest = Guest::start(config(local()));
    let tcp = guest.connect(to).await.unwrap();
    let mut server = accept(&listener).await;
    tcp.abort();
    let error = timeout(PATIENCE, server.read(&mut [0; 8])).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let closed = guest.event(|event| matches!(event.kind, EventKind::Closed { .. })).await;
    assert_eq!(closed.kind, EventKind::Closed { end: End::GuestReset });

    let tcp = guest.connect(to).await.unwrap();
    accept(&listener).await.set_zero_linger().unwrap();
    assert!(tcp.read(&mut [0; 8]).await.is_err());
    tcp.state(State::Closed).await;
    let closed = guest.event(|event| matches!(event.kind, EventKind::Closed { .. })).await;
    assert_eq!(closed.kind, EventKind::Closed { end: End::HostReset });
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_refused_at_once() {
    for address in ["127.0.0.1", "::1"] {
        let (gone, to) = listener(address).await;
        drop(gone);
        let guest = Guest::start(config(local()));
        assert!(guest.connect(to).await.is_none());
        let refusal = guest.refusal().await;
        assert_eq!(refusal.kind, EventKind::Refused { reason: Refusal::HostRefused });
        assert_eq!((refusal.address, refusal.port), (Some(to.ip()), Some(to.port())));
    }
}

/// By an address of this host's that no policy refuses, where it has one.
#[tokio::test]
async fn the_default_policy_reaches_other_hosts() {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let own = socket.connect("203.0.113.1:9").and_then(|()| socket.local_addr()).map(|address| address.ip());
    let Some(own) = own.ok().filter(|own: &IpAddr| refused_range(*own).is_none()) else { return };
    let (listener, to) = listener(&own.to_string()).await;
    let guest = Guest::start(config(Policy::open()));
    let tcp = guest.connect(to).await.unwrap();
    accept(&listener).await.write_all(b"hello").await.unwrap();
    assert_eq!(tcp.read_to_end().await.unwrap(), b"hello");
}

#[tokio::test]
async fn a_side_that_does_not_read_stops_the_other() {
    let (listener, to) = listener("127.0.0.1").await;
    let guest = Guest::start(config(local()));
    let tcp = guest.connect(to).await.unwrap();
    let mut server = accept(&listener).await;
    // Fills everything there is between the two, then goes on when the server reads.
    let writer = tokio::spawn(async move {
        let done = tcp.write(&vec![7; BULK]).await;
        (tcp, done)
    });
    let mut last = u64::MAX;
    while guest.counters().bytes_sent != last {
        last = guest.counters().bytes_sent;
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    assert!(!writer.is_finished());
    let mut total = 0;
    let mut buffer = vec![0; 65_536];
    while total < BULK {
        total += server.read(&mut buffer).await.unwrap();
    }
    assert!(writer.await.unwrap().1);
}

/// The guest is done, and its stack as well, before a slow server has taken everything.
#[tokio::test]
async fn what_is_left_still_arrives() {
    let (listener, to) = listener("127.0.0.1").await;
    let guest = Guest::start(config(local()));
    for server_first in [true, false] {
        let tcp = guest.connect(to).await.unwrap();
        let mut server = accept(&listener).await;
        if server_first {
            server.shutdown().await.unwrap();
            assert!(tcp.read_to_end().await.unwrap().is_empty());
        }
        let (pattern, mut written, mut taken) = (pattern(), 0, 0);
        let before = guest.counters().bytes_sent;
        // Until the last piece stays in the ring.
        while taken == written {
            assert!(tcp.write(&pattern[written % PERIOD..][..20_000]).await);
            written += 20_000;
            for pause in [1, 1, 5, 50, 200] {
                taken = usize::try_from(guest.counters().bytes_sent - before).unwrap();
                if taken < written {
                    tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
                }
            }
        }
        tcp.close();
        if server_first {
            tcp.state(State::Closed).await;
        } else {
            tcp.state(State::FinWait2).await;
            server.shutdown().await.unwrap();
            tcp.state(State::TimeWait).await;
        }
        let mut said = Vec::new();
        timeout(PATIENCE, server.read_to_end(&mut said)).await.unwrap().unwrap();
        assert_eq!(said.len(), written);
        check(&pattern, 0, &said);
        let closed = guest.event(|event| matches!(event.kind, EventKind::Closed { .. })).await;
        assert_eq!(
            (closed.kind, closed.bytes_sent),
            (EventKind::Closed { end: End::Closed }, written as u64)
        );
    }
}

#[tokio::test]
async fn the_network_ends_its_connections() {
    let (listener, to) = listener("127.0.0.1").await;
    let (to_network, from_guest) = tokio::sync::mpsc::channel(1);
    let (to_guest, _from_network) = tokio::sync::mpsc::channel(1);
    let (event, _events) = tokio::sync::mpsc::channel(1);
    let network = tokio::spawn(pyro_net::Network::new(config(local()), event).run(from_guest, to_guest));
    drop(to_network);
    timeout(PATIENCE, network).await.unwrap().unwrap();

    let guest = Guest::start(config(local()));
    let _tcp = guest.connect(to).await.unwrap();
    let mut server = accept(&listener).await;
    guest.stop();
    assert!(matches!(timeout(PATIENCE, server.read(&mut [0; 8])).await.unwrap(), Ok(0) | Err(_)));
}
