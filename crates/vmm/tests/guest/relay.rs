//! Calls of other processes, carried over by the one that owns the guest.

use std::time::Duration;

use pyro_protocol::v1::reply::Reply as Answer;
use pyro_protocol::v1::{Data, Pong, request};
use pyro_vmm::guest::{ExecEvent, ExecRequest};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::peer::{Peer, transferred};

const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_call_passes_unchanged() {
    let guest = Peer::start(|mut caller| async move {
        let request::Call::Ping(asked) = &caller.request else { panic!() };
        let pong = Pong { token: asked.token, agent_version: "1.2.3".into(), ..Pong::default() };
        caller.send(Answer::Pong(pong)).await;
    });
    let supervisor = Peer::relaying(guest.guest());
    assert_eq!(supervisor.guest().ping().await.unwrap().agent_version, "1.2.3");
    let large = Peer::start(|mut caller| async move {
        for _ in 0..200 {
            caller.send(Answer::Data(Data { data: vec![7; 60_000].into() })).await;
        }
        caller.send(transferred()).await;
    });
    let supervisor = Peer::relaying(large.guest());
    let content = supervisor.guest().read_file(b"/", b"file", u64::MAX).await.unwrap();
    assert_eq!(content.bytes.len(), 200 * 60_000);
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_call() {
    let (seen, mut ended) = mpsc::unbounded_channel();
    let guest = Peer::start(move |mut caller| {
        let seen = seen.clone();
        async move {
            caller.send(Answer::Started(pyro_protocol::v1::Started { pid: 1 })).await;
            while caller.input().await.is_some() {}
            seen.send(()).unwrap();
        }
    });
    let supervisor = Peer::relaying(guest.guest());
    let exec = supervisor.guest().exec(ExecRequest::default()).await.unwrap();
    drop(exec);
    timeout(DEADLINE, ended.recv()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_is_missed_also_while_the_guest_takes_no_input() {
    let (seen, mut ended) = mpsc::unbounded_channel();
    let guest = Peer::start(move |mut caller| {
        let seen = seen.clone();
        async move {
            caller.send(Answer::Started(pyro_protocol::v1::Started { pid: 1 })).await;
            // It reads nothing; that the host is gone shows when it writes.
            let output = || Answer::Output(pyro_protocol::v1::Output { stream: 1, data: "x".into() });
            while caller.send(output()).await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            seen.send(()).unwrap();
        }
    });
    let supervisor = Peer::relaying(guest.guest());
    let mut exec =
        supervisor.guest().exec(ExecRequest { stdin: true, ..ExecRequest::default() }).await.unwrap();
    let mut input = exec.take_input().unwrap();
    let stuffed = timeout(Duration::from_millis(500), input.write_stdin(&vec![0; 16 << 20])).await;
    assert!(stuffed.is_err(), "more than everything on the way can hold");
    assert!(matches!(exec.next().await.unwrap(), ExecEvent::Output(..)));
    drop((exec, input));
    timeout(DEADLINE, ended.recv()).await.unwrap().unwrap();
}
