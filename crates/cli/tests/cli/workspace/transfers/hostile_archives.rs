//! Archives of others, as a seed and as an import.

use crate::workspace::trees::entry;
use crate::workspace::{EXHAUSTED, INVALID, Refusal, list, text};
use crate::{DEBIAN, SUITE};
use flate2::{Compression, write::GzEncoder};
use std::fs;
use std::io::Write;
use tar::EntryType;

fn gzipped(content: &[u8], level: Compression) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), level);
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Archives that are refused: their names, what is in them, and words of the refusal. The first entry of most is sound.
fn hostile_archives() -> Vec<(&'static str, Vec<u8>, Refusal, &'static str)> {
    let sound = || entry(EntryType::Regular, "sound", "", b"sound\n");
    let with = |entries: &[Vec<u8>]| [sound(), entries.concat(), vec![0; 1024]].concat();
    let one = |kind, name, link| with(&[entry(kind, name, link, b"")]);
    let file = |name| with(&[entry(EntryType::Regular, name, "", b"evil")]);
    let whole = gzipped(&file("x"), Compression::default());
    let zeros = vec![0; 128 << 20];
    let bomb = with(&[entry(EntryType::Regular, "bomb", "", &zeros)]);
    let through =
        [entry(EntryType::Symlink, "l", "/etc", b""), entry(EntryType::Regular, "l/evil", "", b"evil")];
    vec![
        ("dots.tar", file("a/../../evil"), INVALID, "a/../../evil"),
        ("absolute.tar", file("/etc/evil"), INVALID, "/etc/evil"),
        ("absolute.tgz", gzipped(&file("/etc/evil"), Compression::fast()), INVALID, "/etc/evil"),
        ("through.tar", with(&through), INVALID, "l/evil"),
        ("character.tar", one(EntryType::Char, "null", ""), INVALID, "null"),
        ("block.tar", one(EntryType::Block, "disk", ""), INVALID, "disk"),
        ("fifo.tar", one(EntryType::Fifo, "pipe", ""), INVALID, "pipe"),
        ("hard.tar", one(EntryType::Link, "hard", "../../etc/passwd"), INVALID, "hard"),
        ("root.tar", one(EntryType::Link, "hard", "/etc/passwd"), INVALID, "hard"),
        ("cut.tar", sound(), INVALID, "cut off"),
        ("within.tar", file("x")[..1100].to_vec(), INVALID, "malformed"),
        ("cut.tar.gz", whole[..whole.len() - 9].to_vec(), INVALID, "malformed"),
        ("bomb.tar.gz", gzipped(&bomb, Compression::best()), EXHAUSTED, "1000 times"),
        ("garbage.tar", vec![b'x'; 4096], INVALID, "not a tar archive"),
        ("garbage.tar.gz", vec![b'x'; 4096], INVALID, "does not"),
        ("gzip.tar", whole, INVALID, "compressed with gzip"),
        ("sound.zip", with(&[]), INVALID, "sound.zip"),
        ("empty.tar", vec![], INVALID, "not a tar archive"),
    ]
}

#[test]
fn after_a_hostile_seed_nothing_is_left() {
    let home = SUITE.with(DEBIAN);
    for (name, bytes, refusal, said) in hostile_archives() {
        let path = home.path().join(name);
        fs::write(&path, bytes).unwrap();
        let run = home.pyro(["workspace", "create", DEBIAN, "--json", "--seed-path", text(&path)]).run();
        let error = run.refused(refusal);
        assert!(error["message"].as_str().unwrap().contains(said), "{name}: {error:#}");
        assert_eq!(list(&home)["count"], 0, "{name}");
        assert_eq!((home.workspaces().len(), home.processes().len()), (0, 0), "after {name}");
    }
}

#[test]
fn after_a_hostile_import_the_way_out_is_a_reset() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    for (name, bytes, refusal, said) in hostile_archives() {
        let path = home.path().join(name);
        fs::write(&path, bytes).unwrap();
        let error = workspace.refused_saying("sync push", &[text(&path)], refusal, said);
        let message = error["message"].as_str().unwrap();
        let recommends_reset = error["hint"].as_str().unwrap().contains("pyro workspace reset");
        assert_eq!(message.contains("stopped midway"), recommends_reset, "{name}: {error:#}");
        let imported =
            workspace.sh("cat sound 2>/dev/null; rm -f sound; ls /etc/evil /evil 2>/dev/null; true");
        assert!(imported.is_empty() || imported == "sound\n" && recommends_reset, "{name}: {imported}");
    }
    workspace.json("reset", &[]);
    assert_eq!(workspace.sh("ls -A"), "");
}
