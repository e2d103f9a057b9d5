use pyro_protocol::error::{Diagnostic as _, ErrorKind};

use crate::model::{FileMode, Kind};
use crate::{Applied, ApplyError, Patch};

fn apply(patch: &str, original: Option<&str>) -> Result<Applied, ApplyError> {
    let patch = Patch::parse(patch.as_bytes()).unwrap_or_else(|error| panic!("{error}: {patch}"));
    let [file] = patch.files() else { panic!("one file") };
    file.apply(original)
}

fn on_x(hunks: &str) -> String {
    format!("--- a/x\n+++ b/x\n{hunks}")
}

#[test]
fn hunks_go_where_their_lines_are() {
    let swap = "@@ -3,3 +3,3 @@\n c\n-d\n+D\n e\n";
    let cases: &[(&str, &str, &str, &[i64])] = &[
        (swap, "a\nb\nc\nd\ne\nf\n", "a\nb\nc\nD\ne\nf\n", &[0]),
        (swap, "c\nd\ne\n", "c\nD\ne\n", &[-2]),
        (swap, "1\n2\n3\n4\nc\nd\ne\n", "1\n2\n3\n4\nc\nD\ne\n", &[2]),
        // The nearer of two.
        (swap, "c\nd\ne\nc\nd\ne\n", "c\nd\ne\nc\nD\ne\n", &[1]),
        // A later hunk moves along with the one before it, and may have another place of its own.
        (
            "@@ -1 +1,2 @@\n a\n+b\n@@ -3 +4 @@\n-z\n+Z\n",
            "0\n0\na\nq\nz\nz\n",
            "0\n0\na\nb\nq\nZ\nz\n",
            &[2, 2],
        ),
        // Missing newlines, both ways.
        ("@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+b\n\\ No newline at end of file\n", "a", "b", &[0]),
        ("@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n", "a", "a\n", &[0]),
        ("@@ -1 +1 @@\n-a\n+a\n\\ No newline at end of file\n", "a\n", "a", &[0]),
        ("@@ -1,2 +1,2 @@\n-a\n+A\n b\n\\ No newline at end of file\n", "a\nb", "A\nb", &[0]),
        // Carriage returns are content.
        ("@@ -1,2 +1,2 @@\n a\r\n-b\r\n+c\n", "a\r\nb\r\n", "a\r\nc\n", &[0]),
        ("@@ -1 +1 @@\n-a\rb\n+a\n", "a\rb\n", "a\n", &[0]),
        // A file is emptied, not deleted; an empty one is filled.
        ("@@ -1 +0,0 @@\n-a\n", "a\n", "", &[0]),
        ("@@ -0,0 +1 @@\n+a\n", "", "a\n", &[0]),
        // A blank line of context without its blank.
        ("@@ -1,3 +1,3 @@\n a\n\n-b\n+c\n", "a\n\nb\n", "a\n\nc\n", &[0]),
    ];
    for (hunks, original, wanted, offsets) in cases {
        let applied = apply(&on_x(hunks), Some(original)).unwrap_or_else(|error| panic!("{error}: {hunks}"));
        assert_eq!(applied.text.as_deref(), Some(*wanted), "{hunks}");
        assert_eq!(applied.offsets, *offsets, "{hunks}");
        assert_eq!((applied.kind, applied.with_crlf), (Kind::Modify, false));
    }
}

#[test]
fn a_patch_without_carriage_returns_takes_those_of_the_file() {
    let hunks = on_x("@@ -1,3 +1,4 @@\n a\n-b\n+B\n+C\n d\n\\ No newline at end of file\n");
    let applied = apply(&hunks, Some("a\r\nb\r\nd")).unwrap();
    assert_eq!((applied.text.as_deref(), applied.with_crlf), (Some("a\r\nB\r\nC\r\nd"), true));
    // Only where all lines have them.
    assert!(apply(&hunks, Some("a\r\nb\nd")).is_err());
    // Never where the patch applies as it is.
    let one = on_x("@@ -1 +1 @@\n-b\n+c\n");
    assert_eq!(apply(&one, Some("b\n")).unwrap().text.as_deref(), Some("c\n"));
}

