//! Images are read back by the reader of this crate, and checked with e2fsck by the tests of the command.

use super::*;
use crate::budget::Budget;
use crate::overlay::testing::{Memory, root_of};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

struct Stars(Vec<u8>);

impl Rewrite for Stars {
    fn push(&mut self, content: &[u8], _out: &mut Vec<u8>) {
        self.0.extend_from_slice(content);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        let text = String::from_utf8(std::mem::take(&mut self.0)).unwrap();
        out.extend_from_slice(text.replace("secret", "*").as_bytes());
    }
}

/// Writes an image of `root`, and opens its directory `directory`.
fn written(root: &Root, directory: &str, rewrite: Option<&mut dyn Rewrite>) -> (Root, WrittenImage) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let options = ImageOptions { uuid: [7; 16], now: 1_700_000_000, rewrite };
    let image = write_root(root, file.as_file(), options).unwrap();
    let budget = Budget::new(Some(Duration::from_mins(1)), Arc::default());
    (Root::open(file.path(), directory.as_bytes(), &[], budget).unwrap(), image)
}

fn content(root: &Root, path: &str) -> String {
    let node = root.find(path.as_bytes(), true).unwrap();
    String::from_utf8(root.beginning(&node, 1 << 30).unwrap()).unwrap()
}

#[test]
fn what_was_written_is_read_back() {
    let long = "x".repeat(300_000);
    let mut memory = Memory::default();
    memory.directory("top").file("top/short", "hello").file("top/long", &long).file("top/none", "");
    memory
        .link("top/link", "short")
        .link("top/long-link", &"y/".repeat(400))
        .hard_link("top/other", "top/long");
    memory.directory("top/many");
    for number in 0..1000 {
        memory.file(&format!("top/many/{number:0200}"), "");
    }
    memory.attribute("top/short", "a", b"1").attribute("top/long", "big", &[5; 2000]);
    let (read, image) = written(&root_of(vec![memory]), "top", None);
    assert_eq!(image.files, 1009, "with the root, and lost+found");
    assert_eq!(content(&read, "/short"), "hello");
    assert_eq!(content(&read, "/long"), long);
    assert_eq!(content(&read, "/other"), long);
    assert_eq!(content(&read, "/none"), "");
    let names = |path: &str| read.children(&read.find(path.as_bytes(), false).unwrap()).unwrap();
    assert_eq!(names("/many").len(), 1000);
    let (one, other) = (read.find(b"/long", false).unwrap(), read.find(b"/other", false).unwrap());
    assert_eq!((one.identity(), one.meta.links), (other.identity(), 2));
    assert_eq!(read.target(&read.find(b"/link", false).unwrap()).unwrap(), b"short");
    assert_eq!(
        read.target(&read.find(b"/long-link", false).unwrap()).unwrap(),
        "y/".repeat(400).into_bytes()
    );
    let attributes = |path: &[u8]| read.xattrs(&read.find(path, false).unwrap()).unwrap();
    assert_eq!(
        (&attributes(b"/short")[0].name[..], &attributes(b"/short")[0].value[..]),
        (&b"a"[..], &b"1"[..])
    );
    assert_eq!(attributes(b"/long")[0].value, [5; 2000]);
}

#[test]
fn contents_targets_and_attributes_are_rewritten() {
    let mut memory = Memory::default();
    memory.directory("top").file("top/a", "my secret, my secret").link("top/l", "to/secret");
    memory.attribute("top/a", "a", b"secret");
    let (read, _) = written(&root_of(vec![memory]), "top", Some(&mut Stars(vec![])));
    assert_eq!(content(&read, "/a"), "my *, my *");
    assert_eq!(read.target(&read.find(b"/l", false).unwrap()).unwrap(), b"to/*");
    assert_eq!(read.xattrs(&read.find(b"/a", false).unwrap()).unwrap()[0].value, b"*");
}

/// Looks at everything that can be looked at.
fn read_all(path: &std::path::Path) -> Result<u64, DiskError> {
    let root = Root::open(path, b"top", &[], Budget::new(Some(Duration::from_secs(5)), Arc::default()))?;
    let mut walk = root.walk(&root.top()?, true, 10_000)?;
    let mut files = 0;
    while let Some(node) = walk.next_node()? {
        let _unreadable = root.xattrs(&node).and(root.target(&node).map(drop));
        let _unreadable = root.segments(&node).and(root.beginning(&node, 1 << 16).map(drop));
        files += 1;
    }
    Ok(files)
}

#[test]
fn damage_is_an_error_or_shows_but_never_a_panic() {
    let mut memory = Memory::default();
    memory.directory("top").file("top/a", &"a".repeat(40_000)).link("top/l", &"y/".repeat(100));
    memory.attribute("top/a", "big", &[5; 2000]).attribute("top/l", "small", b"1");
    for number in 0..200 {
        memory.file(&format!("top/{number:0100}"), "x");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let options = ImageOptions { uuid: [7; 16], now: 0, rewrite: None };
    write_root(&root_of(vec![memory]), file.as_file(), options).unwrap();
    assert_eq!(read_all(file.path()).unwrap(), 202);
    // A generator of its own, so that what fails fails again.
    let mut state = 1u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let used: Vec<u64> = (0..400 * 4096 / 64)
        .filter(|at| {
            let mut piece = [0; 64];
            file.as_file().read_exact_at(&mut piece, at * 64).unwrap();
            piece != [0; 64]
        })
        .collect();
    for _ in 0..300 {
        let mut changed = vec![];
        for _ in 0..=random(4) {
            let at = used[usize::try_from(random(used.len() as u64)).unwrap()] * 64 + random(64);
            let mut byte = [0];
            file.as_file().read_exact_at(&mut byte, at).unwrap();
            changed.push((at, byte));
            let value = [0, 0xff, byte[0] ^ 1 << random(8)][usize::try_from(random(3)).unwrap()];
            file.as_file().write_all_at(&[value], at).unwrap();
        }
        let _damaged = read_all(file.path());
        for (at, byte) in changed.into_iter().rev() {
            file.as_file().write_all_at(&byte, at).unwrap();
        }
    }
    assert_eq!(read_all(file.path()).unwrap(), 202);
}
