//! Extended attributes: in what is left of an inode, and in a block of their own.

use super::Ext4;
use super::checksum::{crc32c, crc32c_without};
use super::inode::Inode;
use crate::DiskError;
use crate::bytes::{le16, le32, slice};
use crate::error::damaged;
use crate::node::{Space, Xattr};

const MAGIC: u32 = 0xea02_0000;
const BLOCK_HEADER: usize = 32;
const BLOCK_CHECKSUM: usize = 0x10;
const ENTRY: usize = 16;

pub(super) fn xattrs(ext4: &Ext4, inode: &Inode) -> Result<Vec<Xattr>, DiskError> {
    let mut xattrs = vec![];
    if inode.rest.len() >= 8 && le32(&inode.rest, 0)? == MAGIC {
        let region = &inode.rest[4..];
        take(region, region, &mut xattrs)?;
    }
    if inode.xattr_block != 0 {
        let block = ext4.blocks.get(inode.xattr_block)?;
        if le32(&block, 0)? != MAGIC || le32(&block, 8)? != 1 {
            return damaged("a block of extended attributes is malformed");
        }
        if let Some(seed) = ext4.superblock.seed {
            let start = crc32c(seed, &inode.xattr_block.to_le_bytes());
            if crc32c_without(start, &block, BLOCK_CHECKSUM, 4) != le32(&block, BLOCK_CHECKSUM)? {
                return damaged("the checksum of extended attributes is wrong");
            }
        }
        take(&block[BLOCK_HEADER..], &block, &mut xattrs)?;
    }
    Ok(xattrs)
}

/// The attributes that are described in `entries`, with their values in `values`.
fn take(entries: &[u8], values: &[u8], xattrs: &mut Vec<Xattr>) -> Result<(), DiskError> {
    let mut at = 0;
    while at + 4 <= entries.len() && le32(entries, at)? != 0 {
        let entry = slice(entries, at, ENTRY)?;
        let name_len = usize::from(entry[0]);
        let name = slice(entries, at + ENTRY, name_len)?.to_vec();
        if le32(entry, 4)? != 0 {
            return Err(DiskError::Unsupported { what: "attributes in inodes of their own" });
        }
        let size = le32(entry, 8)? as usize;
        let value = slice(values, usize::from(le16(entry, 2)?), size)?.to_vec();
        if let Some(space) = Space::of(entry[1]) {
            xattrs.push(Xattr { space, name, value });
        }
        at += (ENTRY + name_len).next_multiple_of(4);
    }
    Ok(())
}
