//! A walk over the lines of a text, with their terminators and numbers.

use std::ops::Range;

/// Position in a text, always at the start of a line. Looking costs a scan of the line looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    number: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, number: 1 }
    }

    /// Number of the line to come, from 1.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// The line to come, with its terminator.
    pub(super) fn peek(&self) -> Option<&'a str> {
        self.text.get(self.at..)?.split_inclusive('\n').next()
    }

    /// The line after the line to come.
    pub(super) fn peek_second(&self) -> Option<&'a str> {
        let mut ahead = *self;
        ahead.next();
        ahead.peek()
    }

    /// Takes a line.
    pub(super) fn next(&mut self) -> Option<&'a str> {
        let line = self.peek()?;
        self.at += line.len();
        self.number += 1;
        Some(line)
    }

    /// Takes a line of a hunk, and says where its text is: past `skipped` bytes of marker.
    pub(super) fn next_range(&mut self, skipped: usize) -> Option<Range<usize>> {
        let start = self.at;
        self.next()?;
        Some(start + skipped..self.at)
    }
}

/// `line` without its terminator, LF or CRLF.
pub(super) fn bare(line: &str) -> &str {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line)
}
