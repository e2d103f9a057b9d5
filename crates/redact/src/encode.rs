//! How programs write bytes where not every byte can stand: base64, percent-encoding, strings of JSON.

use std::fmt::Write as _;

/// Digits of base64.
pub const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Digits of base64 for URLs and file names.
pub const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Whether `byte` is a digit of either alphabet.
pub fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

/// The digits of `value`, the last one filled up with zero bits, without padding.
pub fn base64(value: &[u8], digits: &[u8; 64]) -> Vec<u8> {
    let mut text = Vec::with_capacity(value.len().div_ceil(3) * 4);
    for group in value.chunks(3) {
        let bits =
            group.iter().enumerate().fold(0, |bits, (at, &byte)| bits | u32::from(byte) << (16 - 8 * at));
        text.extend((0..=group.len()).map(|at| digits[(bits >> (18 - 6 * at) & 63) as usize]));
    }
    text
}

/// The digits that `value` alone decides when `before` bytes (0 to 2) of the same group precede it, and whether one
/// more digit holds bits of its last byte.
pub fn base64_within(value: &[u8], before: usize, digits: &[u8; 64]) -> (Vec<u8>, bool) {
    let mut padded = vec![0; before];
    padded.extend_from_slice(value);
    let mut text = base64(&padded, digits);
    let mixed = !(padded.len() * 8).is_multiple_of(6);
    text.truncate(padded.len() * 8 / 6);
    text.drain(..(before * 8).div_ceil(6));
    (text, mixed)
}

/// What a percent-encoding leaves as it is, besides ASCII letters and digits.
#[derive(Debug, Clone, Copy)]
pub struct Percent {
    /// Other bytes that stay.
    pub keep: &'static [u8],
    /// Whether a blank becomes `+`.
    pub plus: bool,
}

/// `value` percent-encoded, with digits in upper or in lower case.
pub fn percent(value: &[u8], rule: Percent, upper: bool) -> Vec<u8> {
    let digits = if upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    let mut text = Vec::with_capacity(value.len());
    for &byte in value {
        if byte.is_ascii_alphanumeric() || rule.keep.contains(&byte) {
            text.push(byte);
        } else if byte == b' ' && rule.plus {
            text.push(b'+');
        } else {
            text.extend([b'%', digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]);
        }
    }
    text
}

/// What is escaped in a string of JSON besides what has to be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json {
    /// Everything that is not ASCII, and DEL.
    pub ascii: bool,
    /// `<`, `>` and `&`.
    pub html: bool,
    /// `/`, by a backslash.
    pub slash: bool,
}

/// `value` as it stands between the quotes of a string of JSON.
pub fn json(value: &str, rule: Json) -> Vec<u8> {
    let mut text = String::with_capacity(value.len());
    for char in value.chars() {
        match char {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            '/' if rule.slash => text.push_str("\\/"),
            '\0'..' ' => escape(&mut text, char),
            '<' | '>' | '&' if rule.html => escape(&mut text, char),
            '\u{7f}'.. if rule.ascii => escape(&mut text, char),
            _ => text.push(char),
        }
    }
    text.into_bytes()
}

fn escape(text: &mut String, char: char) {
    for unit in char.encode_utf16(&mut [0; 2]) {
        // Writing to a string cannot fail.
        let _ = write!(text, "\\u{unit:04x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_any_length_and_place() {
        for (value, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(value.as_bytes(), STANDARD), text.as_bytes(), "{value}");
        }
        assert_eq!(base64(&[0xfb, 0xff], STANDARD), b"+/8");
        assert_eq!(base64(&[0xfb, 0xff], URL), b"-_8");
        // "hunter2" in "hunter2", "_hunter2" and "__hunter2".
        for (before, text, mixed) in [(0, "aHVudGVyM", true), (1, "h1bnRlcj", true), (2, "odW50ZXIy", false)]
        {
            assert_eq!(base64_within(b"hunter2", before, STANDARD), (text.into(), mixed), "{before}");
            let whole = base64(&[&b"__"[..before], b"hunter2", b"\xff\xff"].concat(), STANDARD);
            assert!(whole.windows(text.len()).any(|part| part == text.as_bytes()), "{before}");
        }
    }

    #[test]
    fn percent_and_json() {
        let form = Percent { keep: b"*-._", plus: true };
        assert_eq!(percent(b"a b/*~\n", form, true), b"a+b%2F*%7E%0A");
        assert_eq!(percent(b"a b/", Percent { keep: b"/", plus: false }, false), b"a%20b/");
        assert_eq!(json("\"\\\n\u{1}/<ä𝄞", Json::default()), "\\\"\\\\\\n\\u0001/<ä𝄞".as_bytes());
        let all = Json { ascii: true, html: true, slash: true };
        assert_eq!(json("/<ä𝄞", all), br"\/\u003c\u00e4\ud834\udd1e");
    }
}
