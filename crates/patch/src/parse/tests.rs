use std::fmt::Write as _;

use pyro_protocol::error::{Diagnostic as _, ErrorKind};

use crate::model::{FileMode, Kind};
use crate::{MAX_PATCH_BYTES, Patch, PatchError};

const ADD: Kind = Kind::Add { mode: FileMode::Regular };

fn parse(text: &str) -> Result<Patch, PatchError> {
    Patch::parse(text.as_bytes())
}

const HUNK: &str = "@@ -1 +1 @@\n-a\n+b\n";
const X: &str = "--- a/x\n+++ b/x\n";
const GIT: &str = "diff --git a/x b/x\n";

/// Path, kind, lines added and removed of each file.
fn summary(text: &str) -> Vec<(String, Kind, (usize, usize))> {
    let patch = parse(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    patch.files().iter().map(|file| (file.path().to_string(), file.kind(), file.line_counts())).collect()
}

#[test]
fn headers_of_all_kinds_are_taken() {
    let one = "@@ -1 +1 @@\n-a\n+b\n";
    let cases: &[(&str, &str, Kind, (usize, usize))] = &[
        ("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n", "x", Kind::Modify, (1, 1)),
        ("--- a/x\n+++ b/x\n@@ -1 +1 @@ fn f() @@ g\n-a\n+b", "x", Kind::Modify, (1, 1)),
        ("--- x\t2026-01-01\n+++ x\t2026-01-02\n@@ -1 +1 @@\n-a\n+b\n", "x", Kind::Modify, (1, 1)),
        ("--- /workspace/s/x\n+++ /workspace/s/x\n@@ -1 +1 @@\n-a\n+b\n", "s/x", Kind::Modify, (1, 1)),
        ("--- a//workspace/x\n+++ b//workspace/x\n@@ -1 +1 @@\n-a\n+b\n", "x", Kind::Modify, (1, 1)),
        ("--- ./x\n+++ ./x\n@@ -1 +1 @@\n-a\n+b\n", "x", Kind::Modify, (1, 1)),
        ("--- a/x\n+++ a/x\n@@ -1 +1 @@\n-a\n+b\n", "a/x", Kind::Modify, (1, 1)),
        ("--- i/x\n+++ w/x\n@@ -1 +1 @@\n-a\n+b\n", "x", Kind::Modify, (1, 1)),
        ("--- a/x\r\n+++ b/x\r\n@@ -1 +1 @@\r\n-a\r\n+b\r\n", "x", Kind::Modify, (1, 1)),
        ("--- a/x y\t\n+++ b/x y\t\n@@ -1 +1 @@\n-a\n+b\n", "x y", Kind::Modify, (1, 1)),
        (
            "--- \"a/\\303\\244 b\\n\"\n+++ \"b/\\303\\244 b\\n\"\n@@ -1 +1 @@\n-a\n+b\n",
            "\"\\303\\244 b\\n\"",
            Kind::Modify,
            (1, 1),
        ),
        ("--- /dev/null\n+++ b/x\n@@ -0,0 +1,2 @@\n+a\n+b\n", "x", ADD, (2, 0)),
        ("--- /dev/null\n+++ /workspace/x\n@@ -0,0 +1 @@\n+a\n", "x", ADD, (1, 0)),
        ("--- x\t1970-01-01 01:00:00 +0100\n+++ x\t2026-01-01\n@@ -0,0 +1 @@\n+a\n", "x", ADD, (1, 0)),
        ("--- a/x\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-a\n-b\n", "x", Kind::Delete, (0, 2)),
        (
            "--- x\t2026-01-01\n+++ x\t1969-12-31 19:00:00 -0500\n@@ -1 +0,0 @@\n-a\n",
            "x",
            Kind::Delete,
            (0, 1),
        ),
        (
            "diff --git a/x b/x\nnew file mode 100755\nindex 0000000..1234567\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+a\n",
            "x",
            Kind::Add { mode: FileMode::Executable },
            (1, 0),
        ),
        ("diff --git a/x b/x\nnew file mode 100644\nindex 0000000..e69de29\n", "x", ADD, (0, 0)),
        ("diff --git a/x b/x\ndeleted file mode 100644\n", "x", Kind::Delete, (0, 0)),
        (
            "diff --git b/x b/x\nnew file mode 100644\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+a\n",
            "b/x",
            ADD,
            (1, 0),
        ),
        (
            "diff --git /workspace/x /workspace/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n",
            "x",
            Kind::Modify,
            (1, 1),
        ),
    ];
    for (text, path, kind, counts) in cases {
        assert_eq!(summary(text), [((*path).to_owned(), *kind, *counts)], "{text}");
    }
    let both =
        format!("diff --git a/x b/x\nindex 1..2 100644\n--- a/x\n+++ b/x\n{one}--- a/y\n+++ b/y\n{one}");
    assert_eq!(summary(&both), [("x".into(), Kind::Modify, (1, 1)), ("y".into(), Kind::Modify, (1, 1))]);
}

#[test]
fn prose_and_mail_are_skipped() {
    let text = "\
Here is the fix:
- first the tests
--- not a header
+ nor this

```diff
--- a/x
+++ b/x
@@ -1 +1 @@
-a
+b

@@ -9,2 +9,2 @@

-a
+b
```

- and then this:

commit 1234
Author: x

    message
---
 y | 2 +-
diff --git a/y b/y
index 1..2 100644
--- a/y
+++ b/y
@@ -1 +1 @@
-a
+b
-- 
2.47.3

--- a/z
+++ b/z
@@ -1 +1 @@
-a
+b
  \t

--
";
    let modify = |path: &str, count| (path.to_owned(), Kind::Modify, (count, count));
    assert_eq!(summary(text), [modify("x", 2), modify("y", 1), modify("z", 1)]);
}

/// Each text is refused with this message, a hint, and the kind that goes with it.
fn refused(cases: &[(String, &str)]) {
    for (text, message) in cases {
        let error = parse(text).expect_err(text);
        assert_eq!(error.to_string(), *message, "{text}");
        assert!(error.hint().is_some_and(|hint| hint.ends_with('.')), "{error:?}");
        let wanted =
            if message.contains("not supported") { ErrorKind::Unsupported } else { ErrorKind::InvalidInput };
        assert_eq!(error.kind(), wanted, "{message}");
    }
}

#[test]
fn a_patch_without_changes_is_refused() {
    refused(&[
        (String::new(), "the patch changes nothing: no `---` and `+++` headers in it"),
        ("hello\n".into(), "the patch changes nothing: no `---` and `+++` headers in it"),
        ("a\0b".into(), "the patch is not UTF-8 text"),
        ("x".repeat(MAX_PATCH_BYTES + 1), "the patch has 1048577 bytes, more than 1048576"),
        (X.into(), "line 1: x has no hunks"),
        (GIT.into(), "line 1: x has no hunks"),
        (format!("{GIT}index 1..2 100644\n"), "line 1: x has no hunks"),
        ("--- a/x\n+++ /dev/null\n".into(), "line 1: x has no hunks"),
    ]);
    assert_eq!(Patch::parse(b"--- a/\xff").unwrap_err(), PatchError::NotText);
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    refused(&[
        (
            "diff --git a/x b/y\nsimilarity index 90%\nrename from x\nrename to y\n".into(),
            "line 3: a/x b/y: renames are not supported in a patch",
        ),
        (format!("--- a/x\n+++ b/y\n{HUNK}"), "line 1: a/x and b/y: renames are not supported in a patch"),
        (format!("--- a/x\n+++ x\n{HUNK}"), "line 1: a/x and x: renames are not supported in a patch"),
        (
            "diff --git a/x b/y\ncopy from x\ncopy to y\n".into(),
            "line 2: a/x b/y: copies are not supported in a patch",
        ),
        (
            format!("{GIT}old mode 100644\nnew mode 100755\n"),
            "line 2: x: mode changes are not supported in a patch",
        ),
        (format!("{GIT}new mode 100755\n"), "line 2: x: mode changes are not supported in a patch"),
        (
            format!("{GIT}new file mode 104755\n"),
            "line 2: x: file modes other than 100644 and 100755 are not supported in a patch",
        ),
        (
            format!("{GIT}index 1..2 100644\nGIT binary patch\nliteral 0\n"),
            "line 3: x: binary changes are not supported in a patch",
        ),
        (
            format!("{GIT}index 1..2 100644\nBinary files a/x and b/x differ\n"),
            "line 3: x: binary changes are not supported in a patch",
        ),
        (
            "Binary files old/x and new/x differ\n".into(),
            "line 1: Binary files old/x and new/x differ: binary changes are not supported in a patch",
        ),
        (
            format!("{GIT}new file mode 120000\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+/etc\n"),
            "line 2: x: symbolic links are not supported in a patch",
        ),
        (
            format!("{GIT}deleted file mode 120000\n"),
            "line 2: x: symbolic links are not supported in a patch",
        ),
        (
            format!("{GIT}index 1..2 120000\n{X}{HUNK}"),
            "line 2: x: symbolic links are not supported in a patch",
        ),
        (format!("{GIT}index 1..2 160000\n{X}{HUNK}"), "line 2: x: submodules are not supported in a patch"),
        ("diff --cc x\n".into(), "line 1: x: combined diffs are not supported in a patch"),
        ("diff --combined x\n".into(), "line 1: x: combined diffs are not supported in a patch"),
        (format!("{X}@@@ -1 -1 +1 @@@\n  a\n"), "line 3: x: combined diffs are not supported in a patch"),
    ]);
}

#[test]
fn paths_outside_the_rules_are_refused() {
    let long = "x".repeat(4097);
    refused(&[
        (format!("--- a/../x\n+++ b/../x\n{HUNK}"), "line 1: path ../x is refused: it contains `..`"),
        (
            format!("--- /etc/passwd\n+++ /etc/passwd\n{HUNK}"),
            "line 1: path /etc/passwd is refused: it is absolute and not below /workspace",
        ),
        (format!("--- a/\n+++ b/\n{HUNK}"), "line 1: path \"\" is refused: it is empty"),
        (
            format!("--- \"a/x\\000\"\n+++ \"b/x\\000\"\n{HUNK}"),
            "line 1: path \"x\\000\" is refused: it contains a NUL byte",
        ),
        (format!("--- a/x/\n+++ b/x/\n{HUNK}"), "line 1: path x/ is refused: it names a directory"),
        (
            format!("--- a/{long}\n+++ b/{long}\n{HUNK}"),
            &format!("line 1: path {}… is refused: it is longer than 4096 bytes", "x".repeat(200)),
        ),
        (format!("{X}{HUNK}--- ./x\n+++ ./x\n{HUNK}"), "line 6: x is in the patch twice"),
        (
            "--- /dev/null\n+++ b/d/e/f\n@@ -0,0 +1 @@\n+a\n--- /dev/null\n+++ b/d\n@@ -0,0 +1 @@\n+a\n"
                .into(),
            "d is a file in the patch, and d/e/f needs it to be a directory",
        ),
    ]);
}

#[test]
fn broken_headers_are_refused() {
    refused(&[
        (format!("--- \"a/x\n+++ b/x\n{HUNK}"), "line 1: the file name cannot be read"),
        ("diff --git a/x b/yy\nnew file mode 100644\n".into(), "line 1: the file name cannot be read"),
        (format!("{GIT}--- a/x\n@@ -1 +1 @@\n"), "line 2: `---` without `+++` on the next line"),
        (format!("--- /dev/null\n+++ /dev/null\n{HUNK}"), "line 1: both sides are /dev/null"),
        (format!("{GIT}--- a/y\n+++ b/y\n{HUNK}"), "line 1: the headers contradict each other"),
        (format!("{GIT}new file mode 100644\n{X}{HUNK}"), "line 1: the headers contradict each other"),
        (
            format!("{GIT}deleted file mode 100644\n--- /dev/null\n+++ b/x\n{HUNK}"),
            "line 1: the headers contradict each other",
        ),
    ]);
}

#[test]
fn broken_hunks_are_refused() {
    refused(&[
        (HUNK.into(), "line 1: a hunk without `---` and `+++` headers before it"),
        (format!("{X}{HUNK}\nprose\n{HUNK}"), "line 8: a hunk without `---` and `+++` headers before it"),
        (
            format!("{GIT}new file mode 100644\n{HUNK}"),
            "line 3: a hunk without `---` and `+++` headers before it",
        ),
        (format!("{X}@@ ... @@\n-a\n"), "line 3: x: hunk 1: unreadable header \"@@ ... @@\""),
        (format!("{X}@@\n-a\n"), "line 3: x: hunk 1: unreadable header \"@@\""),
        (format!("{X}@@ -0,0 +0,0 @@\n"), "line 3: x: hunk 1: unreadable header \"@@ -0,0 +0,0 @@\""),
        (
            format!("{X}@@ -1 +99999999999 @@\n"),
            "line 3: x: hunk 1: unreadable header \"@@ -1 +99999999999 @@\"",
        ),
        (
            format!("{X}{HUNK}@@ -5,3 +5,3 @@\n a\n-b\n"),
            "line 9: x: hunk 2: wrong counts: its header says 3 old and 3 new lines, it ends after 2 old and 1 new",
        ),
        (
            format!("{X}@@ -1,2 +1,2 @@\n-a\n+b\ndiff --git a/y b/y\n"),
            "line 6: x: hunk 1: wrong counts: its header says 2 old and 2 new lines, it ends after 1 old and 1 new",
        ),
        (
            format!("{X}@@ -1 +1 @@\n-a\n-c\n+b\n"),
            "line 5: x: hunk 1: wrong counts: its header says 1 old and 1 new lines, and more follow",
        ),
        (
            format!("{X}{HUNK}+c\n"),
            "line 3: x: hunk 1: wrong counts: its header says 1 old and 1 new lines, and more follow",
        ),
        (
            format!("{X}{HUNK}\n \n-c\n"),
            "line 3: x: hunk 1: wrong counts: its header says 1 old and 1 new lines, and more follow",
        ),
        (
            format!("{X}@@ -1 +1 @@\n\\ No newline at end of file\n-a\n+b\n"),
            "line 5: x: hunk 1: `\\ No newline at end of file` where lines follow, or without a line before it",
        ),
        (
            format!("{X}@@ -1,2 +1 @@\n-a\n\\ No newline at end of file\n-b\n+c\n"),
            "line 6: x: hunk 1: `\\ No newline at end of file` where lines follow, or without a line before it",
        ),
        (
            format!("{X}@@ -1 +1 @@\n-a\n+b\n\\ No newline at end of file\n@@ -3 +3 @@\n-a\n+b\n"),
            "line 7: x: hunk 2: `\\ No newline at end of file` where lines follow, or without a line before it",
        ),
        (
            format!("--- /dev/null\n+++ b/x\n{HUNK}"),
            "line 1: x: hunk 1: a new file cannot have context or removed lines, or a second hunk",
        ),
        (
            format!("--- a/x\n+++ /dev/null\n{HUNK}"),
            "line 1: x: hunk 1: a deleted file cannot have context or added lines",
        ),
    ]);
}

/// Makes the work of the worst inputs of full size visible: a quadratic step would not end.
#[test]
fn the_largest_patches_are_read_in_bounded_time() {
    let fill = |unit: &str| unit.repeat(MAX_PATCH_BYTES / unit.len());
    let head = "--- a/x\n+++ b/x\n";
    let cut = |text: String| text.get(..MAX_PATCH_BYTES).map(str::to_owned).unwrap_or(text);
    let texts = [
        fill("\n"),
        fill(" "),
        fill("--- \n"),
        fill("--- x\n+++ x\n"),
        fill("diff --git a/x b/x\n"),
        fill("@"),
        cut(format!("diff --git {}", fill(" "))),
        cut(format!("diff --git \"{}", fill("\\"))),
        cut(format!("--- {}", fill("x"))),
        cut(format!("{head}@@ -1,999999999 +1,999999999 @@\n{}", fill("\n"))),
        cut(format!("{head}@@ -1 +1 @@\n-a\n+b\n{}", fill("\n"))),
        cut(format!("{head}{}", fill("@@ -1 +1 @@\n-a\n+b\n"))),
        cut(format!("{head}{}", fill("@@ -1 +1 @@\n-a\n+b\n\n\n\n"))),
    ];
    for text in texts {
        let _ = parse(&text);
    }
    let deep = "a/".repeat(2000);
    let mut nested = String::new();
    for number in 0.. {
        if nested.len() > MAX_PATCH_BYTES - 5000 {
            break;
        }
        let _ = write!(nested, "--- /dev/null\n+++ b/{deep}{number}\n@@ -0,0 +1 @@\n+a\n");
    }
    assert!(parse(&nested).is_ok());
}
