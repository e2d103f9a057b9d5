//! The output of a terminal as a person sees it: [`render`].
//!
//! The bytes are what programs wrote to the terminal, and are played on an emulated one (`avt`): carriage returns
//! overwrite, backspaces and cursor movements move, colours and titles vanish. What comes out is text:
//!
//! - All that was written, what has scrolled out at the top included, as lines that end where a program ended them and
//!   not where the terminal's width did. Blanks at their ends are gone, and empty lines at the end of the text.
//! - What was cleared stays, as it does above the screen of most terminals. What was overwritten or erased does not.
//! - Of a full-screen program that has ended nothing is left, as on a terminal. Of one that still runs, its screen
//!   follows the text: that is all that a person sees at the moment, but a reader that goes on from here would
//!   otherwise never be given what came before.
//!
//! Everything is hostile: nothing panics, and work and memory are bounded. An escape sequence can be short and mean a
//! lot of work (`CSI 65535 b` repeats a character so many times), so each has a price in cells of the screen, and
//! [`BUDGET`] is what there is. Output that costs more ends as plain lines, without an emulation.
//!
//! - `terminal`: the emulated terminal, character by character;
//! - `cost`: what its functions cost;
//! - `clusters`: characters with combining marks, of which the emulation knows nothing;
//! - `history`: the text.

mod clusters;
mod cost;
mod history;
mod terminal;

use std::panic::{AssertUnwindSafe, catch_unwind};

use terminal::Terminal;

/// Widest terminal, in columns; others are taken for one as wide.
pub const MAX_COLS: u16 = 1000;

/// Tallest terminal, in rows; others are taken for one as tall.
pub const MAX_ROWS: u16 = 500;

/// Narrowest and shortest terminal: a wide character needs two columns.
pub const MIN_SIZE: u16 = 2;

/// Most input that is looked at, in bytes; of more, it is the end.
pub const MAX_INPUT_BYTES: usize = 1024 * 1024;

/// Most text that comes out, in bytes; of more, it is the end.
pub const MAX_TEXT_BYTES: usize = 4 * 1024 * 1024;

/// Work that one call does, in cells written: one to two seconds. [`MAX_INPUT_BYTES`] of ordinary output take a tenth of
/// it on a screen of 120 columns and 30 rows.
pub const BUDGET: u64 = 1 << 29;

/// How far back [`line_start`] looks, in bytes.
pub const MAX_LINE_BYTES: usize = 4096;

/// A change of the terminal's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resize {
    /// How many bytes were written before it.
    pub offset: usize,
    /// Columns from then on.
    pub cols: u16,
    /// Rows from then on.
    pub rows: u16,
}

/// What is to be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// Lines, without a line end after the last one. Characters that are not UTF-8 are U+FFFD.
    pub text: String,
    /// Whether a full-screen program is running; its screen is then the end of `text`.
    pub alternate_screen: bool,
    /// Whether there was more work in the input than [`BUDGET`], so that the rest of it was not played, but only freed
    /// of escape sequences.
    pub simplified: bool,
}

/// What `bytes` show on a terminal that has `cols` columns and `rows` rows at first and other sizes later.
///
/// `resizes` are in the order of their offsets; those behind the end of `bytes` do not count. A character that is cut
/// off at the beginning or at the end of `bytes` does not show. An escape sequence that is cut off at the end does not
/// show either, but the rest of one at the beginning looks like text: begin at a [`line_start`].
pub fn render(bytes: &[u8], cols: u16, rows: u16, resizes: &[Resize]) -> Rendered {
    // The emulation is meant to take anything. Should it fail nevertheless, there is the text.
    catch_unwind(AssertUnwindSafe(|| play(bytes, cols, rows, resizes, BUDGET)))
        .unwrap_or_else(|_| play(bytes, MIN_SIZE, MIN_SIZE, &[], 0))
}

fn play(bytes: &[u8], cols: u16, rows: u16, resizes: &[Resize], budget: u64) -> Rendered {
    let skipped = bytes.len().saturating_sub(MAX_INPUT_BYTES);
    let mut resizes = resizes.iter().peekable();
    let mut terminal = Terminal::new(cols, rows, budget);
    for (offset, char) in chars(&bytes[skipped..]) {
        while let Some(resize) = resizes.next_if(|resize| resize.offset <= skipped + offset) {
            terminal.resize(resize.cols, resize.rows);
        }
        terminal.feed(char);
    }
    for resize in resizes.filter(|resize| resize.offset <= bytes.len()) {
        terminal.resize(resize.cols, resize.rows);
    }
    terminal.finish()
}

/// The characters of `bytes`, each with its place. Invalid bytes are U+FFFD, except those of a character that is cut
/// off at either end.
fn chars(bytes: &[u8]) -> impl Iterator<Item = (usize, char)> {
    let cut = bytes.iter().take(3).take_while(|&&byte| byte & 0xc0 == 0x80).count();
    let mut offset = cut;
    bytes[cut..].utf8_chunks().flat_map(move |chunk| {
        let start = offset;
        let end = start + chunk.valid().len();
        offset = end + chunk.invalid().len();
        let shown = match std::str::from_utf8(chunk.invalid()) {
            Ok(_) => false,
            Err(error) => error.error_len().is_some() || offset < bytes.len(),
        };
        let valid = chunk.valid().char_indices().map(move |(at, char)| (start + at, char));
        valid.chain(shown.then_some((end, char::REPLACEMENT_CHARACTER)))
    })
}

