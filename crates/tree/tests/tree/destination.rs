//! What a guest sends, in its place on the host.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use proptest::prelude::*;
use pyro_protocol::error::{Diagnostic, ErrorKind};
use pyro_tree::{ArtifactType, Destination, Exported, Limits, Problem, Rewrite, TreeError};
use tar::EntryType;

use crate::support::{Crafted, any_tree, grow, pack};

fn export(to: &Path, mut archive: &[u8], expected: Option<ArtifactType>) -> Result<Exported, TreeError> {
    let mut destination = Destination::create(to)?;
    destination.unpack(&mut archive, Limits::default(), expected)?;
    destination.finish()
}

fn entries(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

#[test]
fn each_kind_arrives_as_what_it_is() {
    let (guest, host) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir_all(guest.path().join("d/sub")).unwrap();
    fs::write(guest.path().join("d/sub/file"), "content").unwrap();
    symlink("sub/file", guest.path().join("d/link")).unwrap();
    fs::create_dir(guest.path().join("d/sub/empty")).unwrap();
    let cases = [
        ("d", ArtifactType::Directory, 4, 7),
        ("d/sub/file", ArtifactType::File, 1, 7),
        ("d/link", ArtifactType::Symlink, 1, 0),
        ("d/sub/empty", ArtifactType::Directory, 0, 0),
    ];
    for (index, (path, kind, count, bytes)) in cases.into_iter().enumerate() {
        let archive = pack(&guest.path().join(path)).0;
        let expected = Exported { artifact_type: kind, entries: count, bytes };
        let to = host.path().join(format!("told-{index}"));
        assert_eq!(export(&to, &archive, Some(kind)).unwrap(), expected, "{path}");
        if kind != ArtifactType::Symlink {
            let to = host.path().join(format!("untold-{index}"));
            assert_eq!(export(&to, &archive, None).unwrap(), expected, "{path}");
        }
    }
    assert_eq!(fs::read(host.path().join("told-0/link")).unwrap(), b"content");
    assert_eq!(fs::read(host.path().join("untold-1")).unwrap(), b"content");
    assert_eq!(fs::read_link(host.path().join("told-2")).unwrap(), Path::new("sub/file"));
    assert_eq!(entries(host.path()), 7);
}

/// Puts a word in the place of each `a`, and says where files end.
#[derive(Debug)]
struct Longer;

impl Rewrite for Longer {
    fn push(&mut self, content: &[u8], out: &mut Vec<u8>) {
        out.extend(
            content
                .iter()
                .flat_map(|byte| if *byte == b'a' { &b"word"[..] } else { std::slice::from_ref(byte) }),
        );
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b".");
    }
}

#[test]
fn the_content_of_files_can_be_rewritten() {
    let (guest, host) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let long = [vec![b'a'; 100_000], vec![0; 100_000], vec![b'b'; 65_536]].concat();
    fs::write(guest.path().join("long"), &long).unwrap();
    fs::write(guest.path().join("short"), "cab").unwrap();
    fs::hard_link(guest.path().join("short"), guest.path().join("twin")).unwrap();
    let archive = pack(guest.path()).0;
    let to = host.path().join("rewritten");
    let mut destination = Destination::create(&to).unwrap().rewriting(Box::new(Longer));
    destination.unpack(&mut archive.as_slice(), Limits::default(), None).unwrap();
    let exported = destination.finish().unwrap();
    let expected = [b"word".repeat(100_000), vec![0; 100_000], vec![b'b'; 65_536], b".".to_vec()].concat();
    assert!(fs::read(to.join("long")).unwrap() == expected);
    assert_eq!(fs::read(to.join("short")).unwrap(), b"cwordb.");
    assert_eq!(fs::read(to.join("twin")).unwrap(), b"cwordb.");
    let short = fs::metadata(to.join("short")).unwrap();
    assert_eq!(exported.bytes, expected.len() as u64 + 7 * (3 - short.nlink()));
}

