//! Numbers in blocks whose content is anybody's: reading beyond the end is an error, never a panic.

use crate::DiskError;
use crate::error::damaged;

/// `len` bytes from `at`.
pub(crate) fn slice(block: &[u8], at: usize, len: usize) -> Result<&[u8], DiskError> {
    let range = at.checked_add(len).and_then(|end| block.get(at..end));
    range.map_or_else(|| damaged("something reaches beyond the end of its block"), Ok)
}

fn array<const N: usize>(block: &[u8], at: usize) -> Result<[u8; N], DiskError> {
    slice(block, at, N)?.try_into().or_else(|_| damaged("something reaches beyond the end of its block"))
}

pub(crate) fn le16(block: &[u8], at: usize) -> Result<u16, DiskError> {
    array(block, at).map(u16::from_le_bytes)
}

pub(crate) fn le32(block: &[u8], at: usize) -> Result<u32, DiskError> {
    array(block, at).map(u32::from_le_bytes)
}

pub(crate) fn be16(block: &[u8], at: usize) -> Result<u16, DiskError> {
    array(block, at).map(u16::from_be_bytes)
}

pub(crate) fn be32(block: &[u8], at: usize) -> Result<u32, DiskError> {
    array(block, at).map(u32::from_be_bytes)
}

/// A number in two halves.
pub(crate) fn joined(high: impl Into<u64>, low: u32) -> u64 {
    high.into() << 32 | u64::from(low)
}

/// Puts bytes into a block that is being made. What does not fit is left out: blocks are made with room.
pub(crate) fn put(block: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = block.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}
