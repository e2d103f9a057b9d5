//! What passes: calls through a socket, as a guest in order answers them.

use std::fs;
use std::time::Duration;

use bytes::Bytes;
use pyro_protocol::v1::reply::Reply as Answer;
use pyro_protocol::v1::{self, ChangeKind as Kind, Done, Failure, FailureKind, input, request};
use pyro_vmm::guest::{Change, ChangeKind, DiffLimits, FileChange, FileKind, FileStamp};
use pyro_vmm::{Guest, VmmError};
use tokio::sync::mpsc;

use crate::peer::{Peer, data, entries, entry, transferred};

#[tokio::test]
async fn a_socket_may_lie_at_the_end_of_a_long_path() {
    let peer = Peer::saying(vec![data(b"con"), data(b"tent"), transferred()]);
    let home = tempfile::tempdir().unwrap();
    let deep = home.path().join("d".repeat(120));
    fs::create_dir(&deep).unwrap();
    std::os::unix::fs::symlink(peer.socket(), deep.join("socket")).unwrap();
    let guest = Guest::at(deep.join("socket"));
    let content = guest.read_file(b"/workspace", b"file", 100).await.unwrap();
    assert_eq!((&content.bytes[..], content.mode, content.stamp.inode), (&b"content"[..], 0o644, 7));
    let empty = Peer::saying(vec![data(b"x"), transferred()]);
    assert_eq!(empty.guest().read_file(b"", b"/file", 0).await.unwrap().bytes, Bytes::new());
}

#[tokio::test]
async fn nobody_there_is_a_guest_that_went_away() {
    let home = tempfile::tempdir().unwrap();
    let absent = Guest::at(home.path().join("socket"));
    assert!(matches!(absent.ping().await, Err(VmmError::ChannelClosed { call: "ping" })));
    drop(tokio::net::UnixListener::bind(home.path().join("socket")).unwrap());
    assert!(matches!(absent.ping().await, Err(VmmError::ChannelClosed { call: "ping" })));
    let gone = Peer::start(|caller| async move { drop(caller) });
    assert!(matches!(gone.guest().ping().await, Err(VmmError::ChannelClosed { call: "ping" })));
}

#[tokio::test]
async fn a_listing_is_sorted() {
    let peer =
        Peer::saying(vec![entries([entry(b"a-b"), entry(b"a/b")]), entries([entry(b"a")]), transferred()]);
    let listed = peer.guest().list(b"/workspace", b".", true, 3).await.unwrap();
    let paths: Vec<_> = listed.iter().map(|entry| &entry.path[..]).collect();
    assert_eq!(paths, [&b"a"[..], b"a/b", b"a-b"]);
    let itself = Peer::saying(vec![entries([entry(b"sub/file")]), transferred()]);
    assert_eq!(itself.guest().list(b"/workspace", b"sub/file", false, 1).await.unwrap().len(), 1);
}

#[tokio::test]
async fn changes_come_with_their_contents() {
    let side = |size: u64, has_content: bool| v1::Side {
        kind: v1::FileKind::File.into(),
        size,
        mode: 0o644,
        has_content,
        content_bytes: if has_content { size } else { 0 },
        ..v1::Side::default()
    };
    let change = |path: &'static [u8], kind: Kind, before, after| {
        Answer::Change(v1::Change { path: path.into(), kind: kind.into(), before, after })
    };
    let peer = Peer::saying(vec![
        change(b"a", Kind::Modified, Some(side(3, true)), Some(side(0, true))),
        data(b"ol"),
        data(b"d"),
        change(b"b", Kind::Added, None, Some(side(99, false))),
        transferred(),
    ]);
    let limits = DiffLimits { max_content_bytes: 3, max_total_content_bytes: 3, max_changes: 2 };
    let mut call = peer.guest().diff(limits).await.unwrap();
    let first: Change = call.next().await.unwrap().unwrap();
    assert_eq!((&first.path[..], first.kind), (&b"a"[..], ChangeKind::Modified));
    let (before, after) = (first.before.unwrap(), first.after.unwrap());
    assert_eq!((before.kind, before.content.unwrap()), (FileKind::File, Bytes::from_static(b"old")));
    assert_eq!(after.content.unwrap(), Bytes::new());
    let second = call.next().await.unwrap().unwrap();
    assert_eq!((second.kind, second.before), (ChangeKind::Added, None));
    assert_eq!(second.after.unwrap().content, None);
    assert_eq!(call.next().await.unwrap(), None);
    assert_eq!(call.next().await.unwrap(), None);
}

#[tokio::test]
async fn several_files_are_sent_one_after_the_other() {
    let (seen, mut inputs) = mpsc::unbounded_channel();
    let peer = Peer::start(move |mut caller| {
        let seen = seen.clone();
        async move {
            while let Some(input) = caller.input().await {
                let ended = matches!(input, input::Input::End(_));
                seen.send(input).unwrap();
                if ended {
                    caller.send(transferred()).await;
                }
            }
        }
    });
    let stamp = FileStamp { inode: 1, bytes: 2, mtime_ns: 3, ctime_ns: -4 };
    let changes = vec![
        FileChange { path: b"a".to_vec(), expected: None, content: Some((0o755, vec![7; 70_000])) },
        FileChange { path: b"b".to_vec(), expected: Some(stamp), content: None },
    ];
    peer.guest().replace(b"/workspace", changes).await.unwrap();
    let input::Input::File(first) = inputs.recv().await.unwrap() else { panic!() };
    assert_eq!((first.bytes, first.mode, first.remove, first.expected), (70_000, 0o755, false, None));
    for length in [65_536, 70_000 - 65_536] {
        let input::Input::Data(data) = inputs.recv().await.unwrap() else { panic!() };
        assert_eq!(data.data.len(), length);
    }
    let input::Input::File(second) = inputs.recv().await.unwrap() else { panic!() };
    assert_eq!((second.bytes, second.remove, second.expected), (0, true, Some(stamp.into())));
    assert!(matches!(inputs.recv().await.unwrap(), input::Input::End(_)));
}

#[tokio::test]
async fn a_refusal_in_the_middle_is_told_as_one() {
    let peer = Peer::start(|mut caller| async move {
        let failure = Failure {
            kind: FailureKind::WrongState.into(),
            message: "changed".into(),
            path: "a\u{1b}".into(),
        };
        caller.send(Answer::Failure(failure)).await;
    });
    let refused = peer.guest().write_file(b"/", b"file", 0o644, &vec![0; 10 << 20]).await.unwrap_err();
    let VmmError::Refused { kind, message, .. } = refused else { panic!("{refused:?}") };
    assert_eq!(kind, FailureKind::WrongState);
    assert_eq!(message, "changed (a\\u{1b})");
}

#[tokio::test]
async fn a_frozen_disk_thaws_when_told_or_dropped() {
    let (seen, mut ends) = mpsc::unbounded_channel();
    let peer = Peer::start(move |mut caller| {
        let seen = seen.clone();
        async move {
            let request::Call::Freeze(freeze) = caller.request else { panic!() };
            assert_eq!(freeze.limit_ms, 1500);
            caller.send(Answer::Done(Done {})).await;
            let input = caller.input().await;
            caller.send(Answer::Done(Done {})).await;
            seen.send(input).unwrap();
        }
    });
    let guest = peer.guest();
    let limit = Duration::from_millis(1500);
    guest.freeze(limit).await.unwrap().thaw().await.unwrap();
    assert!(matches!(ends.recv().await.unwrap(), Some(input::Input::End(_))));
    drop(guest.freeze(limit).await.unwrap());
    assert!(ends.recv().await.unwrap().is_none());
}
