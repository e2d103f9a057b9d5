//! Directories and sound archives as sources.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use pyro_protocol::error::{Diagnostic, ErrorKind};
use pyro_tree::{Limits, Problem, Source, SourceKind, Totals, TreeError};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tar::Archive;

use crate::support::{Crafted, describe, gzip, unpack};

fn tar_of(source: Source) -> Result<(Vec<u8>, Totals), TreeError> {
    let mut archive = Vec::new();
    let totals = source.write_tar(&mut archive, Limits::default())?;
    Ok((archive, totals))
}

fn names(archive: &[u8]) -> Vec<String> {
    let mut archive = Archive::new(archive);
    let entries = archive.entries().unwrap();
    entries.map(|entry| String::from_utf8_lossy(&entry.unwrap().path_bytes()).into_owned()).collect()
}

#[test]
fn a_directory_comes_whole_and_belongs_to_root() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = from.path().join("root");
    fs::create_dir_all(root.join("sub")).unwrap();
    for name in [&b" "[..], b"new\nline", b"\xFF\xFE", b"-rf", &[b'n'; 255]] {
        fs::write(root.join(OsStr::from_bytes(name)), name).unwrap();
    }
    fs::write(root.join("sub/empty"), "").unwrap();
    symlink("/etc", root.join("sub/absolute")).unwrap();
    symlink("..", root.join("up")).unwrap();
    rustix::fs::chown(root.join("sub/empty"), Some(rustix::fs::Uid::from_raw(1000)), None)
        .unwrap_or_default();
    symlink("root", from.path().join("link")).unwrap();
    for path in [&root, &from.path().join("link"), &root.join("sub/..")] {
        let source = Source::open(path).unwrap();
        assert_eq!(source.kind(), SourceKind::Directory);
        let (archive, totals) = tar_of(source).unwrap();
        assert_eq!((totals.entries, totals.skipped), (9, 0));
        for entry in Archive::new(&archive[..]).entries().unwrap() {
            let entry = entry.unwrap();
            assert_eq!((entry.header().uid().unwrap(), entry.header().gid().unwrap()), (0, 0));
        }
        unpack(to.path(), &archive).unwrap();
        assert_eq!(describe(&root), describe(to.path()));
    }
}

