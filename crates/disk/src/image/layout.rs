//! How large the file system is, and which blocks are taken.

use super::plan::Plan;
use crate::DiskError;
use crate::error::damaged;
use crate::ext4::BLOCK;

/// Blocks of a group: as many as a block has bits.
pub(super) const GROUP: u32 = 32_768;
pub(super) const INODE: usize = 256;
const DESCRIPTOR: u64 = 32;
const INODES_PER_BLOCK: u32 = 16;
/// No image is larger: 64 GiB, four times a workspace's disk.
const MAX_GROUPS: u64 = 512;
/// Entries of a block of the tree of extents.
const EXTENTS_PER_BLOCK: u64 = 340;
/// Blocks that are free when it is made, beyond a tenth: files can be added, and nothing is short by one.
const SLACK_BLOCKS: u64 = 16_384;
const SLACK_INODES: u64 = 1024;

/// The measures of the file system.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) groups: u32,
    pub(super) inodes_per_group: u32,
    /// Blocks of the table of groups.
    pub(super) descriptor_blocks: u32,
}

/// Where the tables of each group are.
pub(super) struct Tables {
    pub(super) block_bitmaps: u32,
    pub(super) inode_bitmaps: u32,
    /// Of the first group; those of the others follow, where no copy of the superblock is in the way.
    pub(super) of_inodes: Vec<u32>,
}

impl Layout {
    pub(super) fn for_plan(plan: &Plan) -> Result<Self, DiskError> {
        let needed: u64 = plan
            .entries
            .iter()
            .map(|entry| {
                let blocks = entry.blocks();
                let extents = entry.pieces() + blocks / u64::from(GROUP) + 1;
                let index = if extents <= 4 { 0 } else { extents.div_ceil(EXTENTS_PER_BLOCK) * 2 + 2 };
                blocks + index + u64::from(!entry.xattrs.is_empty())
            })
            .sum();
        let highest = plan.entries.iter().map(|entry| u64::from(entry.inode)).max().unwrap_or_default();
        Self::new(needed + needed / 10 + SLACK_BLOCKS, highest + highest / 4 + SLACK_INODES)
    }

    fn new(blocks: u64, inodes: u64) -> Result<Self, DiskError> {
        let mut groups = blocks.div_ceil(u64::from(GROUP)).max(inodes.div_ceil(u64::from(GROUP)));
        while groups <= MAX_GROUPS {
            let layout = Self {
                groups: groups as u32,
                inodes_per_group: inodes.div_ceil(groups).next_multiple_of(u64::from(INODES_PER_BLOCK))
                    as u32,
                descriptor_blocks: (groups * DESCRIPTOR).div_ceil(BLOCK as u64) as u32,
            };
            if u64::from(layout.blocks()) >= blocks + layout.overhead() {
                return Ok(layout);
            }
            groups += 1;
        }
        Err(DiskError::TooMany { what: "bytes in files", max: MAX_GROUPS * u64::from(GROUP) * BLOCK as u64 })
    }

    pub(super) fn blocks(&self) -> u32 {
        self.groups * GROUP
    }

    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.blocks()) * BLOCK as u64
    }

    pub(super) fn inodes(&self) -> u32 {
        self.groups * self.inodes_per_group
    }

    pub(super) fn inode_table_blocks(&self) -> u32 {
        self.inodes_per_group / INODES_PER_BLOCK
    }

    /// Everything but contents. Tables may have to make room for copies of the superblock.
    fn overhead(&self) -> u64 {
        let copies = (0..self.groups).filter(|group| has_superblock(*group)).count() as u64;
        let tables = u64::from(self.groups) * u64::from(2 + self.inode_table_blocks());
        let lost = copies * u64::from(self.inode_table_blocks() + 2 * self.groups);
        tables + lost + copies * u64::from(1 + self.descriptor_blocks)
    }
}

/// Groups 0, 1 and the powers of 3, 5 and 7 have a copy of the superblock.
pub(super) fn has_superblock(group: u32) -> bool {
    let is_power = |base: u32| {
        let mut power = base;
        while power < group {
            power *= base;
        }
        power == group
    };
    group <= 1 || is_power(3) || is_power(5) || is_power(7)
}

/// Which blocks are taken: the next that is free is the next that is given.
pub(super) struct Allocator {
    next: u32,
    end: u32,
    reserved: u32,
    pub(super) taken: Vec<u8>,
}

/// Blocks that lie one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) start: u32,
    pub(super) len: u32,
}

impl Allocator {
    pub(super) fn new(layout: &Layout) -> Self {
        let reserved = 1 + layout.descriptor_blocks;
        let mut taken = vec![0; layout.blocks() as usize / 8];
        for group in (0..layout.groups).filter(|group| has_superblock(*group)) {
            mark(&mut taken, Run { start: group * GROUP, len: reserved });
        }
        Self { next: reserved, end: layout.blocks(), reserved, taken }
    }

    /// The tables of all groups.
    pub(super) fn tables(&mut self, layout: &Layout) -> Result<Tables, DiskError> {
        let block_bitmaps = self.together(layout.groups)?;
        let inode_bitmaps = self.together(layout.groups)?;
        let of_group = |_| self.together(layout.inode_table_blocks());
        let of_inodes = (0..layout.groups).map(of_group).collect::<Result<_, _>>()?;
        Ok(Tables { block_bitmaps, inode_bitmaps, of_inodes })
    }

    /// Blocks that lie together.
    pub(super) fn together(&mut self, len: u32) -> Result<u32, DiskError> {
        loop {
            self.skip_reserved();
            let run = self.run(len)?;
            if run.len == len {
                return Ok(run.start);
            }
            // What is left before the next copy of the superblock stays free.
            self.give_back(run);
        }
    }

    /// Blocks, in as few runs as can be.
    pub(super) fn runs(&mut self, mut len: u32) -> Result<Vec<Run>, DiskError> {
        let mut runs = vec![];
        while len > 0 {
            self.skip_reserved();
            let run = self.run(len)?;
            len -= run.len;
            runs.push(run);
        }
        Ok(runs)
    }

    fn skip_reserved(&mut self) {
        if self.next.is_multiple_of(GROUP) && has_superblock(self.next / GROUP) {
            self.next += self.reserved;
        }
    }

    /// As many of `len` blocks as are free from the next on.
    fn run(&mut self, len: u32) -> Result<Run, DiskError> {
        let boundary = (self.next / GROUP + 1..=self.end / GROUP)
            .find(|group| has_superblock(*group))
            .map_or(self.end, |group| group.saturating_mul(GROUP).min(self.end));
        let run = Run { start: self.next, len: len.min(boundary.saturating_sub(self.next)) };
        if run.len == 0 {
            return damaged("the image has no room left");
        }
        mark(&mut self.taken, run);
        self.next += run.len;
        Ok(run)
    }

    fn give_back(&mut self, run: Run) {
        for block in run.start..run.start + run.len {
            if let Some(byte) = self.taken.get_mut(block as usize / 8) {
                *byte &= !(1 << (block % 8));
            }
        }
    }
}

/// Sets the bits of a run.
pub(super) fn mark(bits: &mut [u8], run: Run) {
    for block in run.start..run.start.saturating_add(run.len) {
        if let Some(byte) = bits.get_mut(block as usize / 8) {
            *byte |= 1 << (block % 8);
        }
    }
}
