//! The end of a stream of bytes, by position: what was written last is kept, and a reader that falls behind can tell how much it
//! missed. Secrets are taken out before anything is kept or counted.

use std::collections::VecDeque;

use crate::secrets::Filter;

/// The last bytes of a stream.
#[derive(Debug)]
pub struct Tail {
    filter: Filter,
    last: Last,
}

/// The last bytes that may show.
#[derive(Debug)]
struct Last {
    kept: VecDeque<u8>,
    most: usize,
    end: u64,
}

impl Tail {
    /// Keeps `most` bytes of what `filter` lets through.
    pub fn new(most: usize, filter: Filter) -> Self {
        Self { filter, last: Last { kept: VecDeque::new(), most, end: 0 } }
    }

    /// Takes what comes next.
    pub fn append(&mut self, bytes: &[u8]) {
        let Self { filter, last } = self;
        filter.push(bytes, |certain| last.append(certain));
    }

    /// Nothing comes any more: takes what the filter holds back.
    pub fn finish(&mut self) {
        let held = self.filter.end();
        self.last.append(&held);
    }

    /// Position of the oldest byte that is kept.
    pub fn begin(&self) -> u64 {
        self.last.begin()
    }

    /// Position after the last byte.
    pub fn end(&self) -> u64 {
        self.last.end
    }

    /// At most `most` bytes from `cursor` on, or from the oldest one where that is not kept any more, with the position of the
    /// first one.
    pub fn read(&self, cursor: u64, most: u64) -> (u64, Vec<u8>) {
        let last = &self.last;
        let first = cursor.clamp(last.begin(), last.end);
        let from = usize::try_from(first - last.begin()).unwrap_or(usize::MAX);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        (first, last.kept.iter().skip(from).take(most).copied().collect())
    }
}

impl Last {
    fn append(&mut self, bytes: &[u8]) {
        self.end += bytes.len() as u64;
        let bytes = &bytes[bytes.len().saturating_sub(self.most)..];
        let surplus = (self.kept.len() + bytes.len()).saturating_sub(self.most);
        self.kept.drain(..surplus);
        self.kept.extend(bytes);
    }

    fn begin(&self) -> u64 {
        self.end - self.kept.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_kept_is_the_end_of_what_came(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..20),
            most in 0..50_usize,
            cursor in 0..400_u64,
            limit in 0..60_u64,
        ) {
            let mut tail = Tail::new(most, Filter::default());
            for chunk in &chunks {
                tail.append(chunk);
            }
            let all = chunks.concat();
            prop_assert_eq!(tail.end(), all.len() as u64);
            prop_assert_eq!(tail.begin(), all.len().saturating_sub(most) as u64);
            let (first, bytes) = tail.read(cursor, limit);
            let from = usize::try_from(first).unwrap();
            prop_assert!(first == cursor.clamp(tail.begin(), tail.end()));
            let until = all.len().min(from + usize::try_from(limit).unwrap());
            prop_assert_eq!(&bytes[..], &all[from..until]);
        }
    }
}
