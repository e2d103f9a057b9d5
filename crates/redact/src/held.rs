//! Which parts of the bytes that are held are secret, and writing the others.

use std::collections::VecDeque;

use crate::MARK;

/// Positions in the stream that are secret.
struct Interval {
    start: u64,
    end: u64,
    /// Whether its mark has been written.
    marked: bool,
}

/// The bytes that have come and not been written, and what of them is secret.
#[derive(Default)]
pub struct Held {
    /// The bytes, from `head`.
    bytes: Vec<u8>,
    head: usize,
    /// Position in the stream of the first one.
    base: u64,
    /// Apart from each other, in order.
    secret: VecDeque<Interval>,
    /// Marks written.
    pub marks: u64,
}

impl Held {
    pub fn len(&self) -> usize {
        self.bytes.len() - self.head
    }

    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// What is from `start` to `end` is secret. Ends come in order; what was written before is not taken back.
    pub fn cover(&mut self, start: u64, end: u64) {
        let mut joined = Interval { start: start.max(self.base), end, marked: false };
        while let Some(last) = self.secret.pop_back_if(|last| last.end > joined.start) {
            joined.start = joined.start.min(last.start);
            joined.marked |= last.marked;
        }
        self.secret.push_back(joined);
    }

    /// The byte at `position` belongs to the secret before it.
    pub fn cover_next(&mut self, position: u64) {
        match self.secret.back_mut() {
            Some(last) if last.end == position => last.end += 1,
            // That one has been written as a whole.
            _ => self.secret.push_back(Interval { start: position, end: position + 1, marked: true }),
        }
    }

    /// Writes what is before `position`, where nothing before it can become secret any more.
    pub fn release(&mut self, position: u64, out: &mut Vec<u8>) {
        let position = position.max(self.base);
        let mut at = self.base;
        while let Some(next) = self.secret.front_mut().filter(|next| next.start < position) {
            copy(&self.bytes, self.head, self.base, at, next.start, out);
            if !next.marked {
                out.extend_from_slice(MARK);
                self.marks += 1;
                next.marked = true;
            }
            at = next.end.min(position);
            if next.end > position {
                break;
            }
            self.secret.pop_front();
        }
        copy(&self.bytes, self.head, self.base, at, position, out);
        self.head += offset(self.base, position);
        self.base = position;
        if self.head * 2 >= self.bytes.len() {
            self.bytes.drain(..self.head);
            self.head = 0;
        }
    }
}

/// Appends what is from position `from` to `to`, where `bytes` has position `base` at `head`.
fn copy(bytes: &[u8], head: usize, base: u64, from: u64, to: u64, out: &mut Vec<u8>) {
    if from < to {
        out.extend_from_slice(&bytes[head + offset(base, from)..head + offset(base, to)]);
    }
}

/// How far `position` is behind `base`: less than what memory holds.
fn offset(base: u64, position: u64) -> usize {
    usize::try_from(position - base).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(text: &[u8]) -> Held {
        let mut held = Held::default();
        held.extend(text);
        held
    }

    #[test]
    fn what_overlaps_has_one_mark() {
        let mut held = held(b"0123456789");
        let mut out = Vec::new();
        held.cover(2, 4);
        held.cover(3, 5);
        held.cover(5, 6);
        held.release(3, &mut out);
        assert_eq!((out.as_slice(), held.len()), (b"01[REDACTED]".as_slice(), 7));
        held.release(10, &mut out);
        assert_eq!((out.as_slice(), held.len()), (b"01[REDACTED][REDACTED]6789".as_slice(), 0));
    }

    #[test]
    fn a_secret_goes_on_behind_what_was_written() {
        let mut held = held(b"0123");
        let mut out = Vec::new();
        held.cover(1, 4);
        held.release(4, &mut out);
        held.extend(b"==7");
        held.cover_next(4);
        held.cover_next(5);
        held.cover(2, 6);
        held.release(7, &mut out);
        assert_eq!(out, b"0[REDACTED]7");
    }
}
