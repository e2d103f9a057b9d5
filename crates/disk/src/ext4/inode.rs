//! Inodes.

use super::checksum::{crc32c, crc32c_without};
use super::superblock::Superblock;
use crate::DiskError;
use crate::bytes::{joined, le16, le32, slice};
use crate::error::damaged;
use crate::node::{Kind, Meta};

/// Bytes of an inode that every file system has.
pub(super) const OLD_BYTES: usize = 128;
const CHECKSUM_LOW: usize = 0x7c;
const CHECKSUM_HIGH: usize = 0x82;
const HAS_INDEX: u32 = 0x1000;
const USES_EXTENTS: u32 = 0x0008_0000;
/// Flags of what is read otherwise, and what that is.
const REFUSED: [(u32, &str); 3] = [
    (0x800, "encrypted files"),
    (0x0020_0000, "attributes in inodes of their own"),
    (0x1000_0000, "files inside of inodes"),
];

/// What an inode says, and what it is stored in.
#[derive(Debug, Clone)]
pub(super) struct Inode {
    pub(super) meta: Meta,
    /// The beginning of the tree of extents, a short target, or the numbers of a device.
    pub(super) block: Vec<u8>,
    pub(super) uses_extents: bool,
    /// Its first block is the root of an index.
    pub(super) has_index: bool,
    /// The block of extended attributes, 0 where there is none.
    pub(super) xattr_block: u64,
    /// What lies behind the inode's own fields.
    pub(super) rest: Vec<u8>,
    /// Where the checksums of its blocks begin, where there are any.
    pub(super) seed: Option<u32>,
}

impl Inode {
    pub(super) fn parse(superblock: &Superblock, number: u32, bytes: &[u8]) -> Result<Self, DiskError> {
        let extra = if bytes.len() > OLD_BYTES { usize::from(le16(bytes, OLD_BYTES)?) } else { 0 };
        if OLD_BYTES + extra > bytes.len() || extra % 4 != 0 {
            return damaged("an inode is malformed");
        }
        let seed = superblock.seed.map(|seed| seed_of(seed, number, bytes)).transpose()?;
        if let Some(seed) = seed {
            check(seed, extra, bytes)?;
        }
        let flags = le32(bytes, 0x20)?;
        if let Some((_, what)) = REFUSED.iter().find(|(bit, _)| flags & bit != 0) {
            return Err(DiskError::Unsupported { what });
        }
        let mode = le16(bytes, 0)?;
        let kind = kind_of(mode)?;
        let block = slice(bytes, 0x28, 60)?.to_vec();
        let (modified, modified_nanos) = time(bytes, 0x10, 0x88, extra)?;
        let size = joined(le32(bytes, 0x6c)?, le32(bytes, 0x4)?);
        Ok(Self {
            meta: Meta {
                inode: u64::from(number),
                kind,
                mode: mode & 0o7777,
                uid: u32::from(le16(bytes, 0x78)?) << 16 | u32::from(le16(bytes, 0x2)?),
                gid: u32::from(le16(bytes, 0x7a)?) << 16 | u32::from(le16(bytes, 0x18)?),
                size: if matches!(kind, Kind::File | Kind::Directory | Kind::Symlink) { size } else { 0 },
                links: u32::from(le16(bytes, 0x1a)?),
                modified,
                modified_nanos,
                device: device(kind, &block)?,
            },
            uses_extents: flags & USES_EXTENTS != 0,
            has_index: flags & HAS_INDEX != 0,
            xattr_block: joined(le16(bytes, 0x76)?, le32(bytes, 0x68)?),
            rest: slice(bytes, OLD_BYTES + extra, bytes.len() - OLD_BYTES - extra)?.to_vec(),
            block,
            seed,
        })
    }
}

fn seed_of(seed: u32, number: u32, bytes: &[u8]) -> Result<u32, DiskError> {
    Ok(crc32c(crc32c(seed, &number.to_le_bytes()), slice(bytes, 0x64, 4)?))
}

fn check(seed: u32, extra: usize, bytes: &[u8]) -> Result<(), DiskError> {
    let (old, new) = bytes.split_at(OLD_BYTES);
    let start = crc32c_without(seed, old, CHECKSUM_LOW, 2);
    let low = le16(bytes, CHECKSUM_LOW)?;
    let has_high = extra >= CHECKSUM_HIGH + 2 - OLD_BYTES;
    let fits = if has_high {
        let expected = u32::from(le16(bytes, CHECKSUM_HIGH)?) << 16 | u32::from(low);
        crc32c_without(start, new, CHECKSUM_HIGH - OLD_BYTES, 2) == expected
    } else {
        crc32c(start, new) as u16 == low
    };
    if fits { Ok(()) } else { damaged("the checksum of an inode is wrong") }
}

fn kind_of(mode: u16) -> Result<Kind, DiskError> {
    Ok(match mode >> 12 {
        0x1 => Kind::Pipe,
        0x2 => Kind::Character,
        0x4 => Kind::Directory,
        0x6 => Kind::Block,
        0x8 => Kind::File,
        0xa => Kind::Symlink,
        0xc => Kind::Socket,
        _ => return damaged("a file is of an unknown kind"),
    })
}

fn device(kind: Kind, block: &[u8]) -> Result<(u32, u32), DiskError> {
    if !matches!(kind, Kind::Character | Kind::Block) {
        return Ok((0, 0));
    }
    let (old, new) = (le32(block, 0)?, le32(block, 4)?);
    if old != 0 {
        return Ok((old >> 8 & 0xff, old & 0xff));
    }
    Ok((new >> 8 & 0xfff, new & 0xff | new >> 12 & 0xf_ff00))
}

/// A time: seconds, then in another field two more bits of them and the nanoseconds, where that field is there.
fn time(bytes: &[u8], at: usize, more_at: usize, extra: usize) -> Result<(i64, u32), DiskError> {
    const NANOS: u32 = 1_000_000_000;
    let seconds = i64::from(le32(bytes, at)?.cast_signed());
    if OLD_BYTES + extra < more_at + 4 {
        return Ok((seconds, 0));
    }
    let more = le32(bytes, more_at)?;
    Ok((seconds + (i64::from(more & 3) << 32), (more >> 2).min(NANOS - 1)))
}
