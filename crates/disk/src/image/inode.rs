//! Inodes as they are stored.

use super::layout::INODE;
use super::plan::Entry;
use crate::bytes::put;
use crate::node::Kind;

/// Bytes of the fields that come after the first 128.
const EXTRA: usize = 32;
/// Bytes behind all fields.
pub(super) const ROOM: usize = INODE - 128 - EXTRA;
const USES_EXTENTS: u32 = 0x0008_0000;
/// From here on, the links of a directory are not counted.
const MAX_LINKS: u32 = 65_000;

/// What of an inode is known only when its content is in its place.
#[derive(Default)]
pub(super) struct Placed {
    /// The tree of extents, where there is one, or a short target.
    pub(super) block: Vec<u8>,
    pub(super) uses_extents: bool,
    pub(super) size: u64,
    /// Blocks of all kinds.
    pub(super) blocks: u64,
    pub(super) xattr_block: u32,
    pub(super) xattrs: Vec<u8>,
}

pub(super) fn encode(entry: &Entry, placed: &Placed) -> [u8; INODE] {
    let mut inode = [0; INODE];
    let meta = &entry.meta;
    let is_directory = meta.kind == Kind::Directory;
    let links = if is_directory && entry.links >= MAX_LINKS { 1 } else { entry.links };
    let low = meta.modified.cast_unsigned() as u32;
    let epoch = meta.modified.saturating_sub(i64::from(low.cast_signed())) >> 32;
    let (seconds, more) = (low.to_le_bytes(), epoch.cast_unsigned() as u32 & 3 | meta.modified_nanos << 2);
    let halves = |number: u32| ((number as u16).to_le_bytes(), ((number >> 16) as u16).to_le_bytes());
    let ((uid, uid_high), (gid, gid_high)) = (halves(meta.uid), halves(meta.gid));
    let sectors = placed.blocks * 8;
    let flags = if placed.uses_extents { USES_EXTENTS } else { 0 };
    let fields: [(usize, &[u8]); 20] = [
        (0x0, &(type_of(meta.kind) | meta.mode & 0o7777).to_le_bytes()),
        (0x2, &uid),
        (0x4, &(placed.size as u32).to_le_bytes()),
        (0x8, &seconds),
        (0xc, &seconds),
        (0x10, &seconds),
        (0x18, &gid),
        (0x1a, &(links as u16).to_le_bytes()),
        (0x1c, &(sectors as u32).to_le_bytes()),
        (0x20, &flags.to_le_bytes()),
        (0x28, &placed.block),
        (0x68, &placed.xattr_block.to_le_bytes()),
        (0x6c, &((placed.size >> 32) as u32).to_le_bytes()),
        (0x74, &((sectors >> 32) as u16).to_le_bytes()),
        (0x78, &uid_high),
        (0x7a, &gid_high),
        (0x80, &(EXTRA as u16).to_le_bytes()),
        (0x84, &more.to_le_bytes()),
        (0x88, &more.to_le_bytes()),
        (0x8c, &more.to_le_bytes()),
    ];
    for (at, bytes) in fields {
        put(&mut inode, at, bytes);
    }
    if matches!(meta.kind, Kind::Character | Kind::Block) {
        put_device(&mut inode, meta.device);
    }
    // When it was created, which nobody knows.
    put(&mut inode, 0x90, &seconds);
    put(&mut inode, 0x94, &more.to_le_bytes());
    put(&mut inode, 128 + EXTRA, &placed.xattrs);
    inode
}

fn put_device(inode: &mut [u8], (major, minor): (u32, u32)) {
    if major < 256 && minor < 256 {
        put(inode, 0x28, &(major << 8 | minor).to_le_bytes());
    } else {
        put(inode, 0x2c, &(minor & 0xff | major << 8 | (minor & !0xff) << 12).to_le_bytes());
    }
}

fn type_of(kind: Kind) -> u16 {
    match kind {
        Kind::Pipe => 0x1000,
        Kind::Character => 0x2000,
        Kind::Directory => 0x4000,
        Kind::Block => 0x6000,
        Kind::File => 0x8000,
        Kind::Symlink => 0xa000,
        Kind::Socket => 0xc000,
    }
}
