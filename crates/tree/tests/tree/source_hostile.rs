//! Archives as sources that are damaged or an attack.

use std::fs;

use proptest::prelude::*;
use pyro_protocol::error::{Diagnostic, ErrorKind};
use pyro_tree::{Limits, Problem, Source, Totals, TreeError};
use tar::{Archive, EntryType};

use crate::support::{Crafted, gzip};

fn read_as(name: &str, content: &[u8], limits: Limits) -> Result<(Vec<u8>, Totals), TreeError> {
    let work = tempfile::tempdir().unwrap();
    let path = work.path().join(name);
    fs::write(&path, content).unwrap();
    let mut out = Vec::new();
    let totals = Source::open(&path)?.write_tar(&mut out, limits)?;
    Ok((out, totals))
}

fn read(content: &[u8]) -> Result<(Vec<u8>, Totals), TreeError> {
    read_as("a.tar", content, Limits::default())
}

#[test]
fn what_leaves_the_tree_is_refused_by_name() {
    use EntryType::{Block, Char, Fifo};
    let crafted = Crafted::new;
    let long = "a/".repeat(2100);
    let long_name = |name: &str| {
        Crafted::new().entry(EntryType::GNULongName, b"././@LongLink", b"", name.as_bytes()).file("cut")
    };
    let attacks = [
        (crafted().file("/etc/attack"), "/etc/attack"),
        (crafted().file("../attack"), "../attack"),
        (crafted().file("a/../../attack"), "a/../../attack"),
        (crafted().file(""), ""),
        (crafted().file("."), "."),
        (crafted().symlink(".", "x"), "."),
        (crafted().symlink("out", "/etc").file("out/x"), "out/x"),
        (crafted().symlink("out", "/etc").directory("./out/"), "./out/"),
        (crafted().symlink("out", "/etc").symlink("out/x", "y"), "out/x"),
        (crafted().symlink("a/b", "/etc").file("a/b/c/d"), "a/b/c/d"),
        (crafted().symlink("a", "/etc").hard_link("b", "a").file("b/x"), "b/x"),
        (crafted().hard_link("hard", "/etc/passwd"), "hard"),
        (crafted().hard_link("hard", "../x"), "hard"),
        (crafted().hard_link("hard", ""), "hard"),
        (crafted().hard_link("hard", "."), "hard"),
        (crafted().symlink("out", "/etc").hard_link("hard", "out/passwd"), "hard"),
        (crafted().symlink("soft", ""), "soft"),
        (crafted().entry(Char, b"device", b"", b""), "device"),
        (crafted().entry(Block, b"device", b"", b""), "device"),
        (crafted().entry(Fifo, b"pipe", b"", b""), "pipe"),
        (crafted().entry(EntryType::new(b'V'), b"label", b"", b""), "label"),
        (crafted().entry(EntryType::Directory, b"d/", b"", b"content"), "d/"),
        (long_name(&long), &long),
        (long_name(&"n".repeat(256)), &"n".repeat(256)),
        (long_name("a\0b"), "a\0b"),
        (long_name("../x"), "../x"),
        (crafted().entry(EntryType::XHeader, b"pax", b"", b"18 path=../attack\n").file("file"), "../attack"),
        (crafted().entry(EntryType::XHeader, b"pax", b"", b"22 GNU.sparse.major=1\n").file("file"), "file"),
    ];
    for (attack, name) in attacks {
        let error = read(&attack.bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert_eq!(String::from_utf8_lossy(&error.path), name, "{error}");
    }
}

#[test]
fn what_takes_a_links_place_may_be_entered() {
    let archive = Crafted::new().symlink("a", "/etc").file("a").hard_link("b", "a").file("ab").bytes();
    assert_eq!(read(&archive).unwrap().1.entries, 4);
    let archive = Crafted::new().directory("d").symlink("d/l", "../..").file("d/lx/y").file("e/l").bytes();
    assert_eq!(read(&archive).unwrap().1.entries, 4);
}

#[test]
fn a_cut_or_changed_archive_is_an_error() {
    let whole = Crafted::new().file("a").entry(EntryType::Regular, b"b", b"", &[1; 2000]).file("c").bytes();
    assert_eq!(read(&whole).unwrap().1.entries, 3);
    let end = whole.len() - 1024;
    for length in (0..=end).step_by(256).chain([1, 511, 513, end - 1]) {
        let error = read(&whole[..length]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{length}: {error}");
        assert!(error.hint().is_some());
    }
    // Half an end mark is enough.
    read(&whole[..end + 512]).unwrap();
    let compressed = gzip(&whole);
    for length in 2..compressed.len() {
        read_as("a.tgz", &compressed[..length], Limits::default()).unwrap_err();
    }
    let mut changed = compressed;
    let last = changed.len() - 5;
    changed[last] ^= 1;
    read_as("a.tgz", &changed, Limits::default()).unwrap_err();
}

#[test]
fn nothing_but_padding_may_follow() {
    let whole = Crafted::new().file("a").bytes();
    read(&[&whole[..], &[0; 20 * 512]].concat()).unwrap();
    for after in [&whole[..], b"garbage"] {
        let error = read(&[&whole[..], after].concat()).unwrap_err();
        assert!(matches!(error.problem, Problem::Malformed(_)), "{error}");
        let error = read_as("a.tgz", &[&gzip(&whole)[..], after].concat(), Limits::default()).unwrap_err();
        assert!(matches!(error.problem, Problem::Malformed(_)), "{error}");
    }
}

#[test]
fn bombs_are_refused_where_they_go_off() {
    let many = (0..50).fold(Crafted::new(), |crafted, number| crafted.file(&number.to_string())).bytes();
    let cases = [(Limits { entries: 49, bytes: 1000 }, "49"), (Limits { entries: 50, bytes: 300 }, "42")];
    for (limits, name) in cases {
        for (archive, content) in [("a.tar", many.clone()), ("a.tgz", gzip(&many))] {
            let error = read_as(archive, &content, limits).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Exhausted);
            assert_eq!(String::from_utf8_lossy(&error.path), name);
        }
    }
    let zeros = Crafted::new().entry(EntryType::Regular, b"zeros", b"", &vec![0; 64 << 20]).bytes();
    let error = read_as("a.tgz", &gzip(&zeros), Limits::default()).unwrap_err();
    assert!(matches!(error.problem, Problem::Exhausted(_)), "{error}");
    assert_eq!(error.path, b"zeros");
    // The same in what follows the end.
    let padding = gzip(&[Crafted::new().file("a").bytes(), vec![0; 64 << 20]].concat());
    let error = read_as("a.tgz", &padding, Limits::default()).unwrap_err();
    assert!(matches!(error.problem, Problem::Exhausted(_)), "{error}");
}

proptest! {
    /// Names and targets from an alphabet of little but traps: what is accepted comes out unable to leave.
    #[test]
    fn no_accepted_name_leaves(
        entries in prop::collection::vec(("[ab./]{1,8}", "[ab./]{0,8}", 0..4_usize), 1..8),
    ) {
        use EntryType::{Directory, Link, Regular, Symlink};
        let mut crafted = Crafted::new();
        for (name, link, kind) in &entries {
            let kind = [Regular, Directory, Symlink, Link][*kind];
            crafted = crafted.entry(kind, name.as_bytes(), link.as_bytes(), b"");
        }
        if let Ok((archive, _)) = read(&crafted.bytes()) {
            let mut archive = Archive::new(&archive[..]);
            let mut links: Vec<Vec<u8>> = Vec::new();
            for entry in archive.entries().unwrap() {
                let entry = entry.unwrap();
                let name = entry.path_bytes().into_owned();
                let kind = entry.header().entry_type();
                let mut checked = vec![name.clone()];
                if kind == Link {
                    checked.push(entry.link_name_bytes().unwrap().into_owned());
                }
                for path in checked {
                    prop_assert!(path.split(|byte| *byte == b'/').all(|part| part != b"." && part != b".."));
                    prop_assert!(!path.is_empty() && path[0] != b'/');
                    for link in &links {
                        let through = [&link[..], b"/"].concat();
                        prop_assert!(!path.starts_with(&through));
                    }
                }
                links.retain(|link| *link != name);
                if kind == Symlink {
                    links.push(name);
                }
            }
        }
    }
}
