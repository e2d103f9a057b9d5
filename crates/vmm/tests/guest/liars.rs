//! What a guest must not get away with.

use std::time::Duration;

use bytes::Bytes;
use pyro_protocol::frame::FrameError;
use pyro_protocol::limits::MAX_CHUNK_BYTES;
use pyro_protocol::v1;
use pyro_protocol::v1::reply::Reply as Answer;
use pyro_protocol::v1::{
    Change, ChangeKind, Data, Done, Entries, Entry, Exited, FileKind, Pong, Side, Transferred,
};
use pyro_vmm::VmmError;
use pyro_vmm::guest::{DiffLimits, ShellWait};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::peer::{Peer, data, entries, entry, transferred};

const LIMITS: DiffLimits = DiffLimits { max_content_bytes: 8, max_total_content_bytes: 10, max_changes: 3 };

/// Everything that the guest says until a diff is over.
async fn diff(peer: &Peer) -> Result<usize, VmmError> {
    let mut call = peer.guest().diff(LIMITS).await?;
    let mut changes = 0;
    while call.next().await?.is_some() {
        changes += 1;
    }
    Ok(changes)
}

fn misbehaved<T>(result: Result<T, VmmError>, part: &str) {
    match result {
        Err(VmmError::Misbehaved { what, .. }) => assert!(what.contains(part), "{part}: {what}"),
        Err(other) => panic!("{part}: {other:?}"),
        Ok(_) => panic!("{part}: accepted"),
    }
}

#[tokio::test]
async fn a_listing_holds_what_was_asked_for() {
    let other = |change: fn(&mut Entry)| {
        let mut entry = entry(b"sub/file");
        change(&mut entry);
        vec![entries([entry]), transferred()]
    };
    let listed = |path| vec![entries([entry(path)]), transferred()];
    let cases = [
        (listed(b"sub/../x"), "path"),
        (listed(b"../x"), "path"),
        (listed(b"/etc/passwd"), "path"),
        (listed(b"sub/a\0b"), "path"),
        (listed(b"sub//file"), "path"),
        (listed(b""), "path"),
        (listed(&[b'n'; 5000]), "path"),
        (listed(b"elsewhere"), "not asked for"),
        (listed(b"subfile"), "not asked for"),
        (listed(b"sub/deep/file"), "not asked for"),
        (other(|entry| entry.kind = 0), "unknown kind"),
        (other(|entry| entry.kind = 77), "unknown kind"),
        (other(|entry| entry.mode = 0o10_0644), "mode"),
        (other(|entry| entry.link_target = Bytes::from_static(b"x")), "link target"),
        (other(|entry| entry.kind = FileKind::Symlink.into()), "link target"),
        (vec![entries([entry(b"sub/a"), entry(b"sub/a")]), transferred()], "twice"),
        (vec![entries([])], "no entries"),
        (vec![entries([entry(b"sub/a"), entry(b"sub/b"), entry(b"sub/c")])], "more than"),
        (vec![data(b"x")], "something else"),
        (vec![Answer::Done(Done {})], "something else"),
    ];
    for (replies, part) in cases {
        let peer = Peer::saying(replies);
        misbehaved(peer.guest().list(b"/workspace", b"./sub/", false, 2).await, part);
    }
}

#[tokio::test]
async fn a_file_is_no_longer_than_asked_for() {
    let end = |change: fn(&mut Transferred)| {
        let Answer::Transferred(mut end) = transferred() else { unreachable!() };
        change(&mut end);
        vec![data(b"x"), Answer::Transferred(end)]
    };
    let cases = [
        (vec![data(b"12345")], "more than"),
        (vec![data(b"123"), data(b"45")], "more than"),
        (vec![data(b"")], "nothing"),
        (vec![Answer::Exited(Exited::default())], "something else"),
        (end(|end| end.mode = u32::MAX), "mode"),
        (end(|end| end.stamp = None), "state"),
    ];
    for (replies, part) in cases {
        let peer = Peer::saying(replies);
        misbehaved(peer.guest().read_file(b"/workspace", b"file", 4).await, part);
    }
}

