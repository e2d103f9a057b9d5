//! Pack and Unpack.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use pyro_protocol::v1::{Failure, FailureKind, Pack, Transferred, Unpack, request};
use tar::{Builder, EntryType, Header};

use crate::client::{Guest, assert_failure, command, with_agent};

fn path_bytes(path: &Path) -> Bytes {
    Bytes::copy_from_slice(path.as_os_str().as_bytes())
}

async fn pack(guest: &Guest, path: &Path) -> Result<(Vec<u8>, Transferred), Failure> {
    let path = path_bytes(path);
    guest.call(request::Call::Pack(Pack { path, ..Pack::default() })).await.transferred().await
}

async fn unpack(guest: &Guest, path: &Path, archive: &[u8]) -> Result<Transferred, Failure> {
    let path = path_bytes(path);
    let request = Unpack { path, ..Unpack::default() };
    let mut call = guest.call(request::Call::Unpack(request)).await;
    call.data(archive).await;
    call.end().await;
    call.transferred().await.map(|(_, transferred)| transferred)
}

/// An archive of entries that no well-behaved writer would make.
struct Crafted(Builder<Vec<u8>>);

impl Crafted {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn entry(mut self, kind: EntryType, name: &str, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    fn file(self, name: &str) -> Self {
        self.entry(EntryType::Regular, name, "", b"content")
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

fn populate(tree: &Path) {
    let long = "d".repeat(120);
    fs::create_dir_all(tree.join("sub/deeper")).unwrap();
    fs::create_dir_all(tree.join(&long).join(&long)).unwrap();
    fs::write(tree.join("sub/file"), "content").unwrap();
    fs::write(tree.join("sub/script"), "#!").unwrap();
    fs::set_permissions(tree.join("sub/script"), fs::Permissions::from_mode(0o4750)).unwrap();
    fs::write(tree.join(&long).join(&long).join("far away"), vec![7; 200_000]).unwrap();
    fs::write(tree.join("new\nline"), "").unwrap();
    fs::write(tree.join(std::ffi::OsStr::from_bytes(&[0xFF; 150])), "not utf-8").unwrap();
    fs::hard_link(tree.join("sub/file"), tree.join("sub/same")).unwrap();
    symlink("../sub//file", tree.join("sub/link")).unwrap();
    symlink("/absolute/".repeat(15), tree.join("dangling")).unwrap();
    fs::set_permissions(tree.join("sub/deeper"), fs::Permissions::from_mode(0o555)).unwrap();
}

/// Everything that must survive, one line an entry, in order.
fn describe(tree: &Path, directory: &Path, lines: &mut Vec<String>) {
    let entries = fs::read_dir(directory).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let metadata = path.symlink_metadata().unwrap();
        let content = if metadata.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else if metadata.is_file() {
            fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        let names = if metadata.is_dir() { 0 } else { metadata.nlink() };
        let name = path.strip_prefix(tree).unwrap().as_os_str().as_encoded_bytes();
        let (mode, modified) = (metadata.mode(), metadata.mtime());
        lines.push(format!("{name:?} {mode:o} {modified} {names} {content:?}"));
        if metadata.is_dir() {
            describe(tree, &path, lines);
        }
    }
}

fn description(tree: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    describe(tree, tree, &mut lines);
    lines
}

#[test]
fn a_tree_survives_packing_and_unpacking() {
    with_agent(async |guest| {
        let (from, to) = (guest.path("from"), guest.path("to"));
        fs::create_dir(&from).unwrap();
        fs::create_dir(&to).unwrap();
        populate(&from);
        let (archive, packed) = pack(guest, &from).await.unwrap();
        let unpacked = unpack(guest, &to, &archive).await.unwrap();
        assert_eq!(description(&from), description(&to));
        assert_eq!((packed.entries, packed.bytes), (unpacked.entries, unpacked.bytes));
        // Again, over what is there already.
        unpack(guest, &to, &archive).await.unwrap();
        assert_eq!(description(&from), description(&to));
    });
}

#[test]
fn other_tools_read_what_is_packed_and_write_what_is_unpacked() {
    with_agent(async |guest| {
        for directory in ["from", "to", "back"] {
            fs::create_dir(guest.path(directory)).unwrap();
        }
        populate(&guest.path("from"));
        let (archive, _) = pack(guest, &guest.path("from")).await.unwrap();
        fs::write(guest.path("archive.tar"), archive).unwrap();
        let extract = guest.exec(command(["tar", "-xpf", "archive.tar", "-C", "to"])).await;
        assert_eq!(extract.exited.exit_code, 0, "{}", String::from_utf8_lossy(&extract.stderr));
        assert_eq!(description(&guest.path("from")), description(&guest.path("to")));
        // pax cannot hold the new line in the name in a way that the reader here understands; GNU can.
        let create =
            guest.exec(command(["tar", "--format=gnu", "-cf", "again.tar", "-C", "from", "."])).await;
        assert_eq!(create.exited.exit_code, 0);
        unpack(guest, &guest.path("back"), &fs::read(guest.path("again.tar")).unwrap()).await.unwrap();
        assert_eq!(description(&guest.path("from")), description(&guest.path("back")));
    });
}

#[test]
fn pax_archives_are_unpacked() {
    with_agent(async |guest| {
        let long = "n".repeat(150);
        fs::create_dir(guest.path("from")).unwrap();
        fs::create_dir(guest.path("to")).unwrap();
        fs::write(guest.path("from").join(&long), "content").unwrap();
        let create = guest.exec(command(["tar", "--format=posix", "-cf", "a.tar", "-C", "from", "."])).await;
        assert_eq!(create.exited.exit_code, 0);
        unpack(guest, &guest.path("to"), &fs::read(guest.path("a.tar")).unwrap()).await.unwrap();
        assert_eq!(fs::read(guest.path("to").join(&long)).unwrap(), b"content");
    });
}

#[test]
fn one_file_or_link_is_packed_by_its_name() {
    with_agent(async |guest| {
        fs::write(guest.path("file"), "content").unwrap();
        symlink("file", guest.path("link")).unwrap();
        assert_eq!(guest.exec(command(["mkfifo", "pipe"])).await.exited.exit_code, 0);
        fs::create_dir(guest.path("to")).unwrap();
        for name in ["file", "link"] {
            let (archive, packed) = pack(guest, &guest.path(name)).await.unwrap();
            assert_eq!(packed.entries, 1);
            unpack(guest, &guest.path("to"), &archive).await.unwrap();
        }
        assert_eq!(fs::read(guest.path("to/file")).unwrap(), b"content");
        assert_eq!(fs::read_link(guest.path("to/link")).unwrap(), Path::new("file"));
        let refused = pack(guest, &guest.path("pipe")).await.unwrap_err();
        assert_failure(&refused, FailureKind::Invalid, "neither");
        let failure = pack(guest, &guest.path("absent")).await.unwrap_err();
        assert_failure(&failure, FailureKind::NotFound, "");
    });
}

#[test]
fn no_entry_leaves_the_destination() {
    use EntryType::{Block, Char, Directory, Fifo, Link, Symlink};
    with_agent(async |guest| {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("victim"), "old").unwrap();
        let out = outside.path().to_str().unwrap();
        let crafted = Crafted::new;
        let attacks = [
            (crafted().file("/etc/pyro-attack"), "/etc/pyro-attack"),
            (crafted().file("../attack"), "../attack"),
            (crafted().file("a/../../attack"), "a/../../attack"),
            (crafted().entry(Symlink, "out", out, b"").file("out/victim"), "out/victim"),
            (crafted().entry(Symlink, "out", "..", b"").file("out/attack"), "out/attack"),
            (crafted().entry(Symlink, "out", out, b"").entry(Directory, "out", "", b""), "out"),
            (crafted().entry(Symlink, "out", out, b"").entry(Directory, "out/new/", "", b""), "out/new/"),
            (crafted().entry(Link, "hard", "/etc/passwd", b""), "hard"),
            (crafted().entry(Link, "hard", "../../etc/passwd", b""), "hard"),
            (crafted().entry(Symlink, "out", out, b"").entry(Link, "hard", "out/victim", b""), "hard"),
            (crafted().entry(Char, "device", "", b""), "device"),
            (crafted().entry(Block, "device", "", b""), "device"),
            (crafted().entry(Fifo, "pipe", "", b""), "pipe"),
            (crafted().file("."), "."),
        ];
        for (index, (attack, entry)) in attacks.into_iter().enumerate() {
            let to = guest.path(&format!("to{index}"));
            fs::create_dir(&to).unwrap();
            let failure = unpack(guest, &to, &attack.bytes()).await.unwrap_err();
            assert_failure(&failure, FailureKind::UnsafePath, "");
            assert_eq!(failure.path, entry);
        }
        assert_eq!(fs::read(outside.path().join("victim")).unwrap(), b"old");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
        assert!(!guest.path("attack").exists() && !Path::new("/etc/pyro-attack").exists());
    });
}

#[test]
fn an_entry_replaces_a_link_and_not_what_it_points_to() {
    with_agent(async |guest| {
        let victim = guest.path("victim");
        fs::write(&victim, "old").unwrap();
        fs::create_dir(guest.path("to")).unwrap();
        let archive = Crafted::new()
            .entry(EntryType::Symlink, "file", victim.to_str().unwrap(), b"")
            .file("file")
            .bytes();
        unpack(guest, &guest.path("to"), &archive).await.unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"old");
        assert_eq!(fs::read(guest.path("to/file")).unwrap(), b"content");
        assert!(guest.path("to/file").symlink_metadata().unwrap().is_file());
    });
}

#[test]
fn what_is_no_archive_or_no_destination_is_refused() {
    with_agent(async |guest| {
        fs::create_dir(guest.path("to")).unwrap();
        fs::create_dir(guest.path("to/taken")).unwrap();
        symlink("to", guest.path("link")).unwrap();
        let whole = Crafted::new().file("file").bytes();
        let to = guest.path("to");
        let cases: [(&Path, Vec<u8>, FailureKind); 6] = [
            (&to, vec![b'x'; 5000], FailureKind::Invalid),
            (&to, whole[..515].to_vec(), FailureKind::Invalid),
            (&to, Crafted::new().file("taken").bytes(), FailureKind::AlreadyExists),
            (
                &to,
                Crafted::new().entry(EntryType::Link, "hard", "absent", b"").bytes(),
                FailureKind::NotFound,
            ),
            (&guest.path("absent"), whole.clone(), FailureKind::NotFound),
            (&guest.path("link"), whole.clone(), FailureKind::UnsafePath),
        ];
        for (path, archive, kind) in cases {
            assert_failure(&unpack(guest, path, &archive).await.unwrap_err(), kind, "");
        }
        assert_eq!(unpack(guest, &to, &[]).await.unwrap().entries, 0);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Names from an alphabet of little but traps, links to anywhere: nothing appears or changes outside.
    #[test]
    fn arbitrary_archives_stay_beneath(
        entries in prop::collection::vec(("[ab./]{1,8}", "[ab./]{0,8}", 0..4_usize), 1..12),
    ) {
        use EntryType::{Directory, Link, Regular, Symlink};
        with_agent(async |guest| {
            let to = guest.path("outer/to");
            fs::create_dir_all(&to).unwrap();
            fs::write(guest.path("outer/a"), "old").unwrap();
            let mut crafted = Crafted::new();
            for (name, link, kind) in &entries {
                crafted = crafted.entry([Regular, Directory, Symlink, Link][*kind], name, link, b"");
            }
            let _ = unpack(guest, &to, &crafted.bytes()).await;
            let mut outer: Vec<_> = fs::read_dir(guest.path("outer")).unwrap().map(|e| e.unwrap().file_name()).collect();
            outer.sort();
            assert_eq!(outer, ["a", "to"]);
            assert_eq!(fs::read(guest.path("outer/a")).unwrap(), b"old");
        });
    }
}
