//! Contents and inodes, one file after the other.

use super::extents::{self, Extent};
use super::inode::{Placed, ROOM, encode};
use super::layout::{Allocator, INODE, Layout, Run, Tables};
use super::plan::{CHUNK, Content, Entry, Piece, Plan};
use super::{ImageOptions, directory, xattrs};
use crate::error::damaged;
use crate::ext4::BLOCK;
use crate::{DiskError, Node, Root};
use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Longest target that lies in the inode itself, plus one.
const INLINE_TARGET: usize = 60;

pub(super) struct Contents<'a, 'b> {
    pub(super) root: &'a Root,
    pub(super) target: &'a File,
    pub(super) layout: &'a Layout,
    pub(super) tables: &'a Tables,
    pub(super) allocator: Allocator,
    pub(super) options: &'a mut ImageOptions<'b>,
}

impl Contents<'_, '_> {
    /// Writes everything; returns how many attributes there was no room for.
    pub(super) fn write(&mut self, plan: &Plan) -> Result<u64, DiskError> {
        let mut left_out = 0;
        for entry in &plan.entries {
            let mut placed = self.content(entry)?;
            let stored = xattrs::store(&entry.xattrs, ROOM);
            left_out += stored.left_out;
            placed.xattrs = stored.in_inode;
            if let Some(block) = stored.block {
                placed.xattr_block = self.allocator.together(1)?;
                placed.blocks += 1;
                self.put(placed.xattr_block, &block)?;
            }
            self.inode(entry.inode, &encode(entry, &placed))?;
        }
        Ok(left_out)
    }

    fn content(&mut self, entry: &Entry) -> Result<Placed, DiskError> {
        match &entry.content {
            Content::Nothing => Ok(Placed::default()),
            Content::Target(target) if target.len() < INLINE_TARGET => {
                Ok(Placed { block: target.clone(), size: target.len() as u64, ..Placed::default() })
            }
            Content::Target(target) => {
                let placed = self.blocks(std::slice::from_ref(target))?;
                Ok(Placed { size: target.len() as u64, ..placed })
            }
            Content::Names { parent, names } => self.blocks(&directory::blocks(entry.inode, *parent, names)),
            Content::Data { pieces, size } => {
                let Some(node) = &entry.node else { return damaged("a file is in no layer") };
                let mut extents = vec![];
                for piece in pieces {
                    let runs = self.allocator.runs(block_number(piece.len.div_ceil(BLOCK as u64))?)?;
                    self.copy(node, piece, &runs)?;
                    extents.extend(extents::extents(block_number(piece.offset / BLOCK as u64)?, &runs));
                }
                Ok(Placed { size: *size, ..self.placed(&extents)? })
            }
        }
    }

    /// Writes whole blocks, or one that is not.
    fn blocks(&mut self, blocks: &[Vec<u8>]) -> Result<Placed, DiskError> {
        let runs = self.allocator.runs(block_number(blocks.len() as u64)?)?;
        let numbers = runs.iter().flat_map(|run| run.start..run.start + run.len);
        for (number, block) in numbers.zip(blocks) {
            self.put(number, block)?;
        }
        let placed = self.placed(&extents::extents(0, &runs))?;
        Ok(Placed { size: (blocks.len() * BLOCK) as u64, ..placed })
    }

    fn placed(&mut self, extents: &[Extent]) -> Result<Placed, DiskError> {
        let tree = extents::tree(extents, &mut self.allocator)?;
        let blocks: u64 = extents.iter().map(|extent| u64::from(extent.run.len)).sum();
        for (number, block) in &tree.blocks {
            self.put(*number, block)?;
        }
        let blocks = blocks + tree.blocks.len() as u64;
        Ok(Placed { block: tree.root, uses_extents: true, blocks, ..Placed::default() })
    }

