//! Where lines end in the recent part of a stream, for forms that go across line ends.
//!
//! Such forms are followed in a stream without its line ends. This finds the place in the real one.

use std::collections::VecDeque;

/// Most bytes of line ends between two bytes of a form: CR and LF. More are the end of the form.
pub const MAX_BREAK: usize = 2;

/// How many are kept where no form is followed: enough for one that begins.
const RECENT: usize = 16;

/// Positions of line ends, oldest first.
#[derive(Default)]
pub struct Breaks {
    recent: VecDeque<u64>,
    /// How many came before those.
    before: u64,
    /// How many have come since the last byte that is none.
    run: usize,
}

impl Breaks {
    /// A line end at `position`, in the middle of a form of at most `following` bytes. Whether it is one too many.
    pub fn add(&mut self, position: u64, following: usize) -> bool {
        self.recent.push_back(position);
        let keep = RECENT + MAX_BREAK * following;
        while self.recent.len() > keep {
            self.recent.pop_front();
            self.before += 1;
        }
        self.run += 1;
        self.run > MAX_BREAK
    }

    /// A byte that ends no line.
    pub fn end(&mut self) {
        self.run = 0;
    }

    /// Where the last `len` bytes that end no line begin in a stream of `total` bytes.
    pub fn start(&self, total: u64, len: usize) -> u64 {
        let breaks = self.before + self.recent.len() as u64;
        // All in bytes that end no line: the place looked for, and how many come before each line end.
        let place = (total - breaks).saturating_sub(len as u64);
        let number = |index: usize| self.before + index as u64;
        let (mut low, mut high) = (0, self.recent.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.recent[middle] - number(middle) <= place {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        place + number(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_place() {
        let text = b"ab\r\ncd\nef\n";
        let mut breaks = Breaks::default();
        for (position, byte) in (0..).zip(text) {
            if matches!(byte, b'\r' | b'\n') {
                assert!(!breaks.add(position, 6));
            } else {
                breaks.end();
            }
        }
        for (len, start) in [(6, 0), (5, 1), (4, 4), (3, 5), (2, 7), (1, 8)] {
            assert_eq!(breaks.start(10, len), start, "{len}");
        }
        assert!(!breaks.add(10, 0));
        assert!(breaks.add(11, 0), "a third in a row");
    }
}
