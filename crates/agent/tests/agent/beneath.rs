//! Reading, writing and listing beneath a root, and what only a machine of its own can do.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use bytes::Bytes;
use pyro_protocol::v1::{
    Diff, Entry, Failure, FailureKind, FileKind, Freeze, List, ReadFile, Stamp, WriteFile, reply, request,
};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::client::{Guest, assert_failure, command, run, with_agent};

fn path_bytes(path: &Path) -> Bytes {
    Bytes::copy_from_slice(path.as_os_str().as_encoded_bytes())
}

fn bytes(path: &str) -> Bytes {
    Bytes::copy_from_slice(path.as_bytes())
}

async fn read(guest: &Guest, path: &str) -> Result<(Vec<u8>, u32, Stamp), Failure> {
    let request = ReadFile { root: path_bytes(guest.home()), path: bytes(path), ..ReadFile::default() };
    let (content, transferred) = guest.call(request::Call::ReadFile(request)).await.transferred().await?;
    Ok((content, transferred.mode, transferred.stamp.unwrap()))
}

async fn write(guest: &Guest, path: &str, content: &[u8]) -> Result<(), Failure> {
    let request = WriteFile { root: path_bytes(guest.home()), path: bytes(path), mode: 0o640 };
    let mut call = guest.call(request::Call::WriteFile(request)).await;
    call.data(content).await;
    call.end().await;
    call.transferred().await.map(|_| ())
}

async fn list(guest: &Guest, path: &str, recursive: bool, max_entries: u64) -> Result<Vec<Entry>, Failure> {
    let root = path_bytes(guest.home());
    let mut call =
        guest.call(request::Call::List(List { root, path: bytes(path), recursive, max_entries })).await;
    let mut entries = Vec::new();
    loop {
        match call.reply().await {
            reply::Reply::Entries(some) => {
                assert!(!some.entries.is_empty());
                entries.extend(some.entries);
            }
            reply::Reply::Transferred(transferred) => {
                assert_eq!(transferred.entries, entries.len() as u64);
                return Ok(entries);
            }
            reply::Reply::Failure(failure) => return Err(failure),
            other => panic!("not part of a listing: {other:?}"),
        }
    }
}

fn paths(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| std::str::from_utf8(&entry.path).unwrap()).collect()
}

#[test]
fn a_file_is_written_and_read_with_its_state() {
    with_agent(async |guest| {
        write(guest, "a/b/file", b"content").await.unwrap();
        let (content, mode, stamp) = read(guest, "./a//b/file").await.unwrap();
        assert_eq!((&content[..], mode, stamp.bytes), (&b"content"[..], 0o640, 7));
        assert_eq!(read(guest, "a/b/file").await.unwrap().2, stamp);
        write(guest, "a/b/file", b"another").await.unwrap();
        assert_ne!(read(guest, "a/b/file").await.unwrap().2, stamp);
    });
}

#[test]
fn no_link_is_followed_beneath_a_root() {
    with_agent(async |guest| {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "secret").unwrap();
        symlink(outside.path(), guest.path("out")).unwrap();
        fs::create_dir(guest.path("sub")).unwrap();
        fs::write(guest.path("sub/file"), "").unwrap();
        symlink("sub", guest.path("within")).unwrap();
        symlink("sub/file", guest.path("link")).unwrap();
        for path in ["out/secret", "within/file", "link", "../x", "sub/../sub/file", "/etc/passwd"] {
            assert_failure(&read(guest, path).await.unwrap_err(), FailureKind::UnsafePath, "");
            assert_failure(&write(guest, path, b"new").await.unwrap_err(), FailureKind::UnsafePath, "");
        }
        for path in ["out/secret", "within/file", "../x", "/etc", "out/."] {
            let failure = list(guest, path, true, 100).await;
            if path == "out/." {
                // In normal form that is the link, which lists itself.
                assert_eq!(paths(&failure.unwrap()), ["out"]);
            } else {
                assert_failure(&failure.unwrap_err(), FailureKind::UnsafePath, "");
            }
        }
        assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"secret");
        assert_eq!(fs::read(guest.path("sub/file")).unwrap(), b"");
        let linked_root =
            ReadFile { root: path_bytes(&guest.path("within")), path: bytes("file"), ..ReadFile::default() };
        let failure = guest.call(request::Call::ReadFile(linked_root)).await.failure().await;
        assert_failure(&failure, FailureKind::UnsafePath, "symbolic link");
    });
}

