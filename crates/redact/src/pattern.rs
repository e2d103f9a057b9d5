//! One form and how far a stream is in it: the automaton of Knuth, Morris and Pratt.
//!
//! A state is the number of bytes of the form that the stream ends with. After a byte that does not continue the form,
//! the next shorter state is the longest one that the form itself says is possible. Those below [`KEY`] do not count:
//! the index finds a form that begins by its first bytes.
//!
//! In what is secret hardly any position has a shorter state that counts, so only those are kept, as runs: of a 64 KiB
//! key usually none, of 64 KiB of one byte a single one.

use crate::forms::{Form, Kind};
use crate::index::KEY;

/// A form and its automaton.
pub struct Pattern {
    pub bytes: Box<[u8]>,
    pub kind: Kind,
    runs: Box<[Run]>,
}

/// The states `at`, `at` + 1, … (`len` of them) fall back to `to`, `to` + 1, ….
struct Run {
    at: usize,
    to: usize,
    len: usize,
}

impl Pattern {
    pub fn new(form: Form) -> Self {
        let runs = if form.kind == Kind::Alone { Box::default() } else { runs(&form.bytes) };
        Self { bytes: form.bytes.into_boxed_slice(), kind: form.kind, runs }
    }

    /// The first bytes, as the index has them.
    pub fn key(&self) -> u32 {
        self.bytes.iter().take(KEY).fold(0, |key, &byte| key << 8 | u32::from(byte))
    }

    /// Whether line ends may be between its bytes.
    #[inline]
    pub fn folds(&self) -> bool {
        matches!(self.kind, Kind::Encoded { .. })
    }

    /// The state after `byte` in `state`; nothing when the stream is not in this form any more.
    #[inline]
    pub fn next(&self, mut state: usize, byte: u8) -> Option<usize> {
        while self.bytes.get(state) != Some(&byte) {
            state = self.shorter(state)?;
        }
        Some(state + 1)
    }

    /// The longest shorter state that counts.
    ///
    /// A form that stands alone has none: inside it every byte has a digit before it.
    pub fn shorter(&self, state: usize) -> Option<usize> {
        let run = self.runs.get(self.runs.partition_point(|run| run.at <= state).checked_sub(1)?)?;
        (state < run.at + run.len).then(|| run.to + (state - run.at))
    }
}

fn runs(bytes: &[u8]) -> Box<[Run]> {
    let mut runs: Vec<Run> = Vec::new();
    let mut borders = vec![0; bytes.len() + 1];
    let mut border = 0;
    for state in 2..=bytes.len() {
        let byte = bytes[state - 1];
        while border > 0 && bytes[border] != byte {
            border = borders[border];
        }
        border += usize::from(bytes[border] == byte);
        borders[state] = border;
        if border < KEY {
            continue;
        }
        match runs.last_mut() {
            Some(run) if (run.at + run.len, run.to + run.len) == (state, border) => run.len += 1,
            _ => runs.push(Run { at: state, to: border, len: 1 }),
        }
    }
    runs.into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(bytes: &[u8]) -> Pattern {
        Pattern::new(Form { bytes: bytes.to_vec(), kind: Kind::Plain })
    }

    #[test]
    fn falls_back_to_the_longest_prefix() {
        let pattern = pattern(b"abcdxabcdy");
        assert_eq!(pattern.next(4, b'x'), Some(5));
        assert_eq!(pattern.next(9, b'y'), Some(10));
        assert_eq!(pattern.next(9, b'x'), Some(5), "abcdxabcd, then x");
        assert_eq!(pattern.next(9, b'z'), None);
        assert_eq!(pattern.next(6, b'a'), None, "one byte is for the index to find");
        assert_eq!(pattern.next(10, b'a'), None);
    }

    #[test]
    fn a_period_is_one_run() {
        let pattern = pattern(&[b'a'; 1000]);
        assert_eq!(pattern.runs.len(), 1);
        assert_eq!(pattern.next(1000, b'a'), Some(1000));
        assert_eq!(pattern.next(1000, b'b'), None);
    }
}
