//! Where the content of an inode is: its tree of extents, whole and in order.

use super::Ext4;
use super::checksum::crc32c;
use super::inode::Inode;
use super::superblock::BLOCK;
use crate::DiskError;
use crate::bytes::{joined, le16, le32, slice};
use crate::error::damaged;
use crate::node::Segment;

const MAGIC: u16 = 0xf30a;
const ENTRY: usize = 12;
const MAX_DEPTH: u16 = 5;
/// A longer extent is one whose blocks were never written, and are zeros.
const MAX_WRITTEN: u16 = 32_768;
/// Nothing on a disk of pyro's needs as many.
const MAX_EXTENTS: usize = 1 << 20;

/// Blocks of a file that lie one after the other, on the disk as in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub(super) logical: u64,
    pub(super) len: u64,
    pub(super) physical: u64,
}

/// The extents that were written, in order.
pub(super) fn extents(ext4: &Ext4, inode: &Inode) -> Result<Vec<Extent>, DiskError> {
    let mut collected = Collected { ext4, inode, extents: vec![], next: 0 };
    let depth = le16(&inode.block, 6)?;
    if depth > MAX_DEPTH {
        return damaged("a tree of extents is too deep");
    }
    collected.node(&inode.block, depth)?;
    Ok(collected.extents)
}

/// Where those extents hold data, up to the end of the file.
pub(super) fn segments(extents: &[Extent], size: u64) -> Vec<Segment> {
    let mut segments: Vec<Segment> = vec![];
    for extent in extents {
        let offset = extent.logical * BLOCK as u64;
        let end = (offset + extent.len * BLOCK as u64).min(size);
        if offset >= end {
            break;
        }
        match segments.last_mut() {
            Some(last) if last.offset + last.len == offset => last.len = end - last.offset,
            _ => segments.push(Segment { offset, len: end - offset }),
        }
    }
    segments
}

struct Collected<'a> {
    ext4: &'a Ext4,
    inode: &'a Inode,
    extents: Vec<Extent>,
    /// Where the next extent may begin at the earliest.
    next: u64,
}

impl Collected<'_> {
    /// A node of the tree. Each depth is one less than the one above, so that no tree is without an end; that extents are in order
    /// bounds how often a node can be met.
    fn node(&mut self, node: &[u8], depth: u16) -> Result<(), DiskError> {
        let (entries, most) = (le16(node, 2)?, le16(node, 4)?);
        if le16(node, 0)? != MAGIC || le16(node, 6)? != depth || entries > most {
            return damaged("a tree of extents is malformed");
        }
        for index in 0..usize::from(entries) {
            let entry = slice(node, ENTRY * (index + 1), ENTRY)?;
            if depth == 0 {
                self.leaf(entry)?;
                continue;
            }
            if u64::from(le32(entry, 0)?) < self.next {
                return damaged("extents overlap");
            }
            let below = self.ext4.blocks.get(joined(le16(entry, 8)?, le32(entry, 4)?))?;
            self.check(&below)?;
            let before = self.extents.len();
            let next = self.next;
            self.node(&below, depth - 1)?;
            if self.extents.len() == before && self.next == next {
                return damaged("a tree of extents has empty nodes");
            }
        }
        Ok(())
    }

    fn leaf(&mut self, entry: &[u8]) -> Result<(), DiskError> {
        let (logical, len) = (u64::from(le32(entry, 0)?), le16(entry, 4)?);
        let physical = joined(le16(entry, 6)?, le32(entry, 8)?);
        let is_written = len <= MAX_WRITTEN;
        let len = u64::from(if is_written { len } else { len - MAX_WRITTEN });
        if logical < self.next || len == 0 {
            return damaged("extents overlap");
        }
        self.next = logical + len;
        if !is_written {
            return Ok(());
        }
        if physical + len > self.ext4.superblock.blocks {
            return damaged("an extent is beyond its end");
        }
        if self.extents.len() >= MAX_EXTENTS {
            return Err(DiskError::TooMany { what: "pieces of a file", max: MAX_EXTENTS as u64 });
        }
        self.extents.push(Extent { logical, len, physical });
        Ok(())
    }

    fn check(&self, node: &[u8]) -> Result<(), DiskError> {
        let Some(seed) = self.inode.seed else { return Ok(()) };
        let at = ENTRY * (usize::from(le16(node, 4)?) + 1);
        if crc32c(seed, slice(node, 0, at)?) == le32(node, at)? {
            Ok(())
        } else {
            damaged("the checksum of a tree of extents is wrong")
        }
    }
}