#[test]
fn what_no_archive_holds_is_left_out_or_refused() {
    let from = tempfile::tempdir().unwrap();
    fs::write(from.path().join("file"), "").unwrap();
    let _socket = UnixListener::bind(from.path().join("socket")).unwrap();
    mknodat(CWD, from.path().join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let (_, totals) = tar_of(Source::open(from.path()).unwrap()).unwrap();
    assert_eq!(totals, Totals { entries: 1, bytes: 0, skipped: 2 });
    // Only root can make one.
    let null = rustix::fs::makedev(1, 3);
    if mknodat(CWD, from.path().join("device"), FileType::CharacterDevice, Mode::RUSR, null).is_ok() {
        let error = tar_of(Source::open(from.path()).unwrap()).unwrap_err();
        assert!(matches!(error.problem, Problem::UnsafePath(_)));
        assert_eq!(error.path, b"device");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let from = tempfile::tempdir().unwrap();
    fs::create_dir(from.path().join("sub")).unwrap();
    fs::write(from.path().join("sub/secret"), "").unwrap();
    fs::set_permissions(from.path().join("sub/secret"), std::os::unix::fs::PermissionsExt::from_mode(0o000))
        .unwrap();
    // Root reads everything.
    if !rustix::process::geteuid().is_root() {
        let error = tar_of(Source::open(from.path()).unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert_eq!(error.path, b"sub/secret");
    }
}

#[test]
fn some_files_come_with_the_directories_on_the_way() {
    let from = tempfile::tempdir().unwrap();
    fs::create_dir_all(from.path().join("a/b")).unwrap();
    fs::create_dir_all(from.path().join("left/out")).unwrap();
    fs::create_dir(from.path().join("module")).unwrap();
    for file in ["a/b/one", "a/two", "three", "left/file", "module/file"] {
        fs::write(from.path().join(file), "").unwrap();
    }
    symlink("a", from.path().join("link")).unwrap();
    let open = |names: &[&str]| Source::open_files(from.path(), names.iter().map(PathBuf::from));
    let source = open(&[
        "three",
        "a/two",
        "./a/b/one",
        "missing",
        "left/missing",
        "link/two",
        "link",
        "module",
        "a/two",
    ]);
    let source = source.unwrap();
    assert_eq!(source.kind(), SourceKind::Directory);
    let (archive, totals) = tar_of(source).unwrap();
    assert_eq!(names(&archive), ["a/", "a/b/", "a/b/one", "a/two", "link", "module/", "three"]);
    assert_eq!(totals.entries, 7);
    for outside in ["../x", "/etc/passwd", "a/../../x"] {
        assert!(matches!(open(&[outside]).unwrap_err().problem, Problem::UnsafePath(_)), "{outside}");
    }
}

#[test]
fn many_files_come() {
    let from = tempfile::tempdir().unwrap();
    for number in 0..100_000 {
        fs::File::create(from.path().join(number.to_string())).unwrap();
    }
    let totals =
        Source::open(from.path()).unwrap().write_tar(&mut std::io::sink(), Limits::default()).unwrap();
    assert_eq!(totals.entries, 100_000);
    let few = Limits { entries: 99_999, ..Limits::default() };
    let error = Source::open(from.path()).unwrap().write_tar(&mut std::io::sink(), few).unwrap_err();
    assert_eq!((error.kind(), &error.path[..]), (ErrorKind::Exhausted, &b"99999"[..]));
}

#[test]
fn a_source_is_what_its_name_and_its_content_say() {
    let work = tempfile::tempdir().unwrap();
    let plain = Crafted::new().file("file").bytes();
    let empty = vec![0; 1024];
    let cases: [(&str, &[u8], Option<SourceKind>); 12] = [
        ("a.tar", &plain, Some(SourceKind::Tar)),
        ("A.TAR", &plain, Some(SourceKind::Tar)),
        ("empty.tar", &empty, Some(SourceKind::Tar)),
        ("a.tar.gz", &gzip(&plain), Some(SourceKind::TarGz)),
        ("a.tgz", &gzip(&plain), Some(SourceKind::TarGz)),
        ("a.tar.xz", &plain, None),
        ("a.zip", b"PK", None),
        ("gzip.tar", &gzip(&plain), None),
        ("plain.tgz", &plain, None),
        ("text.tar", &[b'x'; 600], None),
        ("text.tgz", &gzip(&[b'x'; 600]), None),
        ("nothing.tar", b"", None),
    ];
    for (name, content, kind) in cases {
        let path = work.path().join(name);
        fs::write(&path, content).unwrap();
        match (Source::open(&path), kind) {
            (Ok(source), Some(kind)) => assert_eq!(source.kind(), kind, "{name}"),
            (Err(error), None) => {
                assert!(matches!(error.problem, Problem::NoSource(_)), "{name}: {error}");
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
                assert!(error.hint().is_some());
            }
            (opened, _) => panic!("{name}: {opened:?}"),
        }
    }
    assert_eq!(Source::open(&work.path().join("absent")).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(Source::open(Path::new("/dev/null")).is_err());
}

#[test]
fn archives_of_every_format_come_in_one() {
    if Command::new("tar").arg("--version").output().is_err() {
        return;
    }
    let (from, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(from.path().join("d")).unwrap();
    fs::write(from.path().join("d/file"), vec![3; 100_000]).unwrap();
    fs::hard_link(from.path().join("d/file"), from.path().join("hard")).unwrap();
    symlink("d/file", from.path().join("soft")).unwrap();
    let tar = |format: &str, name: &str, flags: &str| {
        let path = work.path().join(name);
        let mut command = Command::new("tar");
        let output =
            command.args([format, flags]).arg(&path).arg("-C").arg(from.path()).arg(".").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        path
    };
    let old = [tar("--format=v7", "v7.tar", "-cf"), tar("--format=ustar", "ustar.tar", "-cf")];
    fs::write(from.path().join("l".repeat(200)), "far").unwrap();
    symlink("t".repeat(300), from.path().join("long target")).unwrap();
    let new = [tar("--format=gnu", "gnu.tar", "-cf"), tar("--format=posix", "posix.tgz", "-czf")];
    for (paths, entries) in [(old, 4), (new, 6)] {
        for path in paths {
            let to = tempfile::tempdir().unwrap();
            let (archive, totals) = tar_of(Source::open(&path).unwrap()).unwrap();
            assert_eq!(totals.entries, entries);
            unpack(to.path(), &archive).unwrap();
            if entries == 6 {
                assert_eq!(describe(from.path()), describe(to.path()), "{path:?}");
            }
        }
    }
    // Several compressed parts are one stream, as parallel compressors write it.
    let parts = fs::read(work.path().join("gnu.tar")).unwrap();
    let (first, second) = parts.split_at(700);
    fs::write(work.path().join("parts.tgz"), [gzip(first), gzip(second)].concat()).unwrap();
    let (_, totals) = tar_of(Source::open(&work.path().join("parts.tgz")).unwrap()).unwrap();
    assert_eq!(totals.entries, 6);
}
