//! How names, times, sizes and commands read to people.
//!
//! What a guest can name (files, links, words of commands) goes through [`visible`] on its way to a terminal, which it
//! must not drive. Contents, outputs and patches are data, and are not touched.

use pyro::network::RefusedDestination;
use std::time::{SystemTime, UNIX_EPOCH};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// `text` with every character escaped that could drive a terminal, or turn around what is read.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_hidden(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Controls, line separators, and what changes the direction of the text around it.
fn is_hidden(character: char) -> bool {
    let turns = matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

/// Words as they would be given to a shell, on one line.
pub fn shell_words(words: &[String]) -> String {
    let quoted = words.iter().map(|word| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"@%+=:,./_-".contains(&byte);
        if !word.is_empty() && word.bytes().all(is_plain) {
            return word.clone();
        }
        format!("'{}'", visible(&word.replace('\'', r"'\''")))
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// What is said of a network that a guest has taken away from itself.
pub const NETWORK_HAS_ENDED: &str =
    "gone, its interface was removed in the guest; another start of the workspace brings it back";

/// Values with commas between them.
pub fn list(values: &[impl ToString]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A destination that a guest was refused, with the reason.
pub fn refused(refused: &RefusedDestination) -> String {
    let times = if refused.count > 1 { format!(", {} times", refused.count) } else { String::new() };
    format!("{} ({}{times})", visible(&refused.place()), refused.reason)
}

/// `text` as a code span of Markdown, whatever it holds.
pub fn code(text: &str) -> String {
    let text = visible(text);
    let longest = text.split(|character| character != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let pad = if longest > 0 { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// A time that was measured.
pub fn duration(milliseconds: u64) -> String {
    match milliseconds {
        0..1_000 => format!("{milliseconds} ms"),
        1_000..60_000 => format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100),
        _ => span(milliseconds / 1000),
    }
}

/// A span of time, in its two largest units.
pub fn span(seconds: u64) -> String {
    let (large, large_unit, small, small_unit) = match seconds {
        0..MINUTE => return format!("{seconds} s"),
        MINUTE..HOUR => (seconds / MINUTE, "min", seconds % MINUTE, "s"),
        HOUR..DAY => (seconds / HOUR, "h", seconds % HOUR / MINUTE, "min"),
        DAY.. => (seconds / DAY, "d", seconds % DAY / HOUR, "h"),
    };
    if small == 0 {
        format!("{large} {large_unit}")
    } else {
        format!("{large} {large_unit} {small} {small_unit}")
    }
}

/// How long ago a time was, given in seconds since 1970.
pub fn ago(second: i64) -> String {
    match distance(now(), second) {
        0 => "now".to_owned(),
        passed => format!("{} ago", span(passed)),
    }
}

/// How long it is until a time, given in seconds since 1970.
pub fn until(second: i64) -> String {
    match distance(second, now()) {
        0 => "now".to_owned(),
        left => format!("in {}", span(left)),
    }
}

/// From `earlier` to `later`; none where they are the other way round, as after the clock was set.
fn distance(later: i64, earlier: i64) -> u64 {
    u64::try_from(later.saturating_sub(earlier)).unwrap_or(0)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A number of bytes.
pub fn size(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..1_024 => return format!("{bytes} B"),
        1_024..0x10_0000 => (1 << 10, "KiB"),
        0x10_0000..0x4000_0000 => (1 << 20, "MiB"),
        0x4000_0000.. => (1 << 30, "GiB"),
    };
    let tenths = u128::from(bytes) * 10 / unit;
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// A number of things.
pub fn count<N: Into<u64>>(number: N, one: &str, many: &str) -> String {
    match number.into() {
        1 => format!("1 {one}"),
        number => format!("{number} {many}"),
    }
}

/// Rows below their headings, in columns as wide as what is in them.
pub fn table<const COLUMNS: usize>(headings: [&str; COLUMNS], rows: &[[String; COLUMNS]]) -> String {
    let headings = headings.map(ToOwned::to_owned);
    let mut widths = [0; COLUMNS];
    for row in std::iter::once(&headings).chain(rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&headings).chain(rows) {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_shown_drives_the_terminal() {
        let cases = [
            ("src/ü a.rs", "src/ü a.rs"),
            ("a\x1b[2Jb", "a\\u{1b}[2Jb"),
            ("a\nb\r\tc\x7f", "a\\nb\\r\\tc\\u{7f}"),
            ("a\u{9b}31m", "a\\u{9b}31m"),
            ("txt.\u{202e}exe", "txt.\\u{202e}exe"),
            ("a\u{2028}b", "a\\u{2028}b"),
        ];
        for (given, expected) in cases {
            assert_eq!(visible(given), expected, "{given:?}");
        }
    }

    #[test]
    fn commands_read_as_in_a_shell() {
        let cases: [(&[&str], &str); 5] = [
            (&["git", "status", "--short"], "git status --short"),
            (&["sh", "-c", "a && b"], "sh -c 'a && b'"),
            (&["echo", "it's", ""], r"echo 'it'\''s' ''"),
            (&["printf", "\x1b[2J\n"], "printf '\\u{1b}[2J\\n'"),
            (&["echo", "ü"], "echo 'ü'"),
        ];
        for (words, expected) in cases {
            let words: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
            assert_eq!(shell_words(&words), expected);
        }
    }

    #[test]
    fn code_spans_hold_any_text() {
        let cases = [
            ("a b", "`a b`"),
            ("a`b", "`` a`b ``"),
            ("``", "``` `` ```"),
            ("a\nb", "`a\\nb`"),
            ("a\\b", "`a\\b`"),
        ];
        for (given, expected) in cases {
            assert_eq!(code(given), expected, "{given:?}");
        }
    }

    #[test]
    fn times_are_given_in_two_units_at_most() {
        let cases = [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_000, "1.0 s"),
            (59_999, "59.9 s"),
            (60_000, "1 min"),
            (75_400, "1 min 15 s"),
            (3_600_000, "1 h"),
            (3_725_000, "1 h 2 min"),
            (90_000_000, "1 d 1 h"),
        ];
        for (milliseconds, expected) in cases {
            assert_eq!(duration(milliseconds), expected, "{milliseconds}");
        }
        assert_eq!(span(59), "59 s");
        assert_eq!((distance(10, 4), distance(4, 10)), (6, 0));
    }

    #[test]
    fn sizes_are_rounded_down_to_a_tenth() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1023.9 KiB"),
            (1_572_864, "1.5 MiB"),
            (5 << 30, "5.0 GiB"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(size(bytes), expected, "{bytes}");
        }
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let rows = [["a".to_owned(), "x".to_owned()], ["longer".to_owned(), String::new()]];
        assert_eq!(table(["ID", "NAME"], &rows), "ID      NAME\na       x\nlonger\n");
    }
}
