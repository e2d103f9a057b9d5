//! ReadFile and WriteFile.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use bytes::Bytes;
use pyro_protocol::v1::{Failure, FailureKind, ReadFile, Transferred, WriteFile, request};

use crate::client::{Guest, assert_failure, command, wait_for, with_agent};

fn path_bytes(path: &Path) -> Bytes {
    Bytes::copy_from_slice(path.as_os_str().as_encoded_bytes())
}

async fn read(
    guest: &Guest,
    path: &Path,
    offset: u64,
    max_bytes: u64,
) -> Result<(Vec<u8>, Transferred), Failure> {
    let path = path_bytes(path);
    let request = ReadFile { path, offset, max_bytes, ..ReadFile::default() };
    guest.call(request::Call::ReadFile(request)).await.transferred().await
}

async fn write(guest: &Guest, path: &Path, mode: u32, data: &[u8]) -> Result<Transferred, Failure> {
    let path = path_bytes(path);
    let mut call =
        guest.call(request::Call::WriteFile(WriteFile { path, mode, ..WriteFile::default() })).await;
    call.data(data).await;
    call.end().await;
    call.transferred().await.map(|(_, transferred)| transferred)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// What lies in the directory.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_file_is_read_whole_or_in_part() {
    with_agent(async |guest| {
        let content: Vec<u8> = (0..300_000_u32).map(|index| index.to_le_bytes()[1]).collect();
        fs::write(guest.path("file"), &content).unwrap();
        let whole = read(guest, &guest.path("file"), 0, 0).await.unwrap();
        assert!(whole.0 == content);
        assert_eq!((whole.1.bytes, whole.1.total_bytes), (300_000, 300_000));
        let part = read(guest, &guest.path("file"), 1000, 70_000).await.unwrap();
        assert!(part.0 == content[1000..71_000]);
        assert_eq!((part.1.bytes, part.1.total_bytes), (70_000, 300_000));
        assert_eq!(read(guest, &guest.path("file"), 400_000, 0).await.unwrap().0, b"");
        assert!(!read(guest, Path::new("/proc/self/status"), 0, 0).await.unwrap().0.is_empty());
    });
}

#[test]
fn only_regular_files_are_read() {
    with_agent(async |guest| {
        fs::write(guest.path("file"), "secret").unwrap();
        symlink("file", guest.path("link")).unwrap();
        fs::create_dir(guest.path("folder")).unwrap();
        assert_eq!(guest.exec(command(["mkfifo", "pipe"])).await.exited.exit_code, 0);
        let cases = [
            (guest.path("link"), FailureKind::UnsafePath),
            (guest.path("folder"), FailureKind::Invalid),
            (guest.path("pipe"), FailureKind::Invalid),
            (guest.path("absent"), FailureKind::NotFound),
            ("relative".into(), FailureKind::Invalid),
            ("".into(), FailureKind::Invalid),
        ];
        for (path, kind) in cases {
            let failure = read(guest, &path, 0, 0).await.unwrap_err();
            assert_failure(&failure, kind, "");
            assert_eq!(failure.path, path_bytes(&path));
        }
    });
}

#[test]
fn a_file_is_written_with_its_parents_and_keeps_the_mode_it_had() {
    with_agent(async |guest| {
        let path = guest.path("a/b/file");
        let transferred = write(guest, &path, 0o640, &vec![5; 200_000]).await.unwrap();
        assert_eq!(transferred.bytes, 200_000);
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (vec![5; 200_000], 0o640));
        write(guest, &path, 0o777, b"new").await.unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"new".to_vec(), 0o640));
        write(guest, &path, 0, b"").await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        assert_eq!(names(&guest.path("a/b")), ["file"]);
    });
}

#[test]
fn nothing_is_written_through_a_link_or_over_what_is_no_file() {
    with_agent(async |guest| {
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), guest.path("out")).unwrap();
        fs::write(outside.path().join("victim"), "old").unwrap();
        symlink(outside.path().join("victim"), guest.path("link")).unwrap();
        fs::create_dir(guest.path("folder")).unwrap();
        fs::write(guest.path("file"), "").unwrap();
        let cases = [
            (guest.path("out/victim"), FailureKind::UnsafePath),
            (guest.path("out/new/file"), FailureKind::UnsafePath),
            (guest.path("link"), FailureKind::UnsafePath),
            (guest.path("folder/../file"), FailureKind::UnsafePath),
            (guest.path("folder"), FailureKind::Invalid),
            (guest.path("file/below"), FailureKind::AlreadyExists),
            ("/".into(), FailureKind::Invalid),
            ("relative".into(), FailureKind::Invalid),
        ];
        for (path, kind) in cases {
            let failure = write(guest, &path, 0o644, b"new").await.unwrap_err();
            assert_failure(&failure, kind, "");
        }
        assert_eq!(fs::read(outside.path().join("victim")).unwrap(), b"old");
        assert_eq!(names(outside.path()), ["victim"]);
        assert_eq!(names(guest.home()).len(), 4);
    });
}

#[test]
fn a_write_that_is_given_up_leaves_nothing() {
    with_agent(async |guest| {
        let path = guest.path("file");
        fs::write(&path, "old").unwrap();
        let request = WriteFile { path: path_bytes(&path), mode: 0o644, ..WriteFile::default() };
        let mut call = guest.call(request::Call::WriteFile(request)).await;
        call.data(b"half of it").await;
        wait_for("the file is being written", || (names(guest.home()).len() == 2).then_some(())).await;
        drop(call);
        wait_for("what was written is removed", || (names(guest.home()) == ["file"]).then_some(())).await;
        assert_eq!(fs::read(&path).unwrap(), b"old");
    });
}
