//! Replace: all of several files or none.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use bytes::Bytes;
use pyro_protocol::limits::{MAX_REPLACE_BYTES, MAX_REPLACE_FILES};
use pyro_protocol::v1::{Failure, FailureKind, FileChange, Replace, Stamp, Transferred, input, request};

use crate::client::{Conversation, Guest, assert_failure, wait_for, with_agent};

/// A change, and its content unless it removes.
type Change<'a> = (FileChange, &'a [u8]);

fn stamp(path: &Path) -> Stamp {
    let found = fs::symlink_metadata(path).unwrap();
    Stamp {
        inode: found.ino(),
        bytes: found.len(),
        mtime_ns: found.mtime() * 1_000_000_000 + found.mtime_nsec(),
        ctime_ns: found.ctime() * 1_000_000_000 + found.ctime_nsec(),
    }
}

fn create<'a>(path: &str, content: &'a str) -> Change<'a> {
    let path = Bytes::copy_from_slice(path.as_bytes());
    let change = FileChange { path, mode: 0o600, bytes: content.len() as u64, ..FileChange::default() };
    (change, content.as_bytes())
}

/// Over the file as it is now.
fn over<'a>(guest: &Guest, path: &str, content: &'a str) -> Change<'a> {
    let (change, content) = create(path, content);
    (FileChange { expected: Some(stamp(&guest.path(path))), ..change }, content)
}

fn remove(guest: &Guest, path: &str) -> Change<'static> {
    let (change, _) = over(guest, path, "");
    (FileChange { remove: true, ..change }, b"")
}

async fn begin(guest: &Guest) -> Conversation {
    let root = Bytes::copy_from_slice(guest.home().as_os_str().as_encoded_bytes());
    guest.call(request::Call::Replace(Replace { root })).await
}

async fn send(call: &mut Conversation, changes: &[Change<'_>]) {
    for (change, content) in changes {
        if !call.send(input::Input::File(change.clone())).await || !call.data(content).await {
            return;
        }
    }
}

async fn replace(guest: &Guest, changes: &[Change<'_>]) -> Result<Transferred, Failure> {
    let mut call = begin(guest).await;
    send(&mut call, changes).await;
    call.end().await;
    call.transferred().await.map(|(_, transferred)| transferred)
}

/// Everything beneath the agent's directory, with the content of files.
fn everything(guest: &Guest) -> Vec<(String, Option<String>)> {
    let mut found = Vec::new();
    let mut pending = vec![guest.home().to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let name = path.strip_prefix(guest.home()).unwrap().to_str().unwrap().to_owned();
            if entry.file_type().unwrap().is_dir() {
                pending.push(path);
                found.push((name, None));
            } else {
                found.push((name, fs::read_to_string(path).ok()));
            }
        }
    }
    found.sort();
    found
}

fn populate(guest: &Guest) {
    fs::create_dir(guest.path("sub")).unwrap();
    for name in ["one", "two", "sub/three"] {
        fs::write(guest.path(name), format!("old {name}")).unwrap();
    }
    fs::set_permissions(guest.path("one"), fs::Permissions::from_mode(0o4751)).unwrap();
}

#[test]
fn several_files_change_at_once() {
    with_agent(async |guest| {
        populate(guest);
        let changes = [
            over(guest, "one", "new one"),
            remove(guest, "two"),
            create("fresh/deep/file", "fresh"),
            create("empty", ""),
            over(guest, "sub/three", &"x".repeat(200_000)),
        ]
        .map(|(change, content)| (change, content.to_vec()));
        let changes: Vec<Change<'_>> =
            changes.iter().map(|(change, content)| (change.clone(), &content[..])).collect();
        let transferred = replace(guest, &changes).await.unwrap();
        assert_eq!((transferred.entries, transferred.bytes), (5, 200_012));
        let found = everything(guest);
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["empty", "fresh", "fresh/deep", "fresh/deep/file", "one", "sub", "sub/three"]);
        assert_eq!(fs::read_to_string(guest.path("one")).unwrap(), "new one");
        assert_eq!(fs::read_to_string(guest.path("fresh/deep/file")).unwrap(), "fresh");
        assert_eq!(fs::metadata(guest.path("sub/three")).unwrap().len(), 200_000);
        let mode = |name| fs::metadata(guest.path(name)).unwrap().mode() & 0o7777;
        assert_eq!((mode("one"), mode("fresh/deep/file")), (0o4751, 0o600));
    });
}

