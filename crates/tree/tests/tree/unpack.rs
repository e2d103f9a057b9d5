//! Archives that are an attack on whoever unpacks them. (The agent's tests have more, through its protocol.)

use std::fs;
use std::io::{self, Read};

use proptest::prelude::*;
use pyro_tree::{Limits, Owner, Problem, Tree, Unpacker};
use tar::{EntryType, Header};

use crate::support::{Crafted, unpack, unpack_within};

#[test]
fn limits_hold_for_what_an_archive_unpacks_to() {
    let to = tempfile::tempdir().unwrap();
    let three = || Crafted::new().file("a").file("b").file("c").bytes();
    let exact = Limits { entries: 3, bytes: 21 };
    assert_eq!(unpack_within(to.path(), &three(), exact).unwrap().entries, 3);
    for limits in [Limits { entries: 2, ..exact }, Limits { bytes: 20, ..exact }] {
        let error = unpack_within(to.path(), &three(), limits).unwrap_err();
        assert!(matches!(error.problem, Problem::Exhausted(_)), "{error}");
        assert_eq!(error.path, b"c");
    }
}

#[test]
fn extensions_without_end_are_not_read_into_memory() {
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader, EntryType::XGlobalHeader]
    {
        let to = tempfile::tempdir().unwrap();
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(1 << 50);
        header.set_cksum();
        let mut endless = header.as_bytes().chain(io::repeat(b'x'));
        let tree = Tree::open(to.path()).unwrap();
        let error = Unpacker::new(tree, Owner::Unpacker, Limits::default()).unpack(&mut endless).unwrap_err();
        assert!(matches!(error.problem, Problem::Malformed(_) | Problem::Exhausted(_)), "{error}");
    }
}

#[test]
fn a_sparse_map_without_end_is_refused() {
    let to = tempfile::tempdir().unwrap();
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNUSparse);
    header.as_gnu_mut().unwrap().set_is_extended(true);
    header.set_size(0);
    header.set_cksum();
    let mut extension = tar::GnuExtSparseHeader::new();
    extension.set_is_extended(true);
    let extensions = extension.as_bytes().repeat(100_000);
    let archive = [header.as_bytes().to_vec(), extensions].concat();
    let error = unpack(to.path(), &archive).unwrap_err();
    assert!(matches!(error.problem, Problem::Malformed(_)), "{error}");
}

/// Bytes that are an archive with some of them changed: what a fuzzer would find first.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6);
    (changes, any::<bool>()).prop_map(|(changes, fix)| {
        let mut archive = Crafted::new()
            .directory("d/")
            .file("d/file")
            .symlink("d/link", "file")
            .hard_link("hard", "d/file")
            .entry(EntryType::XHeader, b"pax", b"", b"20 path=d/long-name\n")
            .file("short")
            .bytes();
        for (place, value) in changes {
            let place = place.index(archive.len());
            archive[place] = value;
            if fix {
                let block = place / 512 * 512;
                let header = &mut archive[block..block + 512];
                header[148..156].copy_from_slice(b"        ");
                let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
                header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        archive
    })
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop_oneof![prop::collection::vec(any::<u8>(), 0..3000), damaged()]) {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir(outer.path().join("to")).unwrap();
        fs::write(outer.path().join("to.tar"), &bytes).unwrap();
        let limits = Limits { entries: 100, bytes: 1 << 20 };
        let _ = unpack_within(&outer.path().join("to"), &bytes, limits);
        if let Ok(source) = pyro_tree::Source::open(&outer.path().join("to.tar")) {
            let mut normalised = Vec::new();
            if source.write_tar(&mut normalised, limits).is_ok() {
                let again = tempfile::tempdir().unwrap();
                let inner = again.path().join("to");
                fs::create_dir(&inner).unwrap();
                let _ = unpack(&inner, &normalised);
                prop_assert_eq!(fs::read_dir(again.path()).unwrap().count(), 1);
            }
            prop_assert!(normalised.len() < 4 << 20);
        }
        prop_assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 2);
    }
}