#[test]
fn files_come_and_go() {
    let add = "--- /dev/null\n+++ b/x\n@@ -0,0 +1,2 @@\n+a\n+b\n\\ No newline at end of file\n";
    let applied = apply(add, None).unwrap();
    assert_eq!(applied.kind, Kind::Add { mode: FileMode::Regular });
    assert_eq!(applied.text.as_deref(), Some("a\nb"));

    let empty = "diff --git a/x b/x\nnew file mode 100755\n";
    let applied = apply(empty, None).unwrap();
    assert_eq!(applied.kind, Kind::Add { mode: FileMode::Executable });
    assert_eq!(applied.text.as_deref(), Some(""));

    let from_nothing = on_x("@@ -0,0 +1 @@\n+a\n");
    let applied = apply(&from_nothing, None).unwrap();
    assert_eq!(applied.kind, Kind::Add { mode: FileMode::Regular });
    assert_eq!(applied.text.as_deref(), Some("a\n"));

    let delete = "--- a/x\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-a\n-b\n";
    let applied = apply(delete, Some("a\nb\n")).unwrap();
    assert_eq!((applied.kind, applied.text), (Kind::Delete, None));
    let applied = apply("diff --git a/x b/x\ndeleted file mode 100644\n", Some("")).unwrap();
    assert_eq!((applied.kind, applied.text), (Kind::Delete, None));
}

/// Patch, file, then message, kind and the beginning of the hint of the refusal.
type Case<'a> = (&'a str, Option<&'a str>, &'a str, ErrorKind, &'a str);

