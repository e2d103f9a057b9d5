//! What a crash, or a stop without an unmount, has left in the journal: the newest contents of blocks, which have not been
//! written to their places.
//!
//! Nothing is written. The journal is read once: the descriptors of each transaction say which of its blocks stand for which of
//! the file system's, revocations which of them count no more. A transaction counts when its commit is there and right; the
//! first one that has none is the end.

use super::blocks::{Blocks, Journalled};
use super::checksum::{START, crc32c, crc32c_without};
use super::extents::Extent;
use super::superblock::BLOCK;
use crate::DiskError;
use crate::bytes::{be16, be32, joined, slice};
use crate::error::damaged;
use std::collections::HashMap;

const MAGIC: u32 = 0xc03b_3998;
const DESCRIPTOR: u32 = 1;
const COMMIT: u32 = 2;
const SUPERBLOCK: u32 = 4;
const REVOKE: u32 = 5;
const HEADER: usize = 12;

const WIDE: u32 = 0x2;
const CHECKSUMS_2: u32 = 0x8;
const CHECKSUMS_3: u32 = 0x10;
/// Revocations, wide numbers, asynchronous commits and both kinds of checksums.
const KNOWN: u32 = 0x1 | WIDE | 0x4 | CHECKSUMS_2 | CHECKSUMS_3;

const ESCAPED: u32 = 1;
const SAME_UUID: u32 = 2;
const LAST: u32 = 8;

/// What is in the journal, by the blocks that it is the newest content of.
pub(super) fn newest(blocks: &Blocks, extents: &[Extent]) -> Result<HashMap<u64, Journalled>, DiskError> {
    let Some(mut journal) = Journal::open(blocks, extents)? else { return Ok(HashMap::new()) };
    let mut found = Found::default();
    // No more steps than there are blocks: a log that goes round more than once is none.
    for _ in 0..journal.end {
        let mut transaction = Transaction::default();
        if !journal.transaction(&mut transaction)? {
            break;
        }
        found.add(transaction, journal.sequence);
        journal.sequence = journal.sequence.wrapping_add(1);
    }
    Ok(found.newest())
}

struct Journal<'a> {
    blocks: &'a Blocks,
    extents: &'a [Extent],
    /// Blocks of the log: from `first` to before `end`, then from `first` again.
    first: u32,
    end: u32,
    next: u32,
    sequence: u32,
    features: u32,
    seed: u32,
}

/// A block of a transaction, in the journal and in its place.
#[derive(Debug)]
struct Write {
    block: u64,
    content: Journalled,
}

#[derive(Debug, Default)]
struct Transaction {
    writes: Vec<Write>,
    revoked: Vec<u64>,
}

/// What the transactions until now say.
#[derive(Default)]
struct Found {
    writes: Vec<(u32, Write)>,
    /// The last transaction that revoked a block.
    revoked: HashMap<u64, u32>,
}

impl Found {
    fn add(&mut self, transaction: Transaction, sequence: u32) {
        self.writes.extend(transaction.writes.into_iter().map(|write| (sequence, write)));
        self.revoked.extend(transaction.revoked.into_iter().map(|block| (block, sequence)));
    }

    fn newest(self) -> HashMap<u64, Journalled> {
        let Self { writes, revoked } = self;
        let counts = |sequence: u32, block: u64| {
            // Sequences go round: the difference says which is later.
            revoked.get(&block).is_none_or(|revoked| sequence.wrapping_sub(*revoked).cast_signed() > 0)
        };
        let writes = writes.into_iter().filter(|(sequence, write)| counts(*sequence, write.block));
        writes.map(|(_, write)| (write.block, write.content)).collect()
    }
}

impl<'a> Journal<'a> {
    /// `None` where there is nothing to do.
    fn open(blocks: &'a Blocks, extents: &'a [Extent]) -> Result<Option<Self>, DiskError> {
        let mut journal =
            Self { blocks, extents, first: 0, end: 1, next: 0, sequence: 0, features: 0, seed: 0 };
        let (_, superblock) = journal.block(0)?;
        if be32(&superblock, 0)? != MAGIC || be32(&superblock, 4)? != SUPERBLOCK {
            return damaged("its journal has no superblock");
        }
        journal.features = be32(&superblock, 0x28)?;
        if journal.features & !KNOWN != 0 || be32(&superblock, 0xc)? as usize != BLOCK {
            return Err(DiskError::Unsupported { what: "a journal of its own kind" });
        }
        let area = slice(&superblock, 0, 1024)?;
        if journal.has_checksums() && crc32c_without(START, area, 0xfc, 4) != be32(area, 0xfc)? {
            return damaged("the checksum of its journal is wrong");
        }
        journal.seed = crc32c(START, slice(&superblock, 0x30, 16)?);
        journal.end = be32(&superblock, 0x10)?;
        journal.first = be32(&superblock, 0x14)?;
        journal.sequence = be32(&superblock, 0x18)?;
        journal.next = be32(&superblock, 0x1c)?;
        let start = journal.next;
        if start == 0 {
            return Ok(None);
        }
        let held: u64 = extents.iter().map(|extent| extent.len).sum();
        let fits = u64::from(journal.end) <= held && (1..journal.end).contains(&journal.first);
        if fits && (journal.first..journal.end).contains(&start) {
            Ok(Some(journal))
        } else {
            damaged("the numbers of its journal do not fit each other")
        }
    }

