//! Writes the whole root of a workspace as one ext4 file system, from nothing, without a kernel and without being root.
//!
//! 1. [`plan`]: everything in the root gets an inode number and a list of what it holds; nothing of contents is read, but where they
//!    are rewritten, which changes their sizes.
//! 2. [`layout`]: from that, how large the file system has to be, and where its tables are.
//! 3. [`write`](write_root): contents, then inodes, bitmaps and superblocks.
//!
//! What was deleted, what the journal holds, and whatever else lies on the workspace's disk beside its files is not read, so it
//! is not in the image either. Kept are names, kinds, contents, holes, owners, modes, times of the last change, hard links,
//! devices and extended attributes; not kept are other times and flags of files. The file system has no journal.

#![expect(
    clippy::cast_possible_truncation,
    reason = "what is written is in the width of its field, and the layout keeps it within that"
)]

mod contents;
mod directory;
mod extents;
mod inode;
mod layout;
mod plan;
mod tables;
mod xattrs;

#[cfg(test)]
mod tests;

use crate::{DiskError, Root};
use contents::Contents;
use layout::{Allocator, Layout};
use plan::Plan;
use std::fs::File;

/// What replaces parts of contents while they are copied.
pub trait Rewrite {
    /// Takes the next piece of a file, and adds to `out` what is certain.
    fn push(&mut self, content: &[u8], out: &mut Vec<u8>);

    /// The file ends here: adds the rest. The next piece is of another file.
    fn finish(&mut self, out: &mut Vec<u8>);
}

/// What the image is to be like.
pub struct ImageOptions<'a> {
    /// Its UUID, which is to be like no other's.
    pub uuid: [u8; 16],
    /// Seconds since 1970 at which it is made.
    pub now: i64,
    /// What is to be done with contents, targets of links, and values of attributes.
    pub rewrite: Option<&'a mut dyn Rewrite>,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenImage {
    /// Files, directories and everything else.
    pub files: u64,
    /// Size of the file system.
    pub bytes: u64,
    /// Attributes that ext4 has no room for.
    pub attributes_left_out: u64,
}

/// Writes everything in `root` to the empty file `target`, as an ext4 file system.
pub fn write_root(
    root: &Root,
    target: &File,
    mut options: ImageOptions<'_>,
) -> Result<WrittenImage, DiskError> {
    let plan = Plan::of(root, &mut options)?;
    let layout = Layout::for_plan(&plan)?;
    target.set_len(layout.bytes()).map_err(DiskError::written)?;
    let mut allocator = Allocator::new(&layout);
    let tables = allocator.tables(&layout)?;
    let mut contents =
        Contents { root, target, layout: &layout, tables: &tables, allocator, options: &mut options };
    let left_out = contents.write(&plan)?;
    let allocator = contents.allocator;
    tables::write(target, &layout, &tables, &plan, &allocator, &options)?;
    target.sync_all().map_err(DiskError::written)?;
    Ok(WrittenImage {
        files: plan.entries.len() as u64,
        bytes: layout.bytes(),
        attributes_left_out: left_out,
    })
}
