//! What says where everything is: bitmaps, the table of groups, and the superblock with its copies.

use super::ImageOptions;
use super::layout::{Allocator, GROUP, INODE, Layout, Run, Tables, has_superblock, mark};
use super::plan::{LOST_AND_FOUND, Plan};
use crate::DiskError;
use crate::bytes::put;
use crate::ext4::BLOCK;
use crate::node::Kind;
use std::fs::File;
use std::os::unix::fs::FileExt;

const DESCRIPTOR: usize = 32;
const SUPERBLOCK: usize = 1024;
/// `ext_attr`, `dir_index`.
const COMPATIBLE: u32 = 0x8 | 0x20;
/// `filetype`, `extent`, `flex_bg`.
const INCOMPATIBLE: u32 = 0x2 | 0x40 | 0x200;
/// `sparse_super`, `large_file`, `dir_nlink`, `extra_isize`.
const READ_ONLY: u32 = 0x1 | 0x2 | 0x20 | 0x40;
const LABEL: &[u8] = b"pyro-workspace";
/// What an inode of the image has beyond the first 128 bytes.
const EXTRA: u16 = 32;

/// How much of a group is left.
struct Group {
    free_blocks: u32,
    free_inodes: u32,
    directories: u32,
}

pub(super) fn write(
    target: &File,
    layout: &Layout,
    tables: &Tables,
    plan: &Plan,
    allocator: &Allocator,
    options: &ImageOptions<'_>,
) -> Result<(), DiskError> {
    let write = |content: &[u8], at: u64| target.write_all_at(content, at).map_err(DiskError::written);
    let block_at = |block: u32| u64::from(block) * BLOCK as u64;
    let groups = groups(layout, plan, allocator);
    write(&allocator.taken, block_at(tables.block_bitmaps))?;
    for (index, group) in (0..).zip(&groups) {
        let mut bitmap = vec![0; BLOCK];
        mark(&mut bitmap, Run { start: 0, len: layout.inodes_per_group - group.free_inodes });
        // Bits that stand for nothing are set.
        let end = layout.inodes_per_group;
        mark(&mut bitmap, Run { start: end, len: GROUP - end });
        write(&bitmap, block_at(tables.inode_bitmaps + index))?;
    }
    let descriptors = descriptors(layout, tables, &groups);
    for group in (0..layout.groups).filter(|group| has_superblock(*group)) {
        let superblock = superblock(layout, &groups, options, group);
        let at = if group == 0 { SUPERBLOCK as u64 } else { 0 };
        write(&superblock, block_at(group * GROUP) + at)?;
        write(&descriptors, block_at(group * GROUP + 1))?;
    }
    Ok(())
}

/// Inodes are taken from the first on, without gaps.
fn groups(layout: &Layout, plan: &Plan, allocator: &Allocator) -> Vec<Group> {
    let highest = plan.entries.iter().map(|entry| entry.inode).max().unwrap_or_default().max(LOST_AND_FOUND);
    let mut groups: Vec<_> = allocator
        .taken
        .chunks(GROUP as usize / 8)
        .zip(0..)
        .map(|(bits, group)| {
            let taken = highest.saturating_sub(group * layout.inodes_per_group).min(layout.inodes_per_group);
            Group {
                free_blocks: bits.iter().map(|byte| byte.count_zeros()).sum(),
                free_inodes: layout.inodes_per_group - taken,
                directories: 0,
            }
        })
        .collect();
    for entry in plan.entries.iter().filter(|entry| entry.meta.kind == Kind::Directory) {
        if let Some(group) = groups.get_mut(((entry.inode - 1) / layout.inodes_per_group) as usize) {
            group.directories += 1;
        }
    }
    groups
}

fn descriptors(layout: &Layout, tables: &Tables, groups: &[Group]) -> Vec<u8> {
    let mut table = vec![0; layout.descriptor_blocks as usize * BLOCK];
    for ((index, group), inode_table) in (0..).zip(groups).zip(&tables.of_inodes) {
        let at = index as usize * DESCRIPTOR;
        put(&mut table, at, &(tables.block_bitmaps + index).to_le_bytes());
        put(&mut table, at + 0x4, &(tables.inode_bitmaps + index).to_le_bytes());
        put(&mut table, at + 0x8, &inode_table.to_le_bytes());
        put(&mut table, at + 0xc, &(group.free_blocks as u16).to_le_bytes());
        put(&mut table, at + 0xe, &(group.free_inodes as u16).to_le_bytes());
        put(&mut table, at + 0x10, &(group.directories as u16).to_le_bytes());
    }
    table
}

fn superblock(layout: &Layout, groups: &[Group], options: &ImageOptions<'_>, group: u32) -> Vec<u8> {
    let mut superblock = vec![0; SUPERBLOCK];
    let now = options.now.cast_unsigned() as u32;
    let free = |of: fn(&Group) -> u32| groups.iter().map(of).sum::<u32>();
    let numbers = [
        (0x0, layout.inodes()),
        (0x4, layout.blocks()),
        (0xc, free(|group| group.free_blocks)),
        (0x10, free(|group| group.free_inodes)),
        // Blocks of 4096 bytes, and clusters of one block.
        (0x18, 2),
        (0x1c, 2),
        (0x20, GROUP),
        (0x24, GROUP),
        (0x28, layout.inodes_per_group),
        (0x30, now),
        (0x40, now),
        // Revision 1, with features.
        (0x4c, 1),
        (0x54, LOST_AND_FOUND),
        (0x5c, COMPATIBLE),
        (0x60, INCOMPATIBLE),
        (0x64, READ_ONLY),
        // Attributes of users and access control lists are in force when it is mounted.
        (0x100, 0xc),
        (0x108, now),
        // Names are hashed as signed characters.
        (0x160, 1),
    ];
    for (at, number) in numbers {
        put(&mut superblock, at, &number.to_le_bytes());
    }
    // Never checked for having been mounted often; clean; goes on after errors.
    let shorts = [
        (0x36, 0xffff),
        (0x38, 0xef53),
        (0x3a, 1),
        (0x3c, 1),
        (0x58, INODE as u16),
        (0x5a, group as u16),
        (0x15c, EXTRA),
        (0x15e, EXTRA),
    ];
    for (at, number) in shorts {
        put(&mut superblock, at, &u16::to_le_bytes(number));
    }
    put(&mut superblock, 0x68, &options.uuid);
    put(&mut superblock, 0x78, LABEL);
    put(&mut superblock, 0xec, &options.uuid);
    // Half of MD4, the usual hash; groups of 16 groups.
    put(&mut superblock, 0xfc, &[1]);
    put(&mut superblock, 0x174, &[4]);
    superblock
}