fn side(kind: FileKind, content: Option<u64>) -> Side {
    Side {
        kind: kind.into(),
        size: content.unwrap_or_default(),
        mode: 0o644,
        has_content: content.is_some(),
        content_bytes: content.unwrap_or_default(),
        ..Side::default()
    }
}

fn added(path: &'static [u8], content: u64) -> Answer {
    changed(path, ChangeKind::Added, None, Some(side(FileKind::File, Some(content))))
}

fn changed(path: &'static [u8], kind: ChangeKind, before: Option<Side>, after: Option<Side>) -> Answer {
    Answer::Change(Change { path: Bytes::from_static(path), kind: kind.into(), before, after })
}

#[tokio::test]
async fn a_change_is_one() {
    use ChangeKind::{Added, Deleted, Modified, TypeChanged, Unspecified};
    let file = || Some(side(FileKind::File, None));
    let directory = || Some(side(FileKind::Directory, None));
    let mismatched = || Some(Side { size: 9, ..side(FileKind::File, Some(1)) });
    let odd = || Some(Side { kind: 9, ..Side::default() });
    let cases = [
        (vec![changed(b"../x", Added, None, file())], "path"),
        (vec![changed(b"/x", Added, None, file())], "path"),
        (vec![changed(b"a\0", Added, None, file())], "path"),
        (vec![changed(b"a", Added, file(), file())], "does not fit"),
        (vec![changed(b"a", Added, None, None)], "does not fit"),
        (vec![changed(b"a", Deleted, None, file())], "does not fit"),
        (vec![changed(b"a", Modified, file(), directory())], "does not fit"),
        (vec![changed(b"a", TypeChanged, file(), file())], "does not fit"),
        (vec![changed(b"a", Unspecified, file(), file())], "does not fit"),
        (vec![changed(b"a", Added, None, odd())], "unknown kind"),
        (vec![changed(b"a", Added, None, Some(side(FileKind::Directory, Some(0))))], "does not fit the file"),
        (vec![changed(b"a", Added, None, mismatched())], "does not fit the file"),
        (vec![added(b"a", 9)], "more content"),
        (vec![added(b"a", u64::MAX)], "more content"),
        (vec![added(b"a", 6), data(b"123456"), added(b"b", 5)], "more content"),
        (vec![added(b"a", 2), data(b"123")], "another length"),
        (vec![added(b"a", 2), data(b"")], "another length"),
        (vec![added(b"a", 2), transferred()], "broke off"),
        (vec![added(b"b", 0), added(b"a", 0)], "order"),
        (vec![added(b"a", 0), added(b"a", 0)], "order"),
        (vec![added(b"a", 0), added(b"b", 0), added(b"c", 0), added(b"d", 0)], "more changes"),
        (vec![data(b"x")], "something else"),
    ];
    for (replies, part) in cases {
        misbehaved(diff(&Peer::saying(replies)).await, part);
    }
}

#[tokio::test]
async fn what_has_no_end_is_cut_off() {
    let chunk = Answer::Data(Data { data: Bytes::from(vec![0; MAX_CHUNK_BYTES]) });
    let peer = Peer::start(move |mut caller| {
        let chunk = chunk.clone();
        async move { while caller.send(chunk.clone()).await {} }
    });
    misbehaved(peer.guest().read_file(b"/", b"file", 1 << 20).await, "more than");
    let peer = Peer::start(|mut caller| async move {
        let mut number = 0;
        loop {
            let path = |number: u64| format!("{number}-{}", "n".repeat(4000)).into();
            let entries = (number..number + 20).map(|number| Entry { path: path(number), ..entry(b"") });
            number += 20;
            if !caller.send(Answer::Entries(Entries { entries: entries.collect() })).await {
                return;
            }
        }
    });
    // The memory that paths take is bounded as well as their number.
    misbehaved(peer.guest().list(b"/", b"", true, u64::MAX).await, "more than");
}

