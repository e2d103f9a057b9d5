//! CRC-32C as ext4 uses it: without the usual inversion at the end, so that one goes on where another ended.

const POLYNOMIAL: u32 = 0x82f6_3b78;

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ POLYNOMIAL } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

/// Where a checksum begins.
pub(super) const START: u32 = u32::MAX;

/// Goes on with a checksum.
pub(super) fn crc32c(start: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |crc, byte| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)])
}

/// The checksum of a block in which those 4 bytes at `hole` that hold it count as zeros.
pub(super) fn crc32c_without(start: u32, block: &[u8], hole: usize, hole_len: usize) -> u32 {
    let (before, rest) = block.split_at(hole.min(block.len()));
    let after = rest.get(hole_len..).unwrap_or_default();
    let zeros = [0; 4];
    crc32c(crc32c(crc32c(start, before), &zeros[..hole_len.min(4)]), after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_value_of_the_digits() {
        assert_eq!(!crc32c(START, b"123456789"), 0xe306_9283);
        assert_eq!(crc32c_without(START, b"12\xff\xff\xff\xff3", 2, 4), crc32c(START, b"12\0\0\0\x003"));
    }
}
