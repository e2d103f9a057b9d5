//! Git's C-quoting of paths, as `core.quotePath` has it by default: a name with a control character, a quote, a
//! backslash or a byte outside ASCII stands in double quotes with escapes.

use std::fmt::Write as _;

/// `prefix` and `path` as one name, quoted if `path` needs it.
pub fn quoted(prefix: &str, path: &[u8]) -> String {
    let plain = |byte: &u8| matches!(byte, 0x20..=0x7e) && *byte != b'"' && *byte != b'\\';
    let odd = !path.iter().all(plain);
    let mut name = String::with_capacity(prefix.len() + path.len() + 2);
    if odd {
        name.push('"');
    }
    name.push_str(prefix);
    for &byte in path {
        match escape_of(byte) {
            Some(letter) => {
                name.push('\\');
                name.push(letter);
            }
            None if plain(&byte) => name.push(char::from(byte)),
            None => {
                let _ = write!(name, "\\{byte:03o}");
            }
        }
    }
    if odd {
        name.push('"');
    }
    name
}

/// The name that `text` begins with, which is in double quotes, and what follows the closing one.
///
/// Nothing when the quote is not closed or an escape is none of git's.
pub fn unquoted(text: &str) -> Option<(Vec<u8>, &str)> {
    let mut rest = text.strip_prefix('"')?.as_bytes();
    let mut name = Vec::new();
    loop {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        match byte {
            b'"' => return Some((name, text.get(text.len() - rest.len()..)?)),
            b'\\' => {
                let (&letter, after) = rest.split_first()?;
                if letter.is_ascii_digit() {
                    let (digits, after) = rest.split_at_checked(3)?;
                    name.push(octal(digits)?);
                    rest = after;
                } else {
                    name.push(byte_of(letter)?);
                    rest = after;
                }
            }
            plain => name.push(plain),
        }
    }
}

fn octal(digits: &[u8]) -> Option<u8> {
    digits.iter().try_fold(0_u8, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(digit - b'0'),
        _ => None,
    })
}

fn escape_of(byte: u8) -> Option<char> {
    Some(match byte {
        0x07 => 'a',
        0x08 => 'b',
        b'\t' => 't',
        b'\n' => 'n',
        0x0b => 'v',
        0x0c => 'f',
        b'\r' => 'r',
        b'"' => '"',
        b'\\' => '\\',
        _ => return None,
    })
}

fn byte_of(letter: u8) -> Option<u8> {
    Some(match letter {
        b'a' => 0x07,
        b'b' => 0x08,
        b't' => b'\t',
        b'n' => b'\n',
        b'v' => 0x0b,
        b'f' => 0x0c,
        b'r' => b'\r',
        b'"' => b'"',
        b'\\' => b'\\',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_quoted_as_git_does() {
        let cases: &[(&str, &str)] = &[
            ("src/main.rs", "a/src/main.rs"),
            ("with space", "a/with space"),
            ("ä b", "\"a/\\303\\244 b\""),
            ("q\"b\\s", "\"a/q\\\"b\\\\s\""),
            ("tab\tnl\n\u{1}\u{7f}", "\"a/tab\\tnl\\n\\001\\177\""),
        ];
        for (path, name) in cases {
            assert_eq!(quoted("a/", path.as_bytes()), *name);
        }
    }

    #[test]
    fn broken_quotes_are_refused() {
        for text in ["", "x", "\"x", "\"\\", "\"\\q\"", "\"\\40\"", "\"\\400\"", "\"\\389\"", "\"\\3é\""] {
            assert_eq!(unquoted(text), None, "{text}");
        }
        assert_eq!(unquoted("\"a b\"\t1970"), Some((b"a b".to_vec(), "\t1970")));
    }

    proptest! {
        #[test]
        fn a_quoted_name_reads_back(path in proptest::collection::vec(any::<u8>(), 0..40)) {
            let name = quoted("", &path);
            if name.starts_with('"') {
                prop_assert_eq!(unquoted(&name), Some((path, "")));
            } else {
                prop_assert_eq!(name.as_bytes(), path.as_slice());
            }
        }
    }
}
