//! The superblock, and the table of block groups.
//!
//! Only what file systems of pyro's own making have is taken; whatever else a guest may have written over it is refused by name.

use super::checksum::{START, crc32c, crc32c_without};
use crate::DiskError;
use crate::bytes::{joined, le16, le32, slice};
use crate::error::damaged;

/// Where it is on the disk, and its bytes.
pub(super) const OFFSET: usize = 1024;
pub(super) const BYTES: usize = 1024;
/// The one size of blocks that is taken.
pub(crate) const BLOCK: usize = 4096;

const MAGIC: u16 = 0xef53;
const CHECKSUM: usize = 0x3fc;
const NEEDS_RECOVERY: u32 = 0x4;
const EXTENTS: u32 = 0x40;
const WIDE: u32 = 0x80;
const OWN_SEED: u32 = 0x2000;
const METADATA_CHECKSUMS: u32 = 0x400;

/// Features without which nothing can be read right, and what they are where they are not known here.
const REFUSED: [(u32, &str); 9] = [
    (0x1, "compression"),
    (0x8, "a journal on another device"),
    (0x10, "meta block groups"),
    (0x100, "protection against several mounts"),
    (0x400, "attributes in inodes of their own"),
    (0x4000, "large directories"),
    (0x8000, "files inside of inodes"),
    (0x10000, "encryption"),
    (0x20000, "names without case"),
];
/// `filetype`, `needs_recovery`, `extent`, `64bit`, `flex_bg`, `metadata_csum_seed`.
const KNOWN: u32 = 0x2 | NEEDS_RECOVERY | EXTENTS | WIDE | 0x200 | OWN_SEED;
const CLUSTERS: u32 = 0x200;

#[derive(Debug, Clone)]
pub(super) struct Superblock {
    pub(super) inodes: u32,
    pub(super) blocks: u64,
    pub(super) blocks_per_group: u32,
    pub(super) inodes_per_group: u32,
    pub(super) inode_size: u16,
    pub(super) descriptor_size: u16,
    /// What is written lies in the journal, and not yet in its place.
    pub(super) needs_recovery: bool,
    pub(super) journal_inode: u32,
    /// Where checksums of metadata begin, where there are any.
    pub(super) seed: Option<u32>,
    is_wide: bool,
}

impl Superblock {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, DiskError> {
        if le16(bytes, 0x38)? != MAGIC {
            return damaged("it has no superblock");
        }
        let incompatible = le32(bytes, 0x60)?;
        let read_only = le32(bytes, 0x64)?;
        if let Some((_, what)) = REFUSED.iter().find(|(bit, _)| incompatible & bit != 0) {
            return Err(DiskError::Unsupported { what });
        }
        if incompatible & !KNOWN != 0 || incompatible & EXTENTS == 0 || le32(bytes, 0x18)? != 2 {
            return Err(DiskError::Unsupported { what: "a layout of its own" });
        }
        if read_only & CLUSTERS != 0 {
            return Err(DiskError::Unsupported { what: "clusters" });
        }
        let seed = if read_only & METADATA_CHECKSUMS == 0 {
            None
        } else if crc32c(START, slice(bytes, 0, CHECKSUM)?) != le32(bytes, CHECKSUM)? {
            return damaged("the checksum of its superblock is wrong");
        } else if incompatible & OWN_SEED != 0 {
            Some(le32(bytes, 0x270)?)
        } else {
            Some(crc32c(START, slice(bytes, 0x68, 16)?))
        };
        let is_wide = incompatible & WIDE != 0;
        let superblock = Self {
            inodes: le32(bytes, 0x0)?,
            blocks: joined(if is_wide { le32(bytes, 0x150)? } else { 0 }, le32(bytes, 0x4)?),
            blocks_per_group: le32(bytes, 0x20)?,
            inodes_per_group: le32(bytes, 0x28)?,
            inode_size: le16(bytes, 0x58)?,
            descriptor_size: if is_wide { le16(bytes, 0xfe)? } else { 32 },
            needs_recovery: incompatible & NEEDS_RECOVERY != 0,
            journal_inode: le32(bytes, 0xe0)?,
            seed,
            is_wide,
        };
        superblock.check(le32(bytes, 0x14)?)?;
        Ok(superblock)
    }

    fn check(&self, first_data_block: u32) -> Result<(), DiskError> {
        let most_in_bitmap = BLOCK as u32 * 8;
        let inode_fits = matches!(self.inode_size, 128 | 256 | 512 | 1024);
        let descriptor_fits = match self.descriptor_size {
            32 => true,
            64 => self.is_wide,
            _ => false,
        };
        let groups_fit = (1..=most_in_bitmap).contains(&self.blocks_per_group)
            && (1..=most_in_bitmap).contains(&self.inodes_per_group)
            && self.blocks > 0
            && u64::from(self.inodes) <= self.groups() * u64::from(self.inodes_per_group);
        if inode_fits && descriptor_fits && groups_fit && first_data_block == 0 {
            Ok(())
        } else {
            damaged("the numbers of its superblock do not fit each other")
        }
    }

    pub(super) fn groups(&self) -> u64 {
        self.blocks.div_ceil(u64::from(self.blocks_per_group))
    }

    /// Where the table of inodes of a group is, from the descriptor of that group.
    pub(super) fn inode_table(&self, group: u32, descriptor: &[u8]) -> Result<u64, DiskError> {
        if let Some(seed) = self.seed {
            let start = crc32c(seed, &group.to_le_bytes());
            let checksum = crc32c_without(start, descriptor, 0x1e, 2) as u16;
            if checksum != le16(descriptor, 0x1e)? {
                return damaged("the checksum of a block group is wrong");
            }
        }
        let high = if self.descriptor_size == 64 { le32(descriptor, 0x28)? } else { 0 };
        Ok(joined(high, le32(descriptor, 0x8)?))
    }
}
