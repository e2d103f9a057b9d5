//! Reads ext4, of the kind that pyro formats disks with, and from whoever has written to such a disk as root since.
//!
//! Everything on the disk is data of an attacker's: each number is checked before it is used, nothing is reached by index alone,
//! and all reading is paid for from a [`Budget`]. Checksums of metadata are verified, which a hostile guest can make right: they
//! tell damage, not malice. What lies in the journal counts ([`journal`]); nothing is written.

#![expect(
    clippy::cast_possible_truncation,
    reason = "checksums are cut to the width of their fields, and places within a block fit"
)]

mod blocks;
mod checksum;
mod directory;
mod extents;
mod inode;
mod journal;
mod superblock;
mod xattrs;

pub(crate) use superblock::BLOCK;

use crate::DiskError;
use crate::budget::Budget;
use crate::bytes::slice;
use crate::error::damaged;
use crate::layer::{Found, Layer, Names, join};
use crate::node::{Kind, Segment, Xattr};
use blocks::Blocks;
use extents::Extent;
use inode::Inode;
use std::cell::RefCell;
use std::fs::File;
use std::path::Path;
use std::rc::Rc;
use superblock::Superblock;

const ROOT: u32 = 2;
/// Longest target of a symbolic link.
const MAX_TARGET: u64 = 4096;
/// Longest target that lies in the inode itself, plus one.
const INLINE_TARGET: u64 = 60;
/// How often each block may be read, on average.
const READS_PER_BLOCK: u64 = 4;

/// A file system, one directory of which is taken for its root.
pub(crate) struct Ext4 {
    blocks: Blocks,
    superblock: Superblock,
    /// Where the inodes of each group are.
    inode_tables: Vec<u64>,
    root: u32,
    /// Where the file that was read last is, by its inode.
    last: RefCell<Option<(u64, Rc<Vec<Extent>>)>>,
}

impl Ext4 {
    /// Opens the directory `root`, which is in the root of the file system in the file `path`.
    pub(crate) fn open(path: &Path, root: &[u8], budget: &Rc<Budget>) -> Result<Self, DiskError> {
        let file = File::open(path).map_err(DiskError::read)?;
        let mut blocks = Blocks::new(file, Rc::clone(budget));
        let first = superblock(&blocks)?;
        blocks.set_count(first.blocks)?;
        budget.allow_blocks(first.blocks.saturating_mul(READS_PER_BLOCK));
        let inode_tables = inode_tables(&blocks, &first)?;
        let mut ext4 = Self { blocks, superblock: first, inode_tables, root: ROOT, last: RefCell::default() };
        if ext4.superblock.needs_recovery {
            ext4.recover()?;
        }
        let top = ext4.names_of(ROOT)?;
        let found = top.into_iter().find(|(name, _)| name == root);
        ext4.root =
            found.map_or_else(|| damaged("it lacks what workspaces write to"), |(_, inode)| Ok(inode))?;
        Ok(ext4)
    }

    /// From here on, what is in the journal counts, as after the next mount.
    fn recover(&mut self) -> Result<(), DiskError> {
        let inode = self.inode(self.superblock.journal_inode)?;
        let newest = journal::newest(&self.blocks, &extents::extents(self, &inode)?)?;
        self.blocks.replay(newest);
        self.superblock = superblock(&self.blocks)?;
        self.blocks.set_count(self.superblock.blocks)?;
        self.inode_tables = inode_tables(&self.blocks, &self.superblock)?;
        Ok(())
    }

    fn inode(&self, number: u32) -> Result<Inode, DiskError> {
        if number == 0 || number > self.superblock.inodes {
            return damaged("an inode is beyond its end");
        }
        let (group, index) = (
            (number - 1) / self.superblock.inodes_per_group,
            (number - 1) % self.superblock.inodes_per_group,
        );
        let Some(table) = self.inode_tables.get(group as usize) else {
            return damaged("an inode is beyond its end");
        };
        let size = usize::from(self.superblock.inode_size);
        let at = u64::from(index) * size as u64;
        let Some(block) = table.checked_add(at / BLOCK as u64) else {
            return damaged("an inode is beyond its end");
        };
        let block = self.blocks.get(block)?;
        Inode::parse(&self.superblock, number, slice(&block, (at % BLOCK as u64) as usize, size)?)
    }