#[test]
fn what_is_not_as_expected_leaves_nothing() {
    let host = tempfile::tempdir().unwrap();
    let one = Crafted::new().file("a").bytes();
    let two = Crafted::new().file("a").file("b").bytes();
    let link = Crafted::new().symlink("a", "b").bytes();
    let directory = Crafted::new().directory("./").file("a").bytes();
    let empty = Crafted::new().bytes();
    let cases = [
        (&two, Some(ArtifactType::File)),
        (&link, Some(ArtifactType::File)),
        (&link, None),
        (&one, Some(ArtifactType::Symlink)),
        (&directory, Some(ArtifactType::File)),
        (&empty, Some(ArtifactType::File)),
        (&empty, None),
    ];
    for (archive, expected) in cases {
        let error = export(&host.path().join("to"), archive, expected).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert_eq!(entries(host.path()), 0);
    }
    export(&host.path().join("to"), &one, Some(ArtifactType::Directory)).unwrap();
    assert!(host.path().join("to/a").is_file());
}

#[test]
fn nothing_is_replaced() {
    let host = tempfile::tempdir().unwrap();
    let archive = Crafted::new().file("a").bytes();
    fs::write(host.path().join("file"), "old").unwrap();
    fs::create_dir(host.path().join("directory")).unwrap();
    symlink("nowhere", host.path().join("dangling")).unwrap();
    for name in ["file", "directory", "dangling"] {
        let error = Destination::create(&host.path().join(name)).unwrap_err();
        assert!(matches!(error.problem, Problem::AlreadyExists(_)), "{error}");
    }
    let error = Destination::create(&host.path().join("absent/to")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(Destination::create(Path::new("/")).is_err());
    assert!(Destination::create(&host.path().join("..")).is_err());
    // Something may appear meanwhile.
    for kind in [ArtifactType::File, ArtifactType::Directory] {
        let to = host.path().join("late");
        let mut destination = Destination::create(&to).unwrap();
        destination.unpack(&mut &archive[..], Limits::default(), Some(kind)).unwrap();
        fs::create_dir(&to).unwrap();
        let error = destination.finish().unwrap_err();
        assert!(matches!(error.problem, Problem::AlreadyExists(_)), "{error}");
        fs::remove_dir(&to).unwrap();
    }
    assert_eq!(entries(host.path()), 3);
    assert_eq!(fs::read(host.path().join("file")).unwrap(), b"old");
    let unused = Destination::create(&host.path().join("unused")).unwrap();
    assert!(unused.finish().is_err());
    assert_eq!(entries(host.path()), 3);
}

#[test]
fn it_is_private_until_it_is_finished() {
    let host = tempfile::tempdir().unwrap();
    let destination = Destination::create(&host.path().join("to")).unwrap();
    let private = fs::read_dir(host.path()).unwrap().next().unwrap().unwrap();
    assert_eq!(private.metadata().unwrap().mode() & 0o7777, 0o700);
    drop(destination);
    assert_eq!(entries(host.path()), 0);
}

#[test]
fn modes_and_owners_are_harmless() {
    let host = tempfile::tempdir().unwrap();
    let archive = Crafted::new().directory("./").directory("d").file("d/f").file("g").bytes();
    let to = host.path().join("to");
    export(&to, &archive, None).unwrap();
    for path in ["d", "d/f", "g"] {
        let metadata = to.join(path).metadata().unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o755, "{path}");
        assert_eq!(metadata.uid(), rustix::process::geteuid().as_raw());
    }
    let (guest, to) = (tempfile::tempdir().unwrap(), host.path().join("closed"));
    fs::create_dir(guest.path().join("d")).unwrap();
    fs::write(guest.path().join("d/f"), "").unwrap();
    for (path, mode) in [("d/f", 0o000), ("d", 0o040)] {
        fs::set_permissions(guest.path().join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    // Only root can pack what its owner cannot read.
    if rustix::process::geteuid().is_root() {
        export(&to, &pack(guest.path()).0, None).unwrap();
        assert_eq!(to.join("d").metadata().unwrap().mode() & 0o7777, 0o740);
        assert_eq!(to.join("d/f").metadata().unwrap().mode() & 0o7777, 0o600);
    }
}

#[test]
fn links_that_lead_out_are_refused() {
    let crafted = || Crafted::new().directory("./");
    let through = "s/".repeat(50);
    let attacks = [
        (crafted().symlink("l", "/etc/passwd"), "l"),
        (crafted().symlink("l", ".."), "l"),
        (crafted().symlink("d/l", "../../x"), "d/l"),
        (crafted().symlink("d/l", "../e/../../x"), "d/l"),
        // Inside by their text, outside through each other.
        (crafted().directory("x/y").symlink("b", "x/y").symlink("a/l", "../b/../../.."), "a/l"),
        (crafted().directory("x/y").symlink("x/y/s", ".").symlink("l", "x/y/s/s/s/../../.."), "l"),
        (crafted().directory("x").symlink("x/s", "../x").symlink("l", "x/s/s/../../.."), "l"),
        (crafted().directory("x").symlink("x/up", "..").symlink("l", "x/up/.."), "l"),
        (crafted().directory("x").symlink("x/up", "..").symlink("l", "x/up/../absent"), "l"),
        (crafted().symlink("s", ".").symlink("l", &through[..90]), "l"),
        (crafted().symlink("a", "b").symlink("b", "a"), "a"),
    ];
    for (attack, name) in attacks {
        let host = tempfile::tempdir().unwrap();
        let error = export(&host.path().join("to"), &attack.bytes(), None).unwrap_err();
        assert!(matches!(error.problem, Problem::EscapingLink { .. }), "{name}: {error}");
        assert_eq!(String::from_utf8_lossy(&error.path), name);
        assert!(error.hint().is_some());
        assert_eq!(entries(host.path()), 0);
    }
    let sound = crafted()
        .directory("d/e")
        .file("d/f")
        .symlink("d/e/up", "../f")
        .symlink("root", "d/e/../..")
        .symlink("dangling", "d/absent")
        .symlink("through", "f/not/a/directory")
        .symlink("self", ".")
        .file("f");
    let host = tempfile::tempdir().unwrap();
    assert_eq!(export(&host.path().join("to"), &sound.bytes(), None).unwrap().entries, 8);
    // A link alone has nothing around it that it could lead to.
    for target in ["/etc/passwd", "../x", "x/../.."] {
        let lone = Crafted::new().symlink("l", target).bytes();
        for expected in [None, Some(ArtifactType::Symlink)] {
            assert!(export(&host.path().join("l"), &lone, expected).is_err(), "{target}");
        }
    }
}

#[test]
fn what_leaves_or_is_no_file_is_refused() {
    let crafted = || Crafted::new().directory("./");
    let attacks = [
        crafted().file("../attack"),
        crafted().file("/tmp/pyro-attack"),
        crafted().symlink("l", "..").file("l/attack"),
        crafted().hard_link("h", "/etc/passwd"),
        crafted().hard_link("h", "../x"),
        crafted().symlink("l", "/etc").hard_link("h", "l/passwd"),
        crafted().entry(EntryType::Char, b"device", b"", b""),
        crafted().entry(EntryType::Fifo, b"pipe", b"", b""),
        crafted().entry(EntryType::GNULongName, b"long", b"", "d/".repeat(300).as_bytes()).directory("d"),
    ];
    for attack in attacks {
        let host = tempfile::tempdir().unwrap();
        export(&host.path().join("to"), &attack.bytes(), None).unwrap_err();
        assert_eq!(entries(host.path()), 0);
    }
    assert!(!Path::new("/tmp/pyro-attack").exists());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Whatever is exported, each link in it resolves inside.
    #[test]
    fn no_exported_link_leads_out(
        links in prop::collection::vec(("[abc](/[abc]){0,2}", "((\\.\\.|[abc]|\\.)/){0,4}([abc]|\\.\\.)"), 1..4),
    ) {
        let host = tempfile::tempdir().unwrap();
        let mut crafted = Crafted::new().directory("./").directory("a/b/a").directory("c/b");
        for (name, target) in &links {
            crafted = crafted.symlink(name, target);
        }
        let to = host.path().join("to");
        if export(&to, &crafted.bytes(), None).is_ok() {
            let root = to.canonicalize().unwrap();
            let mut pending = vec![root.clone()];
            while let Some(directory) = pending.pop() {
                for entry in fs::read_dir(directory).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_symlink() {
                        if let Ok(resolved) = path.canonicalize() {
                            prop_assert!(resolved.starts_with(&root), "{path:?} {resolved:?}");
                        }
                    } else if path.is_dir() {
                        pending.push(path);
                    }
                }
            }
        } else {
            prop_assert_eq!(entries(host.path()), 0);
        }
    }

    #[test]
    fn any_tree_is_exported_or_refused(nodes in any_tree()) {
        let (guest, host) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        grow(guest.path(), &nodes);
        let (archive, packed) = pack(guest.path());
        match export(&host.path().join("to"), &archive, None) {
            Ok(exported) => prop_assert_eq!((exported.entries, exported.bytes), (packed.entries, packed.bytes)),
            Err(error) => prop_assert!(matches!(error.problem, Problem::EscapingLink { .. }), "{}", error),
        }
    }
}
