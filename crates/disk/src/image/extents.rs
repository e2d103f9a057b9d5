//! Trees of extents: where the blocks of a file are.

use super::layout::{Allocator, Run};
use crate::DiskError;
use crate::bytes::put;
use crate::ext4::BLOCK;

const MAGIC: u16 = 0xf30a;
const ENTRY: usize = 12;
const IN_INODE: usize = 4;
const IN_BLOCK: usize = BLOCK / ENTRY - 1;
/// Longest extent: its length has 15 bits, and one that stands for nothing else.
const MAX_LEN: u32 = 32_768;

/// Blocks of a file that lie one after the other, on the disk as in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) logical: u32,
    pub(super) run: Run,
}

/// What the inode holds, and the blocks of the tree.
pub(super) struct Tree {
    pub(super) root: Vec<u8>,
    pub(super) blocks: Vec<(u32, Vec<u8>)>,
}

/// The extents of runs that follow each other from `logical` on.
pub(super) fn extents(logical: u32, runs: &[Run]) -> Vec<Extent> {
    let (mut logical, mut extents) = (logical, vec![]);
    for run in runs {
        let mut left = *run;
        while left.len > 0 {
            let len = left.len.min(MAX_LEN);
            extents.push(Extent { logical, run: Run { start: left.start, len } });
            logical += len;
            left = Run { start: left.start + len, len: left.len - len };
        }
    }
    extents
}

/// The tree over all extents of a file, which are in order.
pub(super) fn tree(extents: &[Extent], allocator: &mut Allocator) -> Result<Tree, DiskError> {
    let mut level: Vec<(u32, [u8; ENTRY])> =
        extents.iter().map(|extent| (extent.logical, leaf(extent))).collect();
    let (mut depth, mut blocks) = (0, vec![]);
    while level.len() > IN_INODE {
        let mut above = vec![];
        for entries in level.chunks(IN_BLOCK) {
            let block = allocator.together(1)?;
            let first = entries.first().map_or(0, |(logical, _)| *logical);
            blocks.push((block, node(entries, depth, BLOCK, IN_BLOCK)));
            above.push((first, index(first, block)));
        }
        level = above;
        depth += 1;
    }
    Ok(Tree { root: node(&level, depth, ENTRY * (IN_INODE + 1), IN_INODE), blocks })
}

fn leaf(extent: &Extent) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    put(&mut entry, 0, &extent.logical.to_le_bytes());
    put(&mut entry, 4, &(extent.run.len as u16).to_le_bytes());
    put(&mut entry, 8, &extent.run.start.to_le_bytes());
    entry
}

fn index(logical: u32, block: u32) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    put(&mut entry, 0, &logical.to_le_bytes());
    put(&mut entry, 4, &block.to_le_bytes());
    entry
}

fn node(entries: &[(u32, [u8; ENTRY])], depth: u16, bytes: usize, most: usize) -> Vec<u8> {
    let mut node = vec![0; bytes];
    for (at, field) in [MAGIC, entries.len() as u16, most as u16, depth].into_iter().enumerate() {
        put(&mut node, at * 2, &field.to_le_bytes());
    }
    for (at, (_, entry)) in entries.iter().enumerate() {
        put(&mut node, ENTRY * (at + 1), entry);
    }
    node
}