/// Where the line begins that `offset` is in, if that is at most [`MAX_LINE_BYTES`] before it; otherwise `offset`
/// itself. From there on no escape sequence and no overwriting is likely to be cut in two.
pub fn line_start(bytes: &[u8], offset: usize) -> usize {
    let before = &bytes[..offset.min(bytes.len())];
    let first = before.len().saturating_sub(MAX_LINE_BYTES);
    match before[first..].iter().rposition(|&byte| byte == b'\n') {
        Some(at) => first + at + 1,
        None if first == 0 => 0,
        None => before.len(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn characters_have_their_places() {
        let all = |bytes: &'static [u8]| chars(bytes).collect::<Vec<_>>();
        assert_eq!(all("aä界b".as_bytes()), [(0, 'a'), (1, 'ä'), (3, '界'), (6, 'b')]);
        assert_eq!(all(b"\xa4\x96a\xffb\xe7\x95"), [(2, 'a'), (3, '\u{fffd}'), (4, 'b')]);
        assert_eq!(all(b"a\xe7\x95b"), [(0, 'a'), (1, '\u{fffd}'), (3, 'b')]);
        assert_eq!(all(b"a\xff"), [(0, 'a'), (1, '\u{fffd}')]);
        assert_eq!(all(b"\x80\x80\x80\x80a"), [(3, '\u{fffd}'), (4, 'a')]);
    }

    #[test]
    fn lines_start_behind_a_line_end() {
        assert_eq!(line_start(b"ab\ncd\n", 4), 3);
        assert_eq!(line_start(b"ab\ncd\n", 3), 3);
        assert_eq!(line_start(b"ab", 2), 0);
        assert_eq!(line_start(b"ab\n", 9), 3);
        let long = vec![b'a'; MAX_LINE_BYTES + 1];
        assert_eq!(line_start(&long, long.len()), long.len());
        assert_eq!(line_start(&long, MAX_LINE_BYTES), 0);
    }

    /// What a terminal takes: sequences of all kinds, and text of all widths.
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let parameters = proptest::collection::vec(
            prop_oneof![3 => 0_u16..12, 1 => Just(999_u16), 1 => any::<u16>()],
            0..4,
        )
        .prop_map(|all| all.iter().map(u16::to_string).collect::<Vec<_>>().join(";"));
        prop_oneof![
            (parameters, "[ !?>]{0,1}", "[@-~]").prop_map(|(parameters, private, last)| {
                match private.as_str() {
                    "?" | ">" => format!("\x1b[{private}{parameters}{last}"),
                    _ => format!("\x1b[{parameters}{private}{last}"),
                }
            }),
            prop_oneof![
                Just(47_u16),
                Just(1047),
                Just(1048),
                Just(1049),
                Just(7),
                Just(6),
                Just(25),
                Just(2004)
            ]
            .prop_flat_map(|mode| prop_oneof![
                Just(format!("\x1b[?{mode}h")),
                Just(format!("\x1b[?{mode}l"))
            ]),
            "\x1b[ -~]{1,2}".prop_map(String::from),
            "\x1b\\][0-9]{1,3};[a-z]{0,5}(\x07|\x1b\\\\|)".prop_map(String::from),
            "[\r\n\x08\t]{1,4}".prop_map(String::from),
            "[a-z界👩\u{200d}é\u{301}\u{fe0f}\u{1f3fb} ]{0,12}".prop_map(String::from),
            "[\\PC]{0,6}".prop_map(String::from),
        ]
        .prop_map(String::into_bytes)
    }

    fn output() -> impl Strategy<Value = Vec<u8>> {
        let noise = proptest::collection::vec(any::<u8>(), 0..20);
        proptest::collection::vec(prop_oneof![12 => piece(), 1 => noise], 0..80)
            .prop_map(|pieces| pieces.concat())
    }

    fn size() -> impl Strategy<Value = (u16, u16)> {
        prop_oneof![3 => (0_u16..12, 0_u16..8), 2 => (20_u16..130, 5_u16..40), 1 => any::<(u16, u16)>()]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn anything_is_rendered(
            bytes in output(),
            (cols, rows) in size(),
            resizes in proptest::collection::vec((0_usize..600, size()), 0..6),
        ) {
            let resizes: Vec<_> =
                resizes.into_iter().map(|(offset, (cols, rows))| Resize { offset, cols, rows }).collect();
            let rendered = play(&bytes, cols, rows, &resizes, BUDGET);
            prop_assert!(rendered.text.len() <= 2 * MAX_TEXT_BYTES);
            prop_assert!(!rendered.text.contains(['\x1b', '\r', '\x08', '\0']), "{:?}", rendered.text);
            prop_assert!(!rendered.text.ends_with(['\n', ' ']));
            let simple = play(&bytes, cols, rows, &resizes, 1000);
            prop_assert!(simple.simplified || simple == rendered);
        }

        #[test]
        fn noise_is_rendered(bytes in proptest::collection::vec(any::<u8>(), 0..2000), (cols, rows) in size()) {
            play(&bytes, cols, rows, &[], BUDGET);
        }

        #[test]
        fn plain_lines_stay(lines in proptest::collection::vec("[!-~]([ -~]{0,200}[!-~])?", 1..20), (cols, rows) in size()) {
            let text = lines.join("\r\n");
            prop_assert_eq!(render(text.as_bytes(), cols, rows, &[]).text, lines.join("\n"));
        }
    }
}