fn refused(cases: &[Case<'_>]) {
    for (patch, original, message, kind, hint) in cases {
        let error = apply(patch, *original).expect_err(message);
        assert_eq!(error.to_string(), *message, "{patch}");
        assert_eq!(error.kind(), *kind, "{message}");
        assert!(error.hint().is_some_and(|text| text.starts_with(hint)), "{message}: {:?}", error.hint());
    }
}

const SWAP: &str = "--- a/x\n+++ b/x\n@@ -2,2 +2,2 @@\n b\n-c\n+C\n";

#[test]
fn a_mismatch_says_where_and_what() {
    let long = "x".repeat(1000);
    refused(&[
        (
            SWAP,
            Some("a\nb\nd\n"),
            "x: hunk 1 of 1 does not apply: line 3 should be \"c\", found \"d\"",
            ErrorKind::WrongState,
            "Read the file again",
        ),
        (
            SWAP,
            Some("a\n"),
            "x: hunk 1 of 1 does not apply: line 2 should be \"b\", the file ends before it",
            ErrorKind::WrongState,
            "Read the file again",
        ),
        (
            SWAP,
            Some("a\nb\nc"),
            "x: hunk 1 of 1 does not apply: line 3 should be \"c\", found \"c\"",
            ErrorKind::WrongState,
            "Put `\\ No newline",
        ),
        (
            SWAP,
            Some("a\nb\nc\r\n"),
            "x: hunk 1 of 1 does not apply: line 3 should be \"c\", found \"c\\r\"",
            ErrorKind::WrongState,
            "End the lines",
        ),
        (
            SWAP,
            Some("a\nb\n\tc\n"),
            "x: hunk 1 of 1 does not apply: line 3 should be \"c\", found \"\\tc\"",
            ErrorKind::WrongState,
            "Copy spaces and tabs",
        ),
        (
            SWAP,
            Some("a\nb\nC\n"),
            "x: hunk 1 of 1 does not apply: line 3 should be \"c\", found \"C\"",
            ErrorKind::WrongState,
            "Leave the hunk out",
        ),
        (
            &on_x("@@ -4 +4 @@\n-4\n+D\n@@ -2 +2 @@\n-2\n+B\n"),
            Some("1\n2\n3\n4\n5\n"),
            "x: hunk 2 of 2 does not apply: line 5 should be \"2\", found \"5\"",
            ErrorKind::WrongState,
            "Put the hunks in the order",
        ),
        (
            SWAP,
            Some(&long),
            "x: hunk 1 of 1 does not apply: line 2 should be \"b\", the file ends before it",
            ErrorKind::WrongState,
            "Read the file again",
        ),
        (
            &on_x("@@ -1 +1 @@\n-b\n+c\n"),
            Some(&long),
            &format!("x: hunk 1 of 1 does not apply: line 1 should be \"b\", found \"{}\"…", "x".repeat(200)),
            ErrorKind::WrongState,
            "Read the file again",
        ),
    ]);
}

#[test]
fn other_refusals_say_what_is_in_the_way() {
    let add = "--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+a\n";
    let delete = "--- a/x\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-a\n-b\n";
    refused(&[
        (add, Some(""), "x exists already", ErrorKind::AlreadyExists, "Make the patch against"),
        (delete, None, "x does not exist", ErrorKind::NotFound, "Use `--- /dev/null`"),
        (SWAP, None, "x does not exist", ErrorKind::NotFound, "Use `--- /dev/null`"),
        (
            &on_x("@@ -2 +2 @@\n-a\n+b\n"),
            Some("a\n0\na\n"),
            "x: hunk 1 of 1 does not apply: not at line 2, and equally near at lines 1 and 3",
            ErrorKind::WrongState,
            "Give the right line number",
        ),
        (
            &on_x("@@ -1,0 +2 @@\n+b\n"),
            Some("a\n"),
            "x: hunk 1 of 1 does not apply: it has no context, and the file is not empty",
            ErrorKind::WrongState,
            "Give at least one line of context",
        ),
        (
            &on_x("@@ -1 +1 @@\n-a\n+b\n\\ No newline at end of file\n"),
            Some("a\nc\n"),
            "x: hunk 1 of 1 does not apply: it ends the file without a newline, and line 2 follows",
            ErrorKind::WrongState,
            "Leave `\\ No newline",
        ),
        (
            delete,
            Some("a\nb\nc\n"),
            "x would be deleted, but has lines that the patch does not remove, the first at line 3",
            ErrorKind::WrongState,
            "Remove every line",
        ),
        (
            "diff --git a/x b/x\ndeleted file mode 100644\n",
            Some("a\n"),
            "x would be deleted, but has lines that the patch does not remove, the first at line 1",
            ErrorKind::WrongState,
            "Remove every line",
        ),
    ]);
}

#[test]
fn hunks_do_not_overlap() {
    // The second hunk's lines are the first one's result, and its context before it; neither counts.
    let hunks = on_x("@@ -1,2 +1,2 @@\n a\n-b\n+c\n@@ -2 +2 @@\n-c\n+d\n");
    assert!(matches!(apply(&hunks, Some("a\nb\n")), Err(ApplyError::Mismatch { hunk: 2, .. })));
}

/// A hostile patch on a hostile file ends, one way or the other.
#[test]
fn the_search_for_a_place_is_bounded() {
    let file = "a\n".repeat(500_000);
    let mut hunk = String::from("@@ -250000,100001 +1,100001 @@\n");
    hunk.push_str(&" a\n".repeat(100_000));
    hunk.push_str("-b\n+c\n");
    let error = apply(&on_x(&hunk), Some(&file)).unwrap_err();
    assert!(matches!(error, ApplyError::TooCostly { hunk: 1, hunks: 1, .. }), "{error}");

    let far: String = (0..20_000).map(|_| "@@ -999999 +1 @@\n-a\n+b\n").collect();
    let _ = apply(&on_x(&far), Some(&format!("{file}{}", "0\n".repeat(500_000))));
}