#[tokio::test]
async fn a_huge_frame_is_refused_by_its_length() {
    let peer = Peer::start(|mut caller| async move {
        caller.stream().write_all(&[0xFF; 64]).await.unwrap();
        while let Some(_input) = caller.input().await {}
    });
    let refused = peer.guest().read_file(b"/", b"file", u64::MAX).await;
    assert!(
        matches!(refused, Err(VmmError::Channel { source: FrameError::TooLong { .. }, .. })),
        "{refused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn silence_ends_every_call() {
    let peer = Peer::saying(Vec::new());
    let guest = peer.guest();
    let timed_out = |result: Result<(), VmmError>| {
        assert!(matches!(result, Err(VmmError::CallTimeout { .. })), "{result:?}");
    };
    timed_out(guest.ping().await.map(|_| ()));
    timed_out(guest.list(b"/", b"", true, 1).await.map(|_| ()));
    timed_out(guest.read_file(b"/", b"file", 1).await.map(|_| ()));
    timed_out(guest.write_file(b"/", b"file", 0o644, b"x").await);
    timed_out(guest.replace(b"/", Vec::new()).await);
    timed_out(guest.freeze(Duration::from_secs(1)).await.map(|_| ()));
    timed_out(diff(&peer).await.map(|_| ()));
    timed_out(guest.read_shell("sh-1", 0, 1, ShellWait::No).await.map(|_| ()));
    timed_out(guest.write_shell("sh-1", b"x").await);
    timed_out(guest.close_shell("sh-1").await.map(|_| ()));
    timed_out(guest.list_shells().await.map(|_| ()));
    timed_out(guest.list_services(Duration::from_secs(1)).await.map(|_| ()));
    timed_out(guest.read_service_log("one").await.map(|_| ()));
    timed_out(guest.stop_service("one", Duration::from_secs(1)).await.map(|_| ()));
    let frozen = Peer::saying(vec![Answer::Done(Done {})]);
    timed_out(frozen.guest().freeze(Duration::from_secs(1)).await.unwrap().thaw().await);
}

#[tokio::test(start_paused = true)]
async fn a_trickle_ends_as_well() {
    let peer = Peer::start(|mut caller| async move {
        while caller.send(data(b"x")).await {
            tokio::time::sleep(Duration::from_secs(50)).await;
        }
    });
    let begun = Instant::now();
    let result = peer.guest().read_file(b"/", b"file", u64::MAX).await;
    assert!(matches!(result, Err(VmmError::CallTimeout { .. })), "{result:?}");
    assert!(begun.elapsed() < Duration::from_hours(1));
}

#[tokio::test]
async fn other_answers_are_no_acknowledgement() {
    let peer = Peer::saying(vec![Answer::Pong(Pong::default())]);
    let guest = peer.guest();
    misbehaved(guest.write_file(b"/", b"file", 0o644, b"x").await, "something else");
    misbehaved(guest.replace(b"/", Vec::new()).await, "something else");
    misbehaved(guest.freeze(Duration::from_secs(1)).await.map(|_| ()), "something else");
    misbehaved(guest.ping().await, "something else");
}

fn shell_state(begin: u64, end: u64) -> v1::ShellState {
    v1::ShellState { id: "sh-1".to_owned(), columns: 80, rows: 24, begin, end, exited: None }
}

#[tokio::test]
async fn what_a_shell_cannot_have_printed_is_refused() {
    let output =
        |first, bytes, state| Answer::ShellOutput(v1::ShellOutput { first, bytes, state: Some(state) });
    let done = || Answer::Done(Done {});
    let lies = [
        vec![Answer::ShellOutput(v1::ShellOutput::default())],
        vec![output(0, u64::MAX, shell_state(0, u64::MAX))],
        vec![output(u64::MAX, 1, shell_state(0, 1))],
        vec![output(0, 2, shell_state(0, 1))],
        vec![output(0, 100, shell_state(0, 100))],
        vec![output(3, 0, shell_state(9, 3))],
        vec![output(0, 4, shell_state(0, 2 << 20))],
        vec![output(0, 2, shell_state(0, 2)), data(b"x"), done()],
        vec![output(0, 2, shell_state(0, 2)), data(b"xyz")],
        vec![output(0, 2, shell_state(0, 2)), data(b"")],
        vec![output(0, 0, v1::ShellState { columns: 0, ..shell_state(0, 0) })],
        vec![output(0, 0, v1::ShellState { id: "../x".to_owned(), ..shell_state(0, 0) })],
    ];
    for lie in lies {
        let peer = Peer::saying(lie);
        misbehaved(peer.guest().read_shell("sh-1", 0, 10, ShellWait::No).await, "");
    }
    let many = vec![shell_state(0, 0); 100];
    let peer = Peer::saying(vec![Answer::Shells(v1::Shells { shells: many })]);
    misbehaved(peer.guest().list_shells().await, "more shells");
}

#[tokio::test]
async fn what_a_service_cannot_be_is_refused() {
    let state = |name: &str, status: v1::ServiceStatus| v1::ServiceState {
        name: name.to_owned(),
        status: status.into(),
        ..v1::ServiceState::default()
    };
    let running = || state("one", v1::ServiceStatus::Running);
    let lies = [
        vec![state("", v1::ServiceStatus::Running)],
        vec![state("a/b", v1::ServiceStatus::Running)],
        vec![state("one", v1::ServiceStatus::Unspecified)],
        vec![running(); 100],
    ];
    for services in lies {
        let peer = Peer::saying(vec![Answer::Services(v1::Services { services })]);
        misbehaved(peer.guest().list_services(Duration::from_secs(5)).await, "");
    }
    let log = |stdout_bytes, stderr_bytes, state| {
        Answer::ServiceLog(v1::ServiceLog { state, stdout_bytes, stderr_bytes, ..v1::ServiceLog::default() })
    };
    let lies = [
        vec![log(0, 0, None)],
        vec![log(1 << 40, 0, Some(running()))],
        vec![log(1, 1, Some(running())), data(b"x"), Answer::Done(Done {})],
        vec![log(1, 1, Some(running())), data(b"xyz")],
    ];
    for lie in lies {
        let peer = Peer::saying(lie);
        misbehaved(peer.guest().read_service_log("one").await, "");
    }
    let peer = Peer::saying(vec![Answer::Services(v1::Services { services: Vec::new() })]);
    misbehaved(peer.guest().stop_service("one", Duration::from_secs(1)).await, "other services");
}

/// Everything that comes over a connection.
async fn dialled(replies: Vec<Answer>) -> Result<Vec<u8>, VmmError> {
    let peer = Peer::saying(replies);
    let (mut sender, mut receiver) = peer.guest().dial(80).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = receiver.next().await? {
        bytes.extend_from_slice(&piece);
    }
    sender.end().await?;
    receiver.finish().await?;
    Ok(bytes)
}

#[tokio::test]
async fn a_connection_is_data_and_two_ends() {
    let done = || Answer::Done(Done {});
    let whole = vec![done(), data(b"one"), data(b"two"), done(), done()];
    assert_eq!(dialled(whole).await.unwrap(), b"onetwo");
    let long = Answer::Data(Data { data: Bytes::from(vec![0; MAX_CHUNK_BYTES + 1]) });
    let lies = [
        (vec![data(b"x")], "before it was connected"),
        (vec![done(), data(b"")], "empty or too long"),
        (vec![done(), long], "empty or too long"),
        (vec![done(), transferred()], "something else"),
        (vec![done(), done(), data(b"x")], "after the end"),
        (vec![done(), done(), transferred()], "after the end"),
    ];
    for (lie, part) in lies {
        misbehaved(dialled(lie).await, part);
    }
    let reset = v1::Failure { kind: v1::FailureKind::Io.into(), ..v1::Failure::default() };
    let refused = dialled(vec![done(), data(b"x"), Answer::Failure(reset)]).await;
    assert!(matches!(refused, Err(VmmError::Refused { call: "dial", .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_not_made_is_given_up() {
    let peer = Peer::saying(Vec::new());
    assert!(matches!(peer.guest().dial(80).await, Err(VmmError::CallTimeout { .. })));
}

#[tokio::test]
async fn the_end_of_a_service_is_told_of_that_service() {
    for lie in [Answer::Done(Done {}), Answer::Services(v1::Services { services: Vec::new() })] {
        let peer = Peer::saying(vec![lie]);
        let awaited = peer.guest().await_service("one").await.unwrap();
        misbehaved(awaited.ended().await, "");
    }
    let peer = Peer::start(|_caller| async {});
    let awaited = peer.guest().await_service("one").await.unwrap();
    assert!(matches!(awaited.ended().await, Err(VmmError::ChannelClosed { .. })));
}
