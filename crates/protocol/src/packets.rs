//! IP packets in `Data` of a tunnel: each after its length, 2 bytes, big-endian.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes of the length before a packet.
const LENGTH_BYTES: usize = 2;

/// Appends `packet`; one that is empty or longer than a length can say is left out.
pub fn append(batch: &mut BytesMut, packet: &[u8]) {
    if let Ok(length @ 1..) = u16::try_from(packet.len()) {
        batch.reserve(LENGTH_BYTES + packet.len());
        batch.put_u16(length);
        batch.put_slice(packet);
    }
}

/// Whether a packet of up to `longest` bytes fits into a batch of at most `room` bytes.
pub fn fits(batch: &BytesMut, longest: usize, room: usize) -> bool {
    batch.len() + LENGTH_BYTES + longest <= room
}

/// What is not a batch of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a packet is empty or cut off")]
pub struct MalformedBatch;

/// The packets of a batch, which share its memory.
#[derive(Debug)]
pub struct Packets(Bytes);

impl Packets {
    /// Takes a batch apart.
    pub fn new(batch: Bytes) -> Self {
        Self(batch)
    }
}

impl Iterator for Packets {
    type Item = Result<Bytes, MalformedBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let length = if self.0.len() < LENGTH_BYTES { 0 } else { usize::from(self.0.get_u16()) };
        if length == 0 || length > self.0.len() {
            self.0.clear();
            return Some(Err(MalformedBatch));
        }
        Some(Ok(self.0.split_to(length)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_appended_comes_out(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 0..20)) {
            let mut batch = BytesMut::new();
            for packet in &packets {
                append(&mut batch, packet);
            }
            let out: Vec<_> = Packets::new(batch.freeze()).map(|packet| packet.unwrap().to_vec()).collect();
            prop_assert_eq!(out, packets);
        }

        #[test]
        fn no_bytes_are_out_of_hand(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let total: usize = Packets::new(bytes.clone().into()).flatten().map(|packet| packet.len()).sum();
            prop_assert!(total <= bytes.len());
        }
    }

    #[test]
    fn what_is_cut_off_ends_the_batch() {
        for bytes in [&[0][..], &[0, 0], &[0, 2, 1], &[0, 1, 7, 0]] {
            let last = Packets::new(Bytes::copy_from_slice(bytes)).last();
            assert_eq!(last, Some(Err(MalformedBatch)), "{bytes:?}");
        }
        let mut batch = BytesMut::new();
        append(&mut batch, &[]);
        append(&mut batch, &vec![0; 1 << 16]);
        assert!(batch.is_empty());
    }
}
