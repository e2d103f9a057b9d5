use super::testing::{Memory, root_of};
use super::*;

/// What is done to the topmost layer.
type Change = fn(&mut Memory) -> &mut Memory;

/// Every path beneath the root, with the first byte of what is there.
fn tree(root: &Root) -> Vec<String> {
    let mut walk = root.walk(&root.top().unwrap(), true, 1000).unwrap();
    let mut tree = vec![];
    while let Some(node) = walk.next_node().unwrap() {
        let mut path = String::from_utf8(node.path.clone()).unwrap();
        if node.meta.kind == Kind::File {
            path = format!("{path}={}", String::from_utf8(root.beginning(&node, 9).unwrap()).unwrap());
        }
        tree.push(path);
    }
    tree
}

fn lower() -> Memory {
    let mut lower = Memory::default();
    lower.directory("d").file("d/a", "1").file("d/b", "1").directory("d/s").file("d/s/x", "1").file("f", "1");
    lower
}

#[test]
fn layers_are_joined_from_the_top() {
    let mut upper = Memory::default();
    upper.directory("d").file("d/a", "2").whiteout("d/b").file("d/c", "2").whiteout("f");
    assert_eq!(tree(&root_of(vec![upper, lower()])), ["d", "d/a=2", "d/c=2", "d/s", "d/s/x=1"]);
}

#[test]
fn what_is_above_decides_what_shows_below() {
    let cases: [(Change, &[&str]); 7] = [
        (|upper| upper.directory("d").attribute("d", "overlay.opaque", b"y"), &["d", "f=1"]),
        (
            |upper| upper.directory("d").attribute("d", "overlay.opaque", b"x").whiteout("d/s"),
            &["d", "d/a=1", "d/b=1", "f=1"],
        ),
        (|upper| upper.file("d", "2"), &["d=2", "f=1"]),
        (
            |upper| upper.directory("f").file("f/y", "2"),
            &["d", "d/a=1", "d/b=1", "d/s", "d/s/x=1", "f", "f/y=2"],
        ),
        (
            |upper| {
                upper.whiteout("d").directory("e").attribute("e", "overlay.redirect", b"d").file("e/n", "2")
            },
            &["e", "e/a=1", "e/b=1", "e/n=2", "e/s", "e/s/x=1", "f=1"],
        ),
        (
            |upper| {
                upper.directory("d").whiteout("d/s").directory("m").attribute(
                    "m",
                    "overlay.redirect",
                    b"/d/s",
                )
            },
            &["d", "d/a=1", "d/b=1", "f=1", "m", "m/x=1"],
        ),
        (
            |upper| upper.directory("run").file("run/secret", "2").directory("n").file("n/run", "2"),
            &["d", "d/a=1", "d/b=1", "d/s", "d/s/x=1", "f=1", "n", "n/run=2", "run"],
        ),
    ];
    for (change, expected) in cases {
        let mut upper = Memory::default();
        change(&mut upper);
        assert_eq!(tree(&root_of(vec![upper, lower()])), expected);
    }
}

#[test]
fn a_directory_goes_on_below_a_layer_that_lacks_it() {
    let mut upper = Memory::default();
    upper.directory("e").attribute("e", "overlay.redirect", b"/d").whiteout("d");
    let mut middle = Memory::default();
    middle.file("other", "2");
    assert_eq!(
        tree(&root_of(vec![upper, middle, lower()])),
        ["e", "e/a=1", "e/b=1", "e/s", "e/s/x=1", "f=1", "other=2"]
    );
}

#[test]
fn links_lead_where_they_would_in_the_guest() {
    let mut upper = Memory::default();
    upper
        .directory("d")
        .link("d/up", "../../../f")
        .link("abs", "/d/s")
        .link("loop", "loop")
        .link("d/near", "./s/x");
    upper.link("in-run", "/run/x").link("dangling", "nowhere");
    let root = root_of(vec![upper, lower()]);
    let find = |path: &str, follow| {
        root.find(path.as_bytes(), follow).map(|node| String::from_utf8(node.path).unwrap())
    };
    for (path, follow, expected) in [
        ("/", true, ""),
        ("/d/up", true, "f"),
        ("/d/up", false, "d/up"),
        ("/abs/x", false, "d/s/x"),
        ("/abs", true, "d/s"),
        ("/d/near", true, "d/s/x"),
    ] {
        assert_eq!(find(path, follow).unwrap(), expected, "{path}");
    }
    assert!(matches!(find("/loop", true), Err(DiskError::TooManyLinks)));
    assert!(matches!(find("/loop/a", false), Err(DiskError::TooManyLinks)));
    assert!(matches!(find("/f/a", true), Err(DiskError::NotADirectory)));
    for path in ["/nowhere", "/in-run", "/dangling", "/d/b/../nowhere"] {
        assert!(matches!(find(path, true), Err(DiskError::NotFound | DiskError::NotADirectory)), "{path}");
    }
}

#[test]
fn directories_in_circles_and_too_many_files_are_errors() {
    let mut upper = Memory::default();
    upper.directory("a").directory("a/b").file("a/b/c", "");
    let root = root_of(vec![upper]);
    let mut walk = root.walk(&root.top().unwrap(), true, 2).unwrap();
    assert!(matches!((0..3).find_map(|_| walk.next_node().err()), Some(DiskError::TooMany { .. })));
}
