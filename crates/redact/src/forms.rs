//! The forms in which programs write a value.

use crate::SHORT_FORM;
use crate::encode::{Json, Percent, STANDARD, URL, base64, base64_within, json, percent};

/// What may lie between and beside the bytes of a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing: these bytes, anywhere.
    Plain,
    /// Line ends between its bytes, and behind it padding, after one digit more if that is `mixed`.
    Encoded {
        /// Whether the next digit holds bits of the value.
        mixed: bool,
    },
    /// It stands between bytes that are not digits of base64; behind it may be padding.
    Alone,
}

/// A sequence of bytes to look for.
#[derive(Clone, PartialEq, Eq)]
pub struct Form {
    pub bytes: Vec<u8>,
    pub kind: Kind,
}

/// Which bytes stay, by who encodes: RFC 3986, its paths (Python's `quote`), ECMAScript's `encodeURIComponent` and
/// `encodeURI`, HTML forms, Python's `quote_plus`.
const PERCENT: [Percent; 6] = [
    Percent { keep: b"-._~", plus: false },
    Percent { keep: b"-._~/", plus: false },
    Percent { keep: b"-._~!'()*", plus: false },
    Percent { keep: b"-._~!'()*;,/?:@&=+$#", plus: false },
    Percent { keep: b"-._*", plus: true },
    Percent { keep: b"-._~", plus: true },
];

/// What is escaped, by who writes: most, Python, Go, PHP.
const JSON: [Json; 4] = [
    Json { ascii: false, html: false, slash: false },
    Json { ascii: true, html: false, slash: false },
    Json { ascii: false, html: true, slash: false },
    Json { ascii: true, html: false, slash: true },
];

/// `value` without one line end at its end: what a program prints of it.
pub fn core(value: &[u8]) -> &[u8] {
    let value = value.strip_suffix(b"\n").unwrap_or(value);
    value.strip_suffix(b"\r").unwrap_or(value)
}

/// Adds the forms of `core`, which is at least [`crate::MIN_VALUE_BYTES`] long, to `forms`, each once.
pub fn add(forms: &mut Vec<Form>, core: &[u8]) {
    let from = forms.len();
    let mut push = |bytes: Vec<u8>, kind| {
        let form = Form { bytes, kind };
        if !forms[from..].contains(&form) {
            forms.push(form);
        }
    };
    push(core.to_vec(), Kind::Plain);
    if core.contains(&b'\n') {
        // A terminal writes CR before each LF; tools that convert texts take it away.
        push(replace(core, b"\n", b"\r\n"), Kind::Plain);
        push(replace(core, b"\r\n", b"\n"), Kind::Plain);
    }
    for digits in [STANDARD, URL] {
        for before in 0..3 {
            let (bytes, mixed) = base64_within(core, before, digits);
            if bytes.len() >= SHORT_FORM {
                push(bytes, Kind::Encoded { mixed });
            } else if before == 0 {
                push(base64(core, digits), Kind::Alone);
                push(base64(&[core, b"\n"].concat(), digits), Kind::Alone);
            }
        }
    }
    for rule in PERCENT {
        push(percent(core, rule, true), Kind::Plain);
        push(percent(core, rule, false), Kind::Plain);
    }
    if let Ok(text) = std::str::from_utf8(core) {
        for rule in JSON {
            push(json(text, rule), Kind::Plain);
        }
    }
}

fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(&first) = rest.first() {
        if let Some(behind) = rest.strip_prefix(from) {
            replaced.extend_from_slice(to);
            rest = behind;
        } else {
            replaced.push(first);
            rest = &rest[1..];
        }
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &[u8]) -> Vec<(String, Kind)> {
        let mut forms = Vec::new();
        add(&mut forms, core(value));
        forms.into_iter().map(|form| (String::from_utf8_lossy(&form.bytes).into_owned(), form.kind)).collect()
    }

    #[test]
    fn a_line_end_is_not_part_of_the_value() {
        for (value, expected) in [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("\n", "")] {
            assert_eq!(core(value.as_bytes()), expected.as_bytes(), "{value:?}");
        }
    }

    #[test]
    fn a_simple_value_has_few_forms() {
        let forms = shown(b"hunter2-longer\n");
        assert_eq!(forms.len(), 4, "{forms:?}");
        assert_eq!(forms[0], ("hunter2-longer".into(), Kind::Plain));
        assert_eq!(forms[1], ("aHVudGVyMi1sb25nZX".into(), Kind::Encoded { mixed: true }));
    }

    #[test]
    fn a_short_value_is_encoded_only_alone() {
        assert_eq!(
            shown(b"abcd"),
            [("abcd".into(), Kind::Plain), ("YWJjZA".into(), Kind::Alone), ("YWJjZAo".into(), Kind::Alone)]
        );
    }

    #[test]
    fn odd_bytes_have_all_their_forms() {
        let forms = shown("a b\n\"ä/".as_bytes());
        for expected in [
            "a b\n\"ä/",
            "a b\r\n\"ä/",
            "a%20b%0A%22%C3%A4%2F",
            "a%20b%0a%22%c3%a4/",
            "a+b%0A%22%C3%A4%2F",
            r#"a b\n\"ä/"#,
            r#"a b\n\"\u00e4/"#,
            r#"a b\n\"\u00e4\/"#,
        ] {
            assert!(forms.contains(&(expected.into(), Kind::Plain)), "{expected}: {forms:?}");
        }
    }
}
