//! What is packed comes back, holes included.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use pyro_tree::{Limits, Source};

use crate::support::{Crafted, any_tree, describe, grow, pack, unpack};

const MIB: u64 = 1024 * 1024;

/// Writes a file of `size` with a page of data at each of `offsets`.
fn sparse(path: &Path, size: u64, offsets: impl Iterator<Item = u64>) {
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    for offset in offsets {
        file.write_all_at(&[7; 4096], offset).unwrap();
    }
}

fn allocated(path: &Path) -> u64 {
    path.metadata().unwrap().blocks() * 512
}

fn sparse_files(directory: &Path) {
    sparse(&directory.join("a hole"), 3 * MIB + 17, std::iter::empty());
    sparse(&directory.join("begins with data"), 2 * MIB, [0].into_iter());
    sparse(&directory.join("ends with data"), 2 * MIB, [2 * MIB - 4096].into_iter());
    sparse(&directory.join("ends unaligned"), 2 * MIB + 5000, [MIB, 2 * MIB + 4096 - 300].into_iter());
    sparse(&directory.join("four extents"), 4 * MIB, (0..4).map(|i| i * MIB));
    sparse(&directory.join("forty extents"), 40 * MIB, (0..40).map(|i| i * MIB + 8192));
    sparse(&directory.join("n".repeat(200)), 30 * MIB, (0..30).map(|i| i * MIB));
    sparse(&directory.join("too many extents"), 40 * MIB, (0..5000).map(|i| i * 8192));
    sparse(&directory.join("hardly worth it"), 4 * MIB, (0..1000).map(|i| i * 4096));
}

/// Whether the temporary directory's file system has holes at all.
fn holes_exist(directory: &Path) -> bool {
    sparse(&directory.join("probe"), MIB, std::iter::empty());
    let exist = allocated(&directory.join("probe")) == 0;
    fs::remove_file(directory.join("probe")).unwrap();
    exist
}

#[test]
fn holes_survive_and_cost_nothing() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let exist = holes_exist(from.path());
    sparse_files(from.path());
    let (archive, packed) = pack(from.path());
    let unpacked = unpack(to.path(), &archive).unwrap();
    assert_eq!(packed, unpacked);
    assert!(describe(from.path()) == describe(to.path()));
    if exist {
        assert!((archive.len() as u64) < 50 * MIB, "{}", archive.len());
        for entry in fs::read_dir(to.path()).unwrap() {
            let path = entry.unwrap().path();
            let (before, after) = (allocated(&from.path().join(path.file_name().unwrap())), allocated(&path));
            assert!(after <= before + 64 * 1024, "{path:?}: {before} {after}");
        }
    }
}

#[test]
fn other_programs_read_sparse_files() {
    if Command::new("tar").arg("--version").output().is_err() {
        return;
    }
    let (from, to, work) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sparse_files(from.path());
    let archive = work.path().join("archive.tar");
    fs::write(&archive, pack(from.path()).0).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new("tar");
        let output =
            command.args(arguments).arg("-f").arg(&archive).arg("-C").arg(to.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let listing = String::from_utf8(run(&["-tv"])).unwrap();
    assert!(
        listing.lines().any(|line| line.contains("41943040") && line.ends_with("forty extents")),
        "{listing}"
    );
    run(&["-xp"]);
    assert!(describe(from.path()) == describe(to.path()));
    // And the other way round.
    fs::remove_file(&archive).unwrap();
    let create = Command::new("tar")
        .args(["--format=gnu", "-cS", "-f"])
        .arg(&archive)
        .arg("-C")
        .arg(from.path())
        .arg(".")
        .output()
        .unwrap();
    assert!(create.status.success());
    let back = tempfile::tempdir().unwrap();
    let mut normalised = Vec::new();
    let mut source = fs::read(&archive).unwrap();
    Source::open(&archive).unwrap().write_tar(&mut normalised, Limits::default()).unwrap();
    for archive in [&mut source, &mut normalised] {
        unpack(back.path(), archive).unwrap();
        assert!(describe(from.path()) == describe(back.path()));
    }
}

#[test]
fn runs_of_zeros_become_holes() {
    let to = tempfile::tempdir().unwrap();
    let mut content = vec![0; 3_000_000];
    content[1_500_000] = 1;
    content.extend([0; 10]);
    let archive = Crafted::new().entry(tar::EntryType::Regular, b"file", b"", &content).bytes();
    let exist = holes_exist(to.path());
    unpack(to.path(), &archive).unwrap();
    assert!(fs::read(to.path().join("file")).unwrap() == content);
    if exist {
        assert!(allocated(&to.path().join("file")) <= 8192);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_survives(nodes in any_tree()) {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        grow(from.path(), &nodes);
        let (archive, packed) = pack(from.path());
        let unpacked = unpack(to.path(), &archive).unwrap();
        prop_assert_eq!(packed, unpacked);
        prop_assert!(describe(from.path()) == describe(to.path()));
        // By way of the host's own reader, which keeps everything but the owner.
        let again = tempfile::tempdir().unwrap();
        let brought = again.path().join("brought.tar");
        fs::write(&brought, &archive).unwrap();
        let mut normalised = Vec::new();
        let totals = Source::open(&brought).unwrap().write_tar(&mut normalised, Limits::default()).unwrap();
        prop_assert_eq!(totals, packed);
        fs::create_dir(again.path().join("to")).unwrap();
        unpack(&again.path().join("to"), &normalised).unwrap();
        prop_assert!(describe(from.path()) == describe(&again.path().join("to")));
    }
}