    /// Copies a part of a file to its blocks.
    fn copy(&mut self, node: &Node, piece: &Piece, runs: &[Run]) -> Result<(), DiskError> {
        let mut output = Output {
            target: self.target,
            runs: runs.iter().copied().collect(),
            held: vec![],
            len: piece.len,
        };
        let (mut offset, end) = (piece.source.offset, piece.source.offset + piece.source.len);
        let mut buffer = vec![0; CHUNK];
        while offset < end {
            let count = CHUNK.min(usize::try_from(end - offset).unwrap_or(CHUNK));
            let chunk = &mut buffer[..count];
            self.root.read(node, offset, chunk)?;
            match self.options.rewrite.as_deref_mut() {
                Some(rewrite) => rewrite.push(chunk, &mut output.held),
                None => output.held.extend_from_slice(chunk),
            }
            output.flush(false)?;
            offset += count as u64;
        }
        if let Some(rewrite) = self.options.rewrite.as_deref_mut() {
            rewrite.finish(&mut output.held);
        }
        output.flush(true)
    }

    fn inode(&self, number: u32, inode: &[u8; INODE]) -> Result<(), DiskError> {
        let (group, index) =
            ((number - 1) / self.layout.inodes_per_group, (number - 1) % self.layout.inodes_per_group);
        let Some(table) = self.tables.of_inodes.get(group as usize) else {
            return damaged("the image has no room left");
        };
        let at = u64::from(*table) * BLOCK as u64 + u64::from(index) * INODE as u64;
        self.target.write_all_at(inode, at).map_err(DiskError::written)
    }

    fn put(&self, block: u32, content: &[u8]) -> Result<(), DiskError> {
        self.target.write_all_at(content, u64::from(block) * BLOCK as u64).map_err(DiskError::written)
    }
}

fn block_number(number: u64) -> Result<u32, DiskError> {
    u32::try_from(number)
        .map_err(|_| DiskError::TooMany { what: "blocks of a file", max: u64::from(u32::MAX) })
}

/// Bytes on their way to the blocks of a part of a file.
struct Output<'a> {
    target: &'a File,
    /// The blocks that are left.
    runs: VecDeque<Run>,
    held: Vec<u8>,
    /// Bytes that may still come.
    len: u64,
}

impl Output<'_> {
    /// Writes whole blocks, and at the end the rest.
    fn flush(&mut self, is_end: bool) -> Result<(), DiskError> {
        let whole = if is_end { self.held.len() } else { self.held.len() / BLOCK * BLOCK };
        let rest = self.held.split_off(whole);
        let ready = std::mem::replace(&mut self.held, rest);
        let Some(len) = self.len.checked_sub(ready.len() as u64) else {
            return damaged("a file changed while it was read");
        };
        self.len = len;
        let mut ready = &ready[..];
        while !ready.is_empty() {
            let Some(run) = self.runs.pop_front() else { return damaged("a file changed while it was read") };
            let (now, later) = ready.split_at(ready.len().min(run.len as usize * BLOCK));
            self.write(now, u64::from(run.start) * BLOCK as u64)?;
            let taken = now.len().div_ceil(BLOCK) as u32;
            if taken < run.len {
                self.runs.push_front(Run { start: run.start + taken, len: run.len - taken });
            }
            ready = later;
        }
        Ok(())
    }

    /// Blocks of zeros stay holes of the image's file.
    fn write(&self, content: &[u8], offset: u64) -> Result<(), DiskError> {
        let mut at = 0;
        let is_zero = |block: &&[u8]| block.iter().all(|byte| *byte == 0);
        let mut blocks = content.chunks(BLOCK).peekable();
        while blocks.peek().is_some() {
            while let Some(block) = blocks.next_if(is_zero) {
                at += block.len();
            }
            let start = at;
            while let Some(block) = blocks.next_if(|block| !is_zero(block)) {
                at += block.len();
            }
            let piece = content.get(start..at).unwrap_or_default();
            self.target.write_all_at(piece, offset + start as u64).map_err(DiskError::written)?;
        }
        Ok(())
    }
}