#[test]
fn a_directory_that_is_swapped_for_a_link_meanwhile_leads_nowhere() {
    with_agent(async |guest| {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("file"), "secret").unwrap();
        fs::create_dir(guest.path("dir")).unwrap();
        fs::write(guest.path("dir/file"), "public").unwrap();
        let home = guest.home().to_owned();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let target = outside.path().to_owned();
        let swapper = std::thread::spawn(move || {
            let (directory, link) = (home.join("dir"), home.join("link"));
            symlink(target, &link).unwrap();
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                renameat_with(CWD, &directory, CWD, &link, RenameFlags::EXCHANGE).unwrap();
            }
        });
        for _ in 0..300 {
            if let Ok((content, ..)) = read(guest, "dir/file").await {
                assert_ne!(content, b"secret");
            }
            let _ = write(guest, "dir/file", b"public").await;
            if let Ok(entries) = list(guest, "dir", true, 10).await {
                assert!(paths(&entries).iter().all(|path| path.starts_with("dir")), "{entries:?}");
            }
        }
        drop(stop);
        swapper.join().unwrap();
        assert_eq!(fs::read(outside.path().join("file")).unwrap(), b"secret");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    });
}

#[test]
fn a_directory_is_listed_flat_or_whole() {
    with_agent(async |guest| {
        fs::create_dir_all(guest.path("a/sub")).unwrap();
        fs::write(guest.path("a/sub/file"), "12345").unwrap();
        fs::write(guest.path("a-b"), "").unwrap();
        symlink("../anywhere", guest.path("a/link")).unwrap();
        assert_eq!(guest.exec(command(["mkfifo", "pipe"])).await.exited.exit_code, 0);
        let flat = list(guest, "", false, 100).await.unwrap();
        assert_eq!(paths(&flat), ["a", "a-b", "pipe"]);
        let whole = list(guest, "", true, 100).await.unwrap();
        assert_eq!(paths(&whole), ["a", "a/link", "a/sub", "a/sub/file", "a-b", "pipe"]);
        let kinds: Vec<_> = whole.iter().map(Entry::kind).collect();
        let [directory, link, file, other] =
            [FileKind::Directory, FileKind::Symlink, FileKind::File, FileKind::Other];
        assert_eq!(kinds, [directory, link, directory, file, file, other]);
        assert_eq!((whole[3].size, &whole[1].link_target[..]), (5, &b"../anywhere"[..]));
        assert!(whole[3].mtime_ns > 0 && whole[3].mode & 0o600 == 0o600);
        assert_eq!(paths(&list(guest, "a/sub/file", true, 1).await.unwrap()), ["a/sub/file"]);
        assert_eq!(paths(&list(guest, "a/link", true, 1).await.unwrap()), ["a/link"]);
        assert_failure(&list(guest, "a/none", true, 1).await.unwrap_err(), FailureKind::NotFound, "");
        assert_eq!(list(guest, "a", true, 3).await.unwrap().len(), 3);
        assert_failure(&list(guest, "a", true, 2).await.unwrap_err(), FailureKind::Exhausted, "more entries");
    });
}

#[test]
fn a_large_directory_is_listed_in_frames_of_many() {
    with_agent(async |guest| {
        for number in 0..3000 {
            fs::write(guest.path(&format!("{number:0100}")), "").unwrap();
        }
        let listed = list(guest, "", true, 3000).await.unwrap();
        assert_eq!(listed.len(), 3000);
        assert!(listed.is_sorted_by(|one, other| one.path < other.path));
    });
}

#[test]
fn an_ordinary_process_has_no_disk_to_freeze_or_compare() {
    run(async {
        let guest = Guest::start().await;
        let refused = |call| async { guest.call(call).await.failure().await };
        let diff = || request::Call::Diff(Diff::default());
        assert_failure(&refused(diff()).await, FailureKind::WrongState, "configured");
        guest.configure().await;
        assert_failure(&refused(diff()).await, FailureKind::Unsupported, "disk");
        let freeze = |limit_ms| request::Call::Freeze(Freeze { limit_ms });
        assert_failure(&refused(freeze(1000)).await, FailureKind::Unsupported, "disk");
        assert_failure(&refused(freeze(0)).await, FailureKind::Invalid, "limit");
        assert_failure(&refused(freeze(u64::MAX)).await, FailureKind::Invalid, "limit");
        assert!(guest.close().await.success());
    });
}
