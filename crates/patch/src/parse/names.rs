//! Names in headers: quotes, timestamps, prefixes.

use crate::error::HeaderProblem;
use crate::quote::unquoted;

/// Prefixes of the two sides that go together: git's own, and those of `diff.mnemonicPrefix`.
const PREFIXES: [(&str, &str); 5] = [("a/", "b/"), ("i/", "w/"), ("c/", "i/"), ("c/", "w/"), ("o/", "w/")];

/// One side of a file's headers, as it stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) bytes: Vec<u8>,
    /// Whether its timestamp is the epoch, by which `diff -N` says that there is no file.
    pub(super) at_epoch: bool,
}

impl Name {
    /// The name in what follows `--- ` or `+++ `: quoted, or up to a tab.
    pub(super) fn parse(text: &str) -> Result<Self, HeaderProblem> {
        let (bytes, rest) = if text.starts_with('"') {
            let (bytes, rest) = unquoted(text).ok_or(HeaderProblem::Name)?;
            if !rest.is_empty() && !rest.starts_with(['\t', ' ']) {
                return Err(HeaderProblem::Name);
            }
            (bytes, rest.trim_start())
        } else {
            let (name, rest) = text.split_once('\t').unwrap_or((text, ""));
            (name.as_bytes().to_vec(), rest)
        };
        // Local time west of Greenwich is the day before.
        let at_epoch = rest.starts_with("1970-01-01 ") || rest.starts_with("1969-12-31 ");
        Ok(Self { bytes, at_epoch })
    }

    pub(super) fn is_null(&self) -> bool {
        self.bytes == b"/dev/null"
    }
}

/// The name that both sides mean: the same on both, or the same after the prefixes of a pair.
pub(super) fn common<'a>(old: &'a [u8], new: &[u8]) -> Option<&'a [u8]> {
    if old == new {
        return Some(old);
    }
    let without = |a: &str, b: &str| {
        let old = old.strip_prefix(a.as_bytes())?;
        (new.strip_prefix(b.as_bytes())? == old).then_some(old)
    };
    // `git diff -R` swaps them.
    PREFIXES.iter().find_map(|(a, b)| without(a, b).or_else(|| without(b, a)))
}

/// The name when the other side is /dev/null: what git's header `said`, if `name` is that with or without a prefix,
/// else `name` without the `usual` one.
pub(super) fn lone<'a>(name: &'a [u8], usual: &str, said: Option<&[u8]>) -> &'a [u8] {
    let without = |prefix: &str| name.strip_prefix(prefix.as_bytes());
    if said == Some(name) {
        return name;
    }
    let prefixed = PREFIXES.iter().flat_map(|(old, new)| [without(old), without(new)]).flatten();
    let meant = said.and_then(|said| prefixed.into_iter().find(|rest| *rest == said));
    meant.or_else(|| without(usual)).unwrap_or(name)
}

/// The two names of a `diff --git` line, when they can be told apart: quoted, or of the same length (as all are that
/// name one file).
pub(super) fn of_git_line(text: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    if text.starts_with('"') {
        let (old, rest) = unquoted(text)?;
        let rest = rest.strip_prefix(' ')?;
        return Some((old, if rest.starts_with('"') { unquoted(rest)?.0 } else { rest.as_bytes().to_vec() }));
    }
    let (old, new) = text.split_at_checked(text.len() / 2)?;
    Some((old.as_bytes().to_vec(), new.strip_prefix(' ')?.as_bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_at_a_tab_or_a_quote() {
        let cases = &[
            ("a/x", Ok(("a/x", false))),
            ("a/x y", Ok(("a/x y", false))),
            ("a/x\t2026-01-01 00:00:00 +0000", Ok(("a/x", false))),
            ("a/x\t1970-01-01 00:00:00.000000000 +0000", Ok(("a/x", true))),
            ("\"a/\\303\\244 b\\n\"", Ok(("a/ä b\n", false))),
            ("\"a/q\\\"\"\t1969-12-31 19:00:00 -0500", Ok(("a/q\"", true))),
            ("\"a/x", Err(HeaderProblem::Name)),
            ("\"a\"b", Err(HeaderProblem::Name)),
        ];
        for (text, wanted) in cases {
            let wanted = wanted.map(|(name, at_epoch)| Name { bytes: name.as_bytes().to_vec(), at_epoch });
            assert_eq!(Name::parse(text), wanted, "{text}");
        }
    }

    #[test]
    fn prefixes_fall_away_in_pairs() {
        let cases: &[(&str, &str, Option<&str>)] = &[
            ("a/x", "b/x", Some("x")),
            ("i/x", "w/x", Some("x")),
            ("x", "x", Some("x")),
            ("a/x", "a/x", Some("a/x")),
            ("b/x", "b/x", Some("b/x")),
            ("a/a/x", "b/a/x", Some("a/x")),
            ("b/x", "a/x", Some("x")),
            ("b/x", "a/y", None),
            ("a/x", "x", None),
            ("a/x", "b/y", None),
            ("old/x", "new/x", None),
        ];
        for (old, new, wanted) in cases {
            assert_eq!(common(old.as_bytes(), new.as_bytes()), wanted.map(str::as_bytes), "{old} {new}");
        }
    }

    #[test]
    fn git_lines_split_in_the_middle() {
        let cases: &[(&str, Option<(&str, &str)>)] = &[
            ("a/x b/x", Some(("a/x", "b/x"))),
            ("a/x y b/x y", Some(("a/x y", "b/x y"))),
            ("x x", Some(("x", "x"))),
            ("\"a/\\303\\244\" \"b/\\303\\244\"", Some(("a/ä", "b/ä"))),
            ("a/ä b/ä", Some(("a/ä", "b/ä"))),
            ("a/x b/longer", None),
            ("", None),
            ("ä", None),
        ];
        for (text, wanted) in cases {
            let wanted = wanted.map(|(old, new)| (old.as_bytes().to_vec(), new.as_bytes().to_vec()));
            assert_eq!(of_git_line(text), wanted, "{text}");
        }
    }
}
