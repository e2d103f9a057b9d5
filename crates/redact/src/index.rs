//! Which patterns begin with the last bytes of a stream.

use crate::pattern::Pattern;

/// How many first bytes of a pattern are its key. No value and no form is shorter.
pub const KEY: usize = crate::MIN_VALUE_BYTES;

const _: () = assert!(KEY == size_of::<u32>(), "a key is one word");

const FILTER_BITS: u32 = 15;
const FILTER_WORDS: usize = 1 << (FILTER_BITS - 6);

/// Patterns by their key: those that stand in a stream byte for byte, and those that line ends may be inside.
///
/// The filter answers for nearly every place in a stream, from 4 KiB that stay in the processor's cache.
pub struct Index {
    filter: Box<[u64; FILTER_WORDS]>,
    pub plain: Keys,
    pub folded: Keys,
}

/// Key and number of each pattern, in order.
pub struct Keys(Box<[(u32, u16)]>);

impl Index {
    /// The index of `patterns`.
    pub fn new(patterns: &[Pattern]) -> Self {
        let mut filter = Box::new([0; FILTER_WORDS]);
        for pattern in patterns {
            let slot = slot(pattern.key());
            filter[slot / 64] |= 1 << (slot % 64);
        }
        Self {
            filter,
            plain: Keys::new(patterns, |p| !p.folds()),
            folded: Keys::new(patterns, Pattern::folds),
        }
    }

    /// Whether a pattern may begin with `key`.
    #[inline]
    pub fn may_have(&self, key: u32) -> bool {
        let slot = slot(key);
        self.filter[slot / 64] >> (slot % 64) & 1 == 1
    }
}

impl Keys {
    fn new(patterns: &[Pattern], belongs: impl Fn(&Pattern) -> bool) -> Self {
        let numbered = (0..).zip(patterns).filter(|(_, pattern)| belongs(pattern));
        let mut keys: Vec<_> = numbered.map(|(number, pattern)| (pattern.key(), number)).collect();
        keys.sort_unstable();
        Self(keys.into_boxed_slice())
    }

    /// The patterns that begin with `key`.
    pub fn with(&self, key: u32) -> impl Iterator<Item = usize> + use<'_> {
        let first = self.0.partition_point(|&(k, _)| k < key);
        self.0[first..].iter().take_while(move |&&(k, _)| k == key).map(|&(_, number)| usize::from(number))
    }

    /// The length of the longest end of the `seen` last bytes, which `window` ends with, that a pattern begins with.
    /// Less than [`KEY`]: longer ones are followed already.
    pub fn prefix(&self, window: u32, seen: usize) -> usize {
        let begins = |len: &usize| {
            let bits = 8 * (KEY - len);
            let low = window << bits;
            let first = self.0.partition_point(|&(key, _)| key < low);
            self.0.get(first).is_some_and(|&(key, _)| key >> bits == low >> bits)
        };
        (1..=seen.min(KEY - 1)).rev().find(begins).unwrap_or(0)
    }
}

/// Multiplicative hashing: the upper bits depend on all bytes of the key.
#[inline]
fn slot(key: u32) -> usize {
    (key.wrapping_mul(0x9e37_79b1) >> (32 - FILTER_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forms::{Form, Kind};

    #[test]
    fn finds_keys_and_their_beginnings() {
        let patterns = [b"abcdefg".as_slice(), b"abcdxyz", b"\xff\xff\xff\xff"]
            .map(|bytes| Pattern::new(Form { bytes: bytes.to_vec(), kind: Kind::Plain }));
        let keys = Index::new(&patterns).plain;
        let key = |bytes: &[u8; 4]| u32::from_be_bytes(*bytes);
        assert_eq!(keys.with(key(b"abcd")).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(keys.with(key(b"abce")).count(), 0);
        for (window, seen, len) in [
            (b"xabc", 4, 3),
            (b"xxab", 4, 2),
            (b"xxxa", 4, 1),
            (b"xxxx", 4, 0),
            (b"xabc", 2, 0),
            (b"\0\0\xff\xff", 4, 2),
            (b"\0\0\0\0", 0, 0),
        ] {
            assert_eq!(keys.prefix(key(window), seen), len, "{window:?}");
        }
    }
}