#[test]
fn nothing_changes_when_one_file_is_not_as_expected() {
    with_agent(async |guest| {
        populate(guest);
        fs::create_dir(guest.path("folder")).unwrap();
        symlink("one", guest.path("link")).unwrap();
        let before = everything(guest);
        let mut stale = over(guest, "sub/three", "new");
        stale.0.expected.as_mut().unwrap().ctime_ns -= 1;
        let mut gone = create("gone", "x");
        gone.0.expected = Some(stamp(&guest.path("one")));
        let mut gone_already = remove(guest, "one");
        gone_already.0.path = "gone".into();
        let mut folder = over(guest, "folder", "x");
        folder.0.remove = true;
        folder.0.bytes = 0;
        let conflicts = [
            (stale, FailureKind::WrongState),
            (create("two", "was to be free"), FailureKind::WrongState),
            (create("link", "was to be free"), FailureKind::WrongState),
            (create("folder", "was to be free"), FailureKind::WrongState),
            (gone, FailureKind::WrongState),
            (gone_already, FailureKind::WrongState),
            ((folder.0, &b""[..]), FailureKind::WrongState),
            (over(guest, "link", "x"), FailureKind::UnsafePath),
            (create("link/below", "x"), FailureKind::UnsafePath),
            (create("sub/three/below", "x"), FailureKind::AlreadyExists),
            (create("../out", "x"), FailureKind::UnsafePath),
            (create("", "x"), FailureKind::Invalid),
        ];
        for (conflict, kind) in conflicts {
            for last in [true, false] {
                let mut changes =
                    vec![over(guest, "one", "new"), create("made/for/it", "x"), remove(guest, "two")];
                changes.retain(|(change, _)| change.path != conflict.0.path);
                changes.insert(if last { changes.len() } else { 0 }, conflict.clone());
                let failure = replace(guest, &changes).await.unwrap_err();
                assert_eq!((failure.kind(), &failure.path), (kind, &conflict.0.path), "{failure:?}");
                assert_eq!(everything(guest), before);
            }
        }
    });
}

#[test]
fn a_file_that_keeps_changing_is_replaced_with_all_others_or_not_at_all() {
    with_agent(async |guest| {
        populate(guest);
        let hot = guest.path("sub/three");
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let writer = std::thread::spawn(move || {
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                fs::write(&hot, "hot").unwrap();
                std::thread::sleep(std::time::Duration::from_micros(300));
            }
        });
        for round in 0..200 {
            let content = round.to_string();
            let files = ["one", "two", "sub/three"].map(|name| over(guest, name, &content));
            let replaced = replace(guest, &files).await;
            let found = ["one", "two"].map(|name| fs::read_to_string(guest.path(name)).unwrap());
            match replaced {
                Ok(_) => assert_eq!(found, [content.clone(), content]),
                Err(failure) => {
                    assert_failure(&failure, FailureKind::WrongState, "changed meanwhile");
                    assert!(found[0] != content && found[1] != content, "{found:?}");
                }
            }
        }
        drop(stop);
        writer.join().unwrap();
        assert_eq!(everything(guest).len(), 4);
    });
}

#[test]
fn what_is_announced_is_what_has_to_come() {
    with_agent(async |guest| {
        populate(guest);
        let before = everything(guest);
        let announced = |bytes| FileChange { bytes, ..create("new", "").0 };
        let cases: [(Vec<Change<'_>>, &str); 6] = [
            (vec![(announced(3), b"four")], "more content"),
            (vec![(announced(3), b"2!")], "less content"),
            (vec![(announced(3), b"2!"), create("next", "x")], "a file where data"),
            (vec![create("new", "x"), create("./new", "x")], "twice"),
            (vec![(announced(MAX_REPLACE_BYTES + 1), b"")], "more files or content"),
            (vec![(FileChange { remove: true, ..announced(0) }, b"")], "must be expected"),
        ];
        for (changes, part) in cases {
            let failure = replace(guest, &changes).await.unwrap_err();
            assert!(failure.message.contains(part), "{part}: {failure:?}");
            assert_eq!(everything(guest), before);
        }
    });
}

#[test]
fn there_is_a_most_of_files() {
    with_agent(async |guest| {
        let names: Vec<_> = (0..=MAX_REPLACE_FILES).map(|number| format!("d/{number}")).collect();
        let changes: Vec<_> = names.iter().map(|name| create(name, "")).collect();
        let failure = replace(guest, &changes).await.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Exhausted);
        assert_eq!(everything(guest), []);
    });
}

#[test]
fn a_replace_that_is_given_up_leaves_nothing() {
    with_agent(async |guest| {
        populate(guest);
        let before = everything(guest);
        let mut call = begin(guest).await;
        send(&mut call, &[over(guest, "one", "new"), create("a/b/c", "x"), remove(guest, "two")]).await;
        wait_for("the files are staged", || guest.path("a/b").is_dir().then_some(())).await;
        drop(call);
        wait_for("what was staged is removed", || (everything(guest) == before).then_some(())).await;
    });
}
