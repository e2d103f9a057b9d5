//! Sources as archives of layers, which what makes images of them takes without looking.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use pyro_protocol::error::{Diagnostic, ErrorKind};
use pyro_tree::{Limits, Source, Totals, TreeError};
use tar::{Archive, EntryType};

use crate::support::{Crafted, any_tree, describe, grow, unpack};

fn layer(path: &Path) -> Result<(Vec<u8>, Totals), TreeError> {
    let mut archive = Vec::new();
    let totals = Source::open(path)?.write_layer("in", &mut archive, Limits::default())?;
    Ok((archive, totals))
}

fn layer_of(crafted: Crafted) -> Result<(Vec<u8>, Totals), TreeError> {
    let work = tempfile::tempdir().unwrap();
    let path = work.path().join("a.tar");
    fs::write(&path, crafted.bytes()).unwrap();
    layer(&path)
}

/// Kind, name and link of each entry.
fn entries(archive: &[u8]) -> Vec<String> {
    let mut archive = Archive::new(archive);
    let entries = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let link = entry.link_name_bytes().filter(|link| !link.is_empty());
        let link = link.map_or(String::new(), |link| format!(" -> {}", text(&link)));
        format!("{}{link}", text(&entry.path_bytes()))
    });
    entries.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_layer_holds_the_tree_beneath_its_directory(tree in any_tree()) {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        grow(from.path(), &tree);
        let (archive, totals) = layer(from.path()).unwrap();
        let unpacked = unpack(to.path(), &archive).unwrap();
        prop_assert_eq!(unpacked.entries, totals.entries + 1, "the directory itself is not counted");
        prop_assert_eq!(describe(from.path()), describe(&to.path().join("in")));
    }
}

#[test]
fn holes_are_written_out() {
    let from = tempfile::tempdir().unwrap();
    let file = fs::File::create(from.path().join("sparse")).unwrap();
    file.set_len(300_000).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"x", 200_000).unwrap();
    let (archive, totals) = layer(from.path()).unwrap();
    assert_eq!(totals.bytes, 300_000);
    let mut archive = Archive::new(&archive[..]);
    let sparse = archive.entries().unwrap().nth(1).unwrap().unwrap();
    assert_eq!((sparse.header().entry_type(), sparse.size()), (EntryType::Regular, 300_000));
}

#[test]
fn directories_come_before_what_is_in_them() {
    let crafted = Crafted::new().file("a/b/c").directory("a/").hard_link("d/e", "a/b/c").symlink("a/l", "b");
    let (archive, totals) = layer_of(crafted).unwrap();
    let expected =
        ["in/", "in/a/", "in/a/b/", "in/a/b/c", "in/a/", "in/d/", "in/d/e -> in/a/b/c", "in/a/l -> b"];
    assert_eq!(entries(&archive), expected);
    assert_eq!(totals.entries, 4, "what the source has");
}

#[test]
fn a_later_entry_replaces_one_of_its_kind() {
    let crafted = Crafted::new().file("a").symlink("a", "b").file("a").hard_link("a", "a").directory("d/");
    let (archive, _) = layer_of(crafted.directory("d/")).unwrap();
    assert_eq!(entries(&archive), ["in/", "in/a", "in/a -> b", "in/a", "in/d/", "in/d/"]);
}

#[test]
fn what_cannot_be_in_a_layer_is_refused_by_name() {
    let crafted = Crafted::new;
    let cases = [
        (crafted().hard_link("b", "a").file("a"), "b", ErrorKind::InvalidInput),
        (crafted().directory("a").hard_link("b", "a"), "b", ErrorKind::AlreadyExists),
        (crafted().file("a").file("a/b"), "a/b", ErrorKind::AlreadyExists),
        (crafted().file("a").directory("a"), "a", ErrorKind::AlreadyExists),
        (crafted().file("a/b").file("a"), "a", ErrorKind::AlreadyExists),
        (crafted().file("x/a").symlink("x/b/c", "/etc").file("x/b/c/d"), "x/b/c/d", ErrorKind::InvalidInput),
    ];
    for (crafted, name, kind) in cases {
        let error = layer_of(crafted).unwrap_err();
        assert_eq!((String::from_utf8_lossy(&error.path).as_ref(), error.kind()), (name, kind), "{error}");
    }
}