    fn has_checksums(&self) -> bool {
        self.features & (CHECKSUMS_2 | CHECKSUMS_3) != 0
    }

    /// A block of the journal, and where that is on the disk.
    fn block(&self, index: u32) -> Result<(u64, Vec<u8>), DiskError> {
        let index = u64::from(index);
        // The first that ends after this block.
        let place = self.extents.partition_point(|extent| extent.logical + extent.len <= index);
        let Some(extent) = self.extents.get(place).filter(|extent| extent.logical <= index) else {
            return damaged("its journal has holes");
        };
        let at = extent.physical + index - extent.logical;
        let mut content = vec![0; BLOCK];
        self.blocks.read(at, 0, &mut content)?;
        Ok((at, content))
    }

    fn advance(&mut self) -> u32 {
        let index = self.next;
        self.next = if index + 1 >= self.end { self.first } else { index + 1 };
        index
    }

    /// Reads the next transaction. `false` when there is none that is whole.
    fn transaction(&mut self, transaction: &mut Transaction) -> Result<bool, DiskError> {
        for _ in 0..self.end {
            let index = self.advance();
            let (_, block) = self.block(index)?;
            if be32(&block, 0)? != MAGIC || be32(&block, 8)? != self.sequence {
                return Ok(false);
            }
            match be32(&block, 4)? {
                DESCRIPTOR if self.tail_fits(&block)? => self.descriptor(&block, transaction)?,
                REVOKE if self.tail_fits(&block)? => self.revocations(&block, transaction)?,
                COMMIT => {
                    let fits = !self.has_checksums()
                        || crc32c_without(self.seed, &block, 0x10, 4) == be32(&block, 0x10)?;
                    return Ok(fits);
                }
                _ => return Ok(false),
            }
        }
        Ok(false)
    }

    /// The checksum at the end of a descriptor or of revocations.
    fn tail_fits(&self, block: &[u8]) -> Result<bool, DiskError> {
        let tail = BLOCK - 4;
        Ok(!self.has_checksums() || crc32c_without(self.seed, block, tail, 4) == be32(block, tail)?)
    }

    fn descriptor(&mut self, block: &[u8], transaction: &mut Transaction) -> Result<(), DiskError> {
        let end = if self.has_checksums() { BLOCK - 4 } else { BLOCK };
        let (is_third, is_wide) = (self.features & CHECKSUMS_3 != 0, self.features & WIDE != 0);
        let tag_len = match (is_third, is_wide) {
            (true, _) => 16,
            (false, true) => 12,
            (false, false) => 8,
        };
        let mut at = HEADER;
        while at + tag_len <= end {
            let (flags, high_at) =
                if is_third { (be32(block, at + 4)?, 8) } else { (u32::from(be16(block, at + 6)?), 8) };
            let high = if is_wide { be32(block, at + high_at)? } else { 0 };
            let index = self.advance();
            let (journalled, content) = self.block(index)?;
            let checksum = crc32c(crc32c(self.seed, &self.sequence.to_be_bytes()), &content);
            let fits = match (is_third, self.has_checksums()) {
                (true, _) => be32(block, at + 12)? == checksum,
                (false, true) => be16(block, at + 4)? == checksum as u16,
                (false, false) => true,
            };
            if !fits {
                return damaged("the checksum of a block in its journal is wrong");
            }
            let content = Journalled { at: journalled, is_escaped: flags & ESCAPED != 0 };
            transaction.writes.push(Write { block: joined(high, be32(block, at)?), content });
            at += tag_len + if flags & SAME_UUID == 0 { 16 } else { 0 };
            if flags & LAST != 0 {
                break;
            }
        }
        Ok(())
    }

    fn revocations(&self, block: &[u8], transaction: &mut Transaction) -> Result<(), DiskError> {
        let used = be32(block, HEADER)? as usize;
        let len = if self.features & WIDE != 0 { 8 } else { 4 };
        let mut at = HEADER + 4;
        while at + len <= used.min(BLOCK) {
            let (high, low_at) = if len == 8 { (be32(block, at)?, at + 4) } else { (0, at) };
            transaction.revoked.push(joined(high, be32(block, low_at)?));
            at += len;
        }
        Ok(())
    }
}
