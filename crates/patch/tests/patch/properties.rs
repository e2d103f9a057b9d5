//! What holds for all texts: a rendered diff takes one file to the other, and no input panics.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use pyro_patch::{FileMode, FileText, Patch, PatchPath, render};

fn soon() -> Instant {
    Instant::now() + Duration::from_mins(1)
}

/// Few different lines, so that diffs have something to match and to confuse, and terminators of all kinds.
fn text() -> impl Strategy<Value = String> {
    let line = prop::sample::select(vec![
        "a\n",
        "b\n",
        "c\n",
        "\n",
        "a\r\n",
        "\r\n",
        " a\n",
        "\ta\n",
        "-a\n",
        "+a\n",
        "--- a/x\n",
        "+++ b/x\n",
        "@@ -1 +1 @@\n",
        "\\ No newline at end of file\n",
        "diff --git a/x b/x\n",
        "ä\n",
        "a\rb\n",
        "\u{2028}\n",
    ]);
    let last = prop::sample::select(vec!["", "", "a", "\r", " ", "ä", "\\"]);
    (prop::collection::vec(line, 0..40), last).prop_map(|(lines, last)| lines.concat() + last)
}

/// `text` with some of its lines dropped, doubled or replaced.
fn edited() -> impl Strategy<Value = (String, String)> {
    (text(), prop::collection::vec((any::<prop::sample::Index>(), 0..3, text()), 0..4)).prop_map(
        |(before, edits)| {
            let mut lines: Vec<String> = before.split_inclusive('\n').map(str::to_owned).collect();
            for (at, edit, other) in edits {
                if lines.is_empty() {
                    lines.push(other);
                    continue;
                }
                let at = at.index(lines.len());
                match edit {
                    0 => drop(lines.remove(at)),
                    1 => lines.insert(at, "new\n".into()),
                    _ => lines.get_mut(at).map(|line| *line = other).unwrap_or_default(),
                }
            }
            (before, lines.concat())
        },
    )
}

fn path() -> impl Strategy<Value = PatchPath> {
    let name = prop::sample::select(vec![
        "x",
        "a",
        "b",
        "dev",
        "null",
        "with space",
        "ä",
        "t\tb",
        "q\"",
        "b\\",
        "workspace",
    ]);
    prop::collection::vec(name, 1..4).prop_map(|names| PatchPath::new(names.join("/").as_bytes()).unwrap())
}

fn mode() -> impl Strategy<Value = FileMode> {
    prop::sample::select(vec![FileMode::Regular, FileMode::Executable])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_rendered_diff_takes_one_file_to_the_other(
        path in path(),
        (before, after) in edited(),
        sides in 0..3,
        mode in mode(),
        in_time in any::<bool>(),
    ) {
        let file = |text| FileText { text, mode };
        let before = (sides != 0).then_some(before.as_str());
        let after = (sides != 1).then_some(after.as_str());
        let deadline = if in_time { soon() } else { Instant::now() };
        let text = render(&path, before.map(file), after.map(file), deadline);
        if before == after {
            prop_assert_eq!(text, "");
            return Ok(());
        }
        let patch = Patch::parse(text.as_bytes()).map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
        let [file] = patch.files() else { return Err(TestCaseError::fail("one file")) };
        prop_assert_eq!(file.path(), &path);
        let applied = file.apply(before).map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
        prop_assert_eq!(applied.text.as_deref(), after);
        prop_assert!(applied.offsets.iter().all(|offset| *offset == 0));
        prop_assert!(!applied.with_crlf);
    }

    #[test]
    fn several_diffs_make_one_patch(files in prop::collection::vec(edited(), 1..5)) {
        let mut text = String::from("Some prose.\n\n");
        let mut wanted = Vec::new();
        for (number, (before, after)) in files.iter().enumerate() {
            let path = PatchPath::new(format!("file {number}").as_bytes()).unwrap();
            let file = |text| Some(FileText { text, mode: FileMode::Regular });
            let diff = render(&path, file(before), file(after), soon());
            if !diff.is_empty() {
                text.push_str(&diff);
                wanted.push((before, after));
            }
        }
        let patch = Patch::parse(text.as_bytes());
        if wanted.is_empty() {
            prop_assert!(patch.is_err());
            return Ok(());
        }
        let patch = patch.map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
        prop_assert_eq!(patch.files().len(), wanted.len());
        for (file, (before, after)) in patch.files().iter().zip(wanted) {
            let applied = file.apply(Some(before)).unwrap();
            prop_assert_eq!(applied.text.as_ref(), Some(after));
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Patch::parse(&bytes);
    }

    #[test]
    fn no_mixture_of_lines_panics(text in text(), original in text()) {
        if let Ok(patch) = Patch::parse(format!("--- a/x\n+++ b/x\n{text}").as_bytes()) {
            for file in patch.files() {
                let _ = file.apply(Some(&original));
            }
        }
    }

    #[test]
    fn no_damaged_diff_panics(
        (before, after) in edited(),
        original in text(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 1..6),
    ) {
        let path = PatchPath::new(b"x").unwrap();
        let file = |text| Some(FileText { text, mode: FileMode::Regular });
        let mut bytes = render(&path, file(&before), file(&after), soon()).into_bytes();
        for (at, byte, how) in damage {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match how {
                0 => drop(bytes.remove(at)),
                1 => bytes.insert(at, byte),
                _ => bytes.get_mut(at).map(|there| *there = byte).unwrap_or_default(),
            }
        }
        if let Ok(patch) = Patch::parse(&bytes) {
            for file in patch.files() {
                for original in [None, Some(before.as_str()), Some(after.as_str()), Some(original.as_str())] {
                    let _ = file.apply(original);
                }
            }
        }
    }
}