    fn inode_of(&self, found: &Found) -> Result<Inode, DiskError> {
        self.inode(u32::try_from(found.meta.inode).or_else(|_| damaged("an inode is beyond its end"))?)
    }

    fn names_of(&self, directory: u32) -> Result<Vec<(Vec<u8>, u32)>, DiskError> {
        let inode = self.inode(directory)?;
        if inode.meta.kind != Kind::Directory {
            return damaged("a directory is none");
        }
        directory::entries(self, &inode)
    }

    fn extents(&self, file: &Found) -> Result<Rc<Vec<Extent>>, DiskError> {
        if let Some((inode, extents)) = &*self.last.borrow()
            && *inode == file.meta.inode
        {
            return Ok(Rc::clone(extents));
        }
        let inode = self.inode_of(file)?;
        let extents = match inode.uses_extents {
            true => extents::extents(self, &inode)?,
            false if inode.meta.size == 0 => vec![],
            false => return Err(DiskError::Unsupported { what: "files without extents" }),
        };
        let extents = Rc::new(extents);
        self.last.replace(Some((file.meta.inode, Rc::clone(&extents))));
        Ok(extents)
    }
}

fn superblock(blocks: &Blocks) -> Result<Superblock, DiskError> {
    let mut bytes = vec![0; superblock::BYTES];
    blocks.read(0, superblock::OFFSET, &mut bytes)?;
    Superblock::parse(&bytes)
}

/// Where the inodes of each group are.
fn inode_tables(blocks: &Blocks, superblock: &Superblock) -> Result<Vec<u64>, DiskError> {
    let size = u64::from(superblock.descriptor_size);
    let groups = u32::try_from(superblock.groups()).or_else(|_| damaged("it has too many groups"))?;
    let mut tables = vec![];
    for group in 0..groups {
        let at = u64::from(group) * size;
        let block = blocks.get(1 + at / BLOCK as u64)?;
        let descriptor = slice(&block, (at % BLOCK as u64) as usize, size as usize)?;
        tables.push(superblock.inode_table(group, descriptor)?);
    }
    Ok(tables)
}

impl Layer for Ext4 {
    fn root(&self) -> Result<Found, DiskError> {
        Ok(Found { meta: self.inode(self.root)?.meta, path: vec![] })
    }

    fn names(&self, directory: &Found) -> Result<Names, DiskError> {
        let mut names = Names::new();
        for (name, inode) in directory::entries(self, &self.inode_of(directory)?)? {
            let meta = self.inode(inode)?.meta;
            if meta.links == 0 {
                return damaged("a name leads to a file that was removed");
            }
            let path = join(&directory.path, &name);
            if names.insert(name, Found { meta, path }).is_some() {
                return damaged("a directory has a name twice");
            }
        }
        Ok(names)
    }

    fn target(&self, link: &Found) -> Result<Vec<u8>, DiskError> {
        let inode = self.inode_of(link)?;
        let size = inode.meta.size;
        if size < INLINE_TARGET && !inode.uses_extents {
            return Ok(slice(&inode.block, 0, size as usize)?.to_vec());
        }
        if size >= MAX_TARGET {
            return damaged("the target of a symbolic link is too long");
        }
        let mut target = vec![0; size as usize];
        self.read(link, 0, &mut target)?;
        Ok(target)
    }

    fn xattrs(&self, found: &Found) -> Result<Vec<Xattr>, DiskError> {
        xattrs::xattrs(self, &self.inode_of(found)?)
    }

    fn segments(&self, file: &Found) -> Result<Vec<Segment>, DiskError> {
        Ok(extents::segments(&self.extents(file)?, file.meta.size))
    }

    fn read(&self, file: &Found, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let extents = self.extents(file)?;
        let mut filled = 0;
        while filled < buffer.len() {
            let at = offset + filled as u64;
            let (block, within) = (at / BLOCK as u64, (at % BLOCK as u64) as usize);
            let len = (BLOCK - within).min(buffer.len() - filled);
            let Some(piece) = buffer.get_mut(filled..filled + len) else { break };
            // The first that ends after this block.
            let index = extents.partition_point(|extent| extent.logical + extent.len <= block);
            match extents.get(index).filter(|extent| extent.logical <= block) {
                Some(extent) => self.blocks.read(extent.physical + block - extent.logical, within, piece)?,
                None => piece.fill(0),
            }
            filled += len;
        }
        Ok(())
    }
}
