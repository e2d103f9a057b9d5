//! Connections to ports of the guest's loopback.

use bytes::Bytes;
use pyro_protocol::v1::{
    AwaitService, Data, Dial, Failure, FailureKind, ServiceStatus, StartService, StopService, input, reply,
    request,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::client::{Conversation, Guest, assert_failure, shell, with_agent};

/// A listener, and its port.
async fn listener() -> (TcpListener, u32) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port.into())
}

async fn dial(guest: &Guest, port: u32) -> Conversation {
    guest.call(request::Call::Dial(Dial { port })).await
}

/// A connection to `listener`: the call, and the other end.
async fn connected(guest: &Guest, listener: &TcpListener, port: u32) -> (Conversation, TcpStream) {
    let mut call = dial(guest, port).await;
    let (server, _) = listener.accept().await.unwrap();
    done(&mut call).await;
    (call, server)
}

async fn done(call: &mut Conversation) {
    match call.reply().await {
        reply::Reply::Done(_) => {}
        other => panic!("{other:?}"),
    }
}

/// What comes until that direction ends, or the connection fails.
async fn received(call: &mut Conversation) -> Result<Vec<u8>, (Vec<u8>, Failure)> {
    let mut bytes = Vec::new();
    loop {
        match call.reply().await {
            reply::Reply::Data(data) => bytes.extend_from_slice(&data.data),
            reply::Reply::Done(_) => return Ok(bytes),
            reply::Reply::Failure(failure) => return Err((bytes, failure)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn bytes_go_both_ways_at_once() {
    with_agent(async |guest| {
        let (listener, port) = listener().await;
        let (mut call, mut server) = connected(guest, &listener, port).await;
        for text in [&b"one"[..], b"two", b"three"] {
            assert!(call.data(text).await);
            let mut echoed = vec![0; text.len()];
            server.read_exact(&mut echoed).await.unwrap();
            server.write_all(&echoed).await.unwrap();
            let reply::Reply::Data(data) = call.reply().await else { panic!("no echo") };
            assert_eq!(data.data, text);
        }
        drop(server);
        assert_eq!(received(&mut call).await.unwrap(), b"");
        call.end().await;
        done(&mut call).await;
        assert!(call.next().await.is_none(), "the call is over");
    });
}

#[test]
fn either_direction_may_end_first() {
    with_agent(async |guest| {
        let (listener, port) = listener().await;
        // The host's: the guest answers to the end of the question.
        let (mut call, mut server) = connected(guest, &listener, port).await;
        assert!(call.data(b"question").await);
        call.end().await;
        let mut asked = String::new();
        server.read_to_string(&mut asked).await.unwrap();
        server.write_all(format!("{asked}, answer").as_bytes()).await.unwrap();
        drop(server);
        assert_eq!(received(&mut call).await.unwrap(), b"question, answer");
        done(&mut call).await;
        // The guest's: the host goes on.
        let (mut call, mut server) = connected(guest, &listener, port).await;
        server.write_all(b"hello").await.unwrap();
        server.shutdown().await.unwrap();
        assert_eq!(received(&mut call).await.unwrap(), b"hello");
        assert!(call.data(b"still here").await);
        call.end().await;
        let mut heard = String::new();
        server.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "still here");
        done(&mut call).await;
        assert!(call.next().await.is_none());
    });
}

#[test]
fn what_nobody_listens_at_is_refused() {
    with_agent(async |guest| {
        let (listener, port) = listener().await;
        drop(listener);
        assert_failure(&dial(guest, port).await.failure().await, FailureKind::Io, "refused");
        for port in [0, 65_536, u32::MAX] {
            assert_failure(&dial(guest, port).await.failure().await, FailureKind::Invalid, "port");
        }
        let listener = TcpListener::bind("[::1]:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (_call, _server) = connected(guest, &listener, port.into()).await;
    });
}

#[test]
fn who_is_slow_to_accept_is_waited_for() {
    with_agent(async |guest| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let port: u32 = listener.local_addr().unwrap().port().into();
        let mut calls = Vec::new();
        for _ in 0..20 {
            calls.push(dial(guest, port).await);
        }
        let mut servers = Vec::new();
        while servers.len() < calls.len() {
            servers.push(listener.accept().await.unwrap().0);
        }
        for call in &mut calls {
            done(call).await;
        }
    });
}

#[test]
fn a_reset_is_told_behind_what_came_before() {
    with_agent(async |guest| {
        let (listener, port) = listener().await;
        let (mut call, mut server) = connected(guest, &listener, port).await;
        server.write_all(b"last words").await.unwrap();
        server.set_zero_linger().unwrap();
        drop(server);
        let (bytes, failure) = received(&mut call).await.unwrap_err();
        assert!(bytes == b"last words" || bytes.is_empty(), "{bytes:?}");
        assert_failure(&failure, FailureKind::Io, "reset");
        // One that is gone takes no more.
        let (mut call, server) = connected(guest, &listener, port).await;
        drop(server);
        assert_eq!(received(&mut call).await.unwrap(), b"");
        while call.data(b"anybody there?").await {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_call_that_is_dropped_resets_the_connection() {
    with_agent(async |guest| {
        let (listener, port) = listener().await;
        let (call, mut server) = connected(guest, &listener, port).await;
        drop(call);
        let read = server.read(&mut [0; 10]).await;
        assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        // Also one whose other end takes nothing.
        let (mut call, mut server) = connected(guest, &listener, port).await;
        let flood = vec![0; 64 * 1024];
        let filling = async { while call.data(&flood).await {} };
        let filled = tokio::time::timeout(std::time::Duration::from_millis(500), filling).await;
        assert!(filled.is_err(), "there is no end to what it holds");
        drop(call);
        let mut taken = vec![0; 1 << 20];
        loop {
            match server.read(&mut taken).await {
                Ok(count) => assert!(count > 0, "an orderly end"),
                Err(error) => break assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
            }
        }
    });
}

#[test]
fn a_lot_arrives_whole_in_both_directions() {
    with_agent(async |guest| {
        const BYTES: usize = 20_000_000;
        let (listener, port) = listener().await;
        let (mut call, mut server) = connected(guest, &listener, port).await;
        let byte = |position: usize| u8::try_from(position * 31 / 7 % 251).unwrap();
        let sent = Bytes::from((0..BYTES).map(byte).collect::<Vec<_>>());
        let echoing = tokio::task::spawn_local(async move {
            let (mut from, mut to) = server.split();
            tokio::io::copy(&mut from, &mut to).await.unwrap()
        });
        // The echo is read while it is sent, by one task: no more is sent than has come back, or is under way.
        let (mut back, mut position) = (Vec::with_capacity(BYTES), 0);
        while back.len() < BYTES {
            while position < BYTES && position - back.len() < 128 * 1024 {
                let data = sent.slice(position..BYTES.min(position + 32 * 1024));
                position += data.len();
                assert!(call.send(input::Input::Data(Data { data })).await);
            }
            let reply::Reply::Data(data) = call.reply().await else { panic!("no data") };
            back.extend_from_slice(&data.data);
        }
        assert!(back == sent);
        call.end().await;
        assert_eq!(received(&mut call).await.unwrap(), b"");
        done(&mut call).await;
        assert_eq!(echoing.await.unwrap(), BYTES as u64);
    });
}

#[test]
fn who_does_not_read_holds_up_nobody_else() {
    with_agent(async |guest| {
        let (listener, port) = listener().await;
        let (_deaf, mut flooding) = connected(guest, &listener, port).await;
        let flood = vec![7; 1 << 20];
        let filling = async { while flooding.write_all(&flood).await.is_ok() {} };
        assert!(tokio::time::timeout(std::time::Duration::from_millis(500), filling).await.is_err());
        let (mut call, mut server) = connected(guest, &listener, port).await;
        assert!(call.data(b"ping").await);
        let mut heard = [0; 4];
        server.read_exact(&mut heard).await.unwrap();
        server.write_all(b"pong").await.unwrap();
        let reply::Reply::Data(data) = call.reply().await else { panic!("no answer") };
        assert_eq!(data.data, &b"pong"[..]);
    });
}

#[test]
fn only_data_and_an_end_are_sent() {
    with_agent(async |guest| {
        let (listener, port) = listener().await;
        let (mut call, _server) = connected(guest, &listener, port).await;
        call.signal(9).await;
        assert_failure(&call.failure().await, FailureKind::Invalid, "only data");
    });
}

#[test]
fn the_end_of_a_service_is_told() {
    with_agent(async |guest| {
        let awaited = |name: &str| {
            let request = AwaitService { name: name.to_owned() };
            guest.call(request::Call::AwaitService(request))
        };
        let missing = awaited("none").await.failure().await;
        assert_failure(&missing, FailureKind::NotFound, "no such service");
        guest.exec(shell("mkfifo fifo")).await;
        for name in ["stopped", "exits"] {
            let script = if name == "exits" { "read line < fifo; exit 3" } else { "exec sleep 1000" };
            let start = StartService {
                name: name.to_owned(),
                argv: ["/bin/sh", "-c", script].map(|word| Bytes::copy_from_slice(word.as_bytes())).to_vec(),
                ready_timeout_ms: 20_000,
                ..StartService::default()
            };
            let mut starting = guest.call(request::Call::StartService(start)).await;
            starting.started().await;
            let _ready = starting.reply().await;
            let mut waiting = awaited(name).await;
            if name == "exits" {
                guest.exec(shell("echo > fifo")).await;
            } else {
                let stop = StopService { name: name.to_owned(), grace_ms: 1000 };
                guest.ask(request::Call::StopService(stop)).await;
            }
            let reply::Reply::Services(mut told) = waiting.reply().await else { panic!("no service") };
            let state = told.services.pop().unwrap();
            let expected = if name == "exits" { ServiceStatus::Exited } else { ServiceStatus::Stopped };
            assert_eq!((state.name.as_str(), state.status()), (name, expected));
            let reply::Reply::Services(again) = awaited(name).await.reply().await else { panic!("gone") };
            assert_eq!(again.services, [state], "it is told again");
        }
    });
}
