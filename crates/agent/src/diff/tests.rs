//! The comparison, on ordinary directories that stand for the layers of an overlay.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use pyro_tree::Tree;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, statat};
use rustix::io::Errno;
use tempfile::TempDir;

use super::view::{Node, View};
use super::walk::{Report, Trees};
use crate::fail::Fail;

/// In these tests a directory of the upper layer that holds this file takes the place of the one below.
const OPAQUE: &str = ".opaque";

/// Three directories: `upper`, `before` and `after`.
struct Layers(TempDir);

impl Layers {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        for name in ["upper", "before", "after"] {
            fs::create_dir(home.path().join(name)).unwrap();
        }
        Self(home)
    }

    /// Writes a file, with its parents, into each of `layers`.
    fn file(&self, layers: &[&str], path: &str, content: &str) -> &Self {
        for layer in layers {
            let path = self.0.path().join(layer).join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        self
    }

    fn directory(&self, layers: &[&str], path: &str) -> &Self {
        for layer in layers {
            fs::create_dir_all(self.0.path().join(layer).join(path)).unwrap();
        }
        self
    }

    fn link(&self, layers: &[&str], path: &str, target: &str) -> &Self {
        for layer in layers {
            symlink(target, self.0.path().join(layer).join(path)).unwrap();
        }
        self
    }

    fn mode(&self, layer: &str, path: &str, mode: u32) -> &Self {
        fs::set_permissions(self.0.path().join(layer).join(path), Permissions::from_mode(mode)).unwrap();
        self
    }

    fn trees(&self) -> Trees {
        let view = |name| View::new(Some(Tree::open(&self.0.path().join(name)).unwrap()));
        Trees { upper: view("upper"), before: view("before"), after: view("after"), replaces }
    }

    fn changes(&self) -> Vec<String> {
        let mut told = Told::default();
        self.trees().compare(&mut told).unwrap();
        told.0
    }
}

fn replaces(directory: &OwnedFd) -> rustix::io::Result<bool> {
    match statat(directory, OPAQUE, AtFlags::empty()) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

#[derive(Default)]
struct Told(Vec<String>);

impl Report for Told {
    fn change(&mut self, path: &Path, before: Option<Node>, after: Option<Node>) -> Result<(), Fail> {
        let sign = match (&before, &after) {
            (None, _) => '+',
            (_, None) => '-',
            (Some(before), Some(after)) if before.kind == after.kind => '~',
            _ => '!',
        };
        self.0.push(format!("{sign}{}", path.display()));
        Ok(())
    }
}

const ALL: [&str; 3] = ["upper", "before", "after"];
const BELOW: [&str; 2] = ["before", "after"];
const ABOVE: [&str; 2] = ["upper", "after"];

#[test]
fn what_was_written_is_told_and_what_was_only_touched_is_not() {
    let layers = Layers::new();
    layers
        .file(&ALL, "touched", "same")
        .file(&BELOW, "kept", "same")
        .file(&["before"], "sub/changed", "old")
        .file(&ABOVE, "sub/changed", "new")
        .file(&["before"], "sub/longer", "old")
        .file(&ABOVE, "sub/longer", "older")
        .file(&ABOVE, "sub/new/file", "x")
        .directory(&ALL, "sub/entered")
        .file(&["upper"], "come and gone", "x");
    assert_eq!(layers.changes(), ["~sub/changed", "~sub/longer", "+sub/new", "+sub/new/file"]);
}

#[test]
fn what_is_hidden_is_told_with_all_that_was_in_it() {
    let layers = Layers::new();
    // Whatever the upper layer has there: the tree as it is does not have it.
    layers
        .file(&["before"], "file", "x")
        .file(&["upper"], "file", "")
        .file(&["before"], "gone/deep/file", "x")
        .file(&["upper"], "gone", "")
        .file(&["before"], "gone/a", "x");
    assert_eq!(layers.changes(), ["-file", "-gone", "-gone/a", "-gone/deep", "-gone/deep/file"]);
}

#[test]
fn a_directory_in_the_place_of_another_is_compared_as_a_whole() {
    let layers = Layers::new();
    layers
        .file(&["before"], "again/old", "x")
        .file(&BELOW, "again/sub/same", "x")
        .file(&["before"], "again/sub/old", "x")
        .file(&["after"], "again/new", "x")
        .file(&["upper"], &format!("again/{OPAQUE}"), "");
    assert_eq!(layers.changes(), ["+again/new", "-again/old", "-again/sub/old"]);
}

#[test]
fn the_whole_workspace_may_be_another() {
    let layers = Layers::new();
    layers.file(&["before"], "old", "x").file(&["after"], "new", "x").file(&["upper"], OPAQUE, "");
    assert_eq!(layers.changes(), ["+new", "-old"]);
    let mut told = Told::default();
    let mut gone = Trees { upper: View::new(None), after: View::new(None), ..layers.trees() };
    gone.compare(&mut told).unwrap();
    assert_eq!(told.0, ["-old"]);
}

#[test]
fn another_type_is_told_once_and_what_is_beneath_on_its_own() {
    let layers = Layers::new();
    layers
        .file(&["before"], "to directory", "x")
        .file(&ABOVE, "to directory/file", "x")
        .file(&["before"], "to file/old", "x")
        .file(&ABOVE, "to file", "x")
        .file(&["before"], "to link", "x")
        .link(&ABOVE, "to link", "x");
    let expected = ["!to directory", "+to directory/file", "!to file", "-to file/old", "!to link"];
    assert_eq!(layers.changes(), expected);
}

#[test]
fn modes_and_links_count() {
    let layers = Layers::new();
    layers
        .directory(&ALL, "directory")
        .mode("after", "directory", 0o700)
        .file(&ALL, "directory/file", "x")
        .mode("after", "directory/file", 0o4755)
        .link(&["before"], "link", "old")
        .link(&ABOVE, "link", "new")
        .link(&ALL, "same", "directory");
    assert_eq!(layers.changes(), ["~directory", "~directory/file", "~link"]);
}

#[test]
fn links_are_told_and_never_followed() {
    let layers = Layers::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "x").unwrap();
    layers
        .file(&["before"], "sub/secret", "x")
        .directory(&["upper"], "sub")
        .file(&["upper"], "sub/secret", "x")
        .link(&["after"], "sub", outside.path().to_str().unwrap());
    assert_eq!(layers.changes(), ["!sub", "-sub/secret"]);
}

#[test]
fn names_come_in_the_order_of_their_bytes_a_directory_first() {
    let layers = Layers::new();
    layers.file(&ABOVE, "a/b", "").file(&ABOVE, "a-b", "").file(&ABOVE, "B", "").file(&ABOVE, "ä", "");
    assert_eq!(layers.changes(), ["+B", "+a", "+a/b", "+a-b", "+ä"]);
}

#[test]
fn only_what_was_written_is_looked_at() {
    let layers = Layers::new();
    for number in 0..500 {
        layers.file(&BELOW, &format!("many/{number}/file"), "x");
    }
    layers
        .file(&["before"], "sub/changed", "old")
        .file(&ABOVE, "sub/changed", "new")
        // A difference that the upper layer knows nothing of: whoever looked at it would tell it.
        .file(&["after"], "many/1/file", "other");
    let mut trees = layers.trees();
    let mut told = Told::default();
    trees.compare(&mut told).unwrap();
    assert_eq!(told.0, ["~sub/changed"]);
    assert_eq!((trees.before.lookups, trees.after.lookups), (2, 2), "sub and sub/changed");
}
