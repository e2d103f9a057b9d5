//! How the two ends find each other on a byte channel that may hold leftovers of an earlier connection.
//!
//! 1. The host writes [`MAGIC`] and 16 random bytes, the nonce.
//! 2. The guest discards what it reads until it has seen the magic and a whole nonce, then answers with [`ANSWER`] and
//!    the same nonce.
//! 3. The host discards what it reads until it has seen the answer with its own nonce, at most [`MAX_DISCARDED_BYTES`].
//! 4. Both start yamux, the host as client.
//!
//! A host end that starts anew (after a restore) does the same again: the guest starts over when its channel reports
//! that the host end went away.

/// What the host opens with.
pub const MAGIC: [u8; 16] = *b"\0pyro host open\n";
/// What the guest answers with.
pub const ANSWER: [u8; 16] = *b"\0pyro guest ack\n";
/// Bytes of the nonce.
pub const NONCE_BYTES: usize = 16;
/// Most leftovers the host reads past before it gives the channel up.
pub const MAX_DISCARDED_BYTES: usize = 4 * 1024 * 1024;

/// Finds a 16-byte marker and the nonce behind it in a byte stream, however it is split.
#[derive(Debug)]
pub struct Scanner {
    marker: [u8; 16],
    window: [u8; 16 + NONCE_BYTES],
    seen: usize,
}

impl Scanner {
    /// A scanner for `marker` ([`MAGIC`] in the guest, [`ANSWER`] on the host).
    pub fn new(marker: [u8; 16]) -> Self {
        Self { marker, window: [0; 16 + NONCE_BYTES], seen: 0 }
    }

    /// Takes one byte; returns the nonce once the marker and the nonce are complete.
    pub fn push(&mut self, byte: u8) -> Option<[u8; NONCE_BYTES]> {
        self.window.rotate_left(1);
        if let Some(last) = self.window.last_mut() {
            *last = byte;
        }
        self.seen = self.seen.saturating_add(1);
        let (marker, nonce) = self.window.split_at(16);
        if self.seen >= self.window.len() && *marker == self.marker { nonce.try_into().ok() } else { None }
    }

    /// Bytes taken so far.
    pub fn seen(&self) -> usize {
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn feed(scanner: &mut Scanner, bytes: &[u8]) -> Vec<[u8; NONCE_BYTES]> {
        bytes.iter().filter_map(|byte| scanner.push(*byte)).collect()
    }

    proptest! {
        #[test]
        fn finds_the_nonce_after_any_leftovers(
            leftovers in prop::collection::vec(any::<u8>(), 0..200),
            nonce in any::<[u8; NONCE_BYTES]>(),
        ) {
            let mut stream = leftovers;
            stream.extend_from_slice(&MAGIC[..7]);
            stream.extend_from_slice(&MAGIC);
            stream.extend_from_slice(&nonce);
            let found = feed(&mut Scanner::new(MAGIC), &stream);
            prop_assert_eq!(found.last(), Some(&nonce));
        }
    }

    #[test]
    fn silence_of_the_marker_finds_nothing() {
        assert!(feed(&mut Scanner::new(ANSWER), &[0; 4096]).is_empty());
    }
}
