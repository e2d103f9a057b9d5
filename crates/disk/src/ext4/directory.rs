//! Directories: blocks of names, whether or not there is an index over them, whose blocks look like ones without names.

use super::Ext4;
use super::checksum::crc32c;
use super::inode::Inode;
use super::superblock::BLOCK;
use crate::DiskError;
use crate::bytes::{le16, le32, slice};
use crate::error::damaged;

/// What the checksum at the end of a block looks like as an entry: no inode, of 12 bytes, without a name, of this type.
const TAIL: usize = 12;
const TAIL_TYPE: u8 = 0xde;
const MAX_ENTRIES: usize = 1 << 20;

/// The names in a directory with their inodes, without `.` and `..`.
pub(super) fn entries(ext4: &Ext4, inode: &Inode) -> Result<Vec<(Vec<u8>, u32)>, DiskError> {
    if !inode.uses_extents || !inode.meta.size.is_multiple_of(BLOCK as u64) {
        return damaged("a directory is malformed");
    }
    let mut entries = vec![];
    let mut end = inode.meta.size / BLOCK as u64;
    for extent in super::extents::extents(ext4, inode)? {
        for offset in 0..extent.len {
            if extent.logical + offset >= inode.meta.size / BLOCK as u64 {
                return Ok(entries);
            }
            let block = ext4.blocks.get(extent.physical + offset)?;
            let is_index = inode.has_index && extent.logical + offset == 0;
            check(inode, &block, is_index)?;
            take(&block, &mut entries)?;
            if entries.len() > MAX_ENTRIES {
                return Err(DiskError::TooMany { what: "files in a directory", max: MAX_ENTRIES as u64 });
            }
            end = end.saturating_sub(1);
        }
    }
    if end == 0 { Ok(entries) } else { damaged("a directory has holes") }
}

fn take(block: &[u8], entries: &mut Vec<(Vec<u8>, u32)>) -> Result<(), DiskError> {
    let mut at = 0;
    while at < BLOCK {
        let (inode, len) = (le32(block, at)?, usize::from(le16(block, at + 4)?));
        let name_len = usize::from(slice(block, at + 6, 1)?[0]);
        if len < 8 || len % 4 != 0 || at + len > BLOCK || 8 + name_len > len {
            return damaged("a directory is malformed");
        }
        let name = slice(block, at + 8, name_len)?;
        if inode != 0 && name != b"." && name != b".." {
            if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
                return damaged("a name in a directory is malformed");
            }
            entries.push((name.to_vec(), inode));
        }
        at += len;
    }
    Ok(())
}

/// Blocks of the index hold no names but the directory's own. Their checksums are of another kind, in the place of what may still
/// look like those of blocks with names: such blocks they once were.
fn check(inode: &Inode, block: &[u8], is_index: bool) -> Result<(), DiskError> {
    let Some(seed) = inode.seed else { return Ok(()) };
    let tail = BLOCK - TAIL;
    let is_index = is_index || (le32(block, 0)? == 0 && usize::from(le16(block, 4)?) == BLOCK);
    let is_leaf = le32(block, tail)? == 0 && usize::from(le16(block, tail + 4)?) == TAIL;
    if is_index || !is_leaf || slice(block, tail + 6, 2)? != [0, TAIL_TYPE] {
        return Ok(());
    }
    if crc32c(seed, slice(block, 0, tail)?) == le32(block, tail + 8)? {
        Ok(())
    } else {
        damaged("the checksum of a directory is wrong")
    }
}
