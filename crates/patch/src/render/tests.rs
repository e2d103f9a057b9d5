use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::{FileText, render};
use crate::model::FileMode;
use crate::{Kind, Patch, PatchPath};

fn soon() -> Instant {
    Instant::now() + Duration::from_mins(1)
}

fn diff(path: &str, before: Option<&str>, after: Option<&str>) -> String {
    let file = |text| FileText { text, mode: FileMode::Regular };
    render(&PatchPath::new(path.as_bytes()).unwrap(), before.map(file), after.map(file), soon())
}

fn noise(at: usize) -> usize {
    at.wrapping_mul(2_654_435_761).wrapping_mul(40_503) >> 7
}

#[test]
fn diffs_are_those_of_git() {
    let cases: &[(&str, Option<&str>, Option<&str>, &str)] = &[
        ("x", None, None, ""),
        ("x", Some("a\n"), Some("a\n"), ""),
        ("x", Some("a\n"), Some("b\n"), "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"),
        (
            "x",
            None,
            Some("a\nb"),
            "diff --git a/x b/x\nnew file mode 100644\n--- /dev/null\n+++ b/x\n@@ -0,0 +1,2 @@\n+a\n+b\n\\ No newline at end of file\n",
        ),
        (
            "x",
            Some("a\n"),
            None,
            "diff --git a/x b/x\ndeleted file mode 100644\n--- a/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n",
        ),
        ("x", None, Some(""), "diff --git a/x b/x\nnew file mode 100644\nindex 0000000..e69de29\n"),
        ("x", Some(""), None, "diff --git a/x b/x\ndeleted file mode 100644\nindex e69de29..0000000\n"),
        (
            "x",
            Some("1\n2\n3\n4\n5\n6\n7\n8\n9\n"),
            Some("1\n2\n3\n4\nfive\n6\n7\n8\n9"),
            "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -2,8 +2,8 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n-9\n+9\n\\ No newline at end of file\n",
        ),
        (
            "x",
            Some("a\rb\r\nc"),
            Some("a\r\nc"),
            "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n-a\rb\r\n+a\r\n c\n\\ No newline at end of file\n",
        ),
        (
            "ä b",
            Some("a\n"),
            Some("b\n"),
            "diff --git \"a/\\303\\244 b\" \"b/\\303\\244 b\"\n--- \"a/\\303\\244 b\"\t\n+++ \"b/\\303\\244 b\"\t\n@@ -1 +1 @@\n-a\n+b\n",
        ),
    ];
    for (path, before, after, wanted) in cases {
        assert_eq!(diff(path, *before, *after), *wanted);
    }
}

#[test]
fn an_executable_comes_with_its_mode() {
    let path = PatchPath::new(b"x").unwrap();
    let file = FileText { text: "a\n", mode: FileMode::Executable };
    let text = render(&path, None, Some(file), soon());
    let parsed = Patch::parse(text.as_bytes()).unwrap();
    assert_eq!(parsed.files().first().unwrap().kind(), Kind::Add { mode: FileMode::Executable });
    // A change of mode alone is not a change of text.
    let plain = FileText { text: "a\n", mode: FileMode::Regular };
    assert_eq!(render(&path, Some(plain), Some(file), soon()), "");
}

/// Inputs on which diff algorithms are known to lose their way; with the deadline passed from the start, too.
#[test]
fn the_worst_files_are_rendered_right_and_in_bounded_time() {
    let lines = |of: fn(usize) -> usize| {
        (0..100_000).fold(String::new(), |mut text, at| {
            let _ = writeln!(text, "{}", of(at));
            text
        })
    };
    let pairs = [
        (lines(|at| at), lines(|at| at + 1_000_000)),
        (lines(|at| at), lines(|at| 100_000 - at)),
        (lines(|at| at), lines(|at| if at % 2 == 0 { at / 2 } else { at + 400_000 })),
        (lines(|at| noise(at) % 2), lines(|at| (at / 3) % 2)),
        (lines(|at| noise(at) % 50), lines(|at| (at / 3) % 50)),
        ("\n".repeat(1 << 20), format!("{}x", "\n".repeat(1 << 19))),
    ];
    let path = PatchPath::new(b"x").unwrap();
    for (before, after) in &pairs {
        for deadline in [Instant::now(), Instant::now() + Duration::from_secs(2)] {
            let file = |text| Some(FileText { text, mode: FileMode::Regular });
            let text = render(&path, file(before), file(after), deadline);
            if let Ok(patch) = Patch::parse(text.as_bytes()) {
                let applied = patch.files().first().unwrap().apply(Some(before)).unwrap();
                assert!(applied.text.as_deref() == Some(after), "not the same after all");
            } else {
                assert!(text.len() > crate::MAX_PATCH_BYTES);
            }
        }
    }
}
