//! Extended attributes: as many as fit behind an inode's own fields, the others in a block.

use crate::bytes::put;
use crate::ext4::BLOCK;
use crate::node::Xattr;

const MAGIC: u32 = 0xea02_0000;
const ENTRY: usize = 16;
const BLOCK_HEADER: usize = 32;
/// The end of the entries.
const END: usize = 4;

/// Attributes as they are stored.
pub(super) struct Stored {
    /// What goes into the inode, with its mark; empty where there is none.
    pub(super) in_inode: Vec<u8>,
    /// The block, where there is one.
    pub(super) block: Option<Vec<u8>>,
    /// How many there was no room for.
    pub(super) left_out: u64,
}

/// Stores attributes, `room` bytes of them in the inode.
pub(super) fn store(xattrs: &[Xattr], room: usize) -> Stored {
    let mut sorted: Vec<&Xattr> =
        xattrs.iter().filter(|xattr| u8::try_from(xattr.name.len()).is_ok()).collect();
    // The order that a block's entries are looked for in.
    sorted.sort_by_key(|xattr| (xattr.space, xattr.name.len(), &xattr.name));
    let (mut inside, mut outside, mut left_out) = (vec![], vec![], (xattrs.len() - sorted.len()) as u64);
    let (mut room_inside, mut room_outside) = (room.saturating_sub(4 + END), BLOCK - BLOCK_HEADER - END);
    for xattr in sorted {
        let len = len(xattr);
        if len <= room_inside {
            room_inside -= len;
            inside.push(xattr);
        } else if len <= room_outside {
            room_outside -= len;
            outside.push(xattr);
        } else {
            left_out += 1;
        }
    }
    // Values are found from behind the mark on.
    let marked = || [&MAGIC.to_le_bytes()[..], &region(&inside, room - 4, 0)].concat();
    let in_inode = if inside.is_empty() { vec![] } else { marked() };
    let block = (!outside.is_empty()).then(|| block(&outside));
    Stored { in_inode, block, left_out }
}

fn len(xattr: &Xattr) -> usize {
    (ENTRY + xattr.name.len()).next_multiple_of(4) + xattr.value.len().next_multiple_of(4)
}

fn block(xattrs: &[&Xattr]) -> Vec<u8> {
    let mut block = region(xattrs, BLOCK, BLOCK_HEADER);
    let hash = xattrs.iter().fold(0u32, |hash, xattr| hash.rotate_left(16) ^ hash_of(xattr));
    for (at, field) in [MAGIC, 1, 1, hash].into_iter().enumerate() {
        put(&mut block, at * 4, &field.to_le_bytes());
    }
    block
}

/// Entries from `start` on, and values from the end backwards.
fn region(xattrs: &[&Xattr], bytes: usize, start: usize) -> Vec<u8> {
    let mut region = vec![0; bytes];
    let (mut at, mut end) = (start, bytes);
    for xattr in xattrs {
        end -= xattr.value.len().next_multiple_of(4);
        let value_at = if xattr.value.is_empty() { 0 } else { end };
        put(&mut region, at, &[xattr.name.len() as u8, xattr.space as u8]);
        put(&mut region, at + 2, &(value_at as u16).to_le_bytes());
        put(&mut region, at + 8, &(xattr.value.len() as u32).to_le_bytes());
        put(&mut region, at + 12, &hash_of(xattr).to_le_bytes());
        put(&mut region, at + ENTRY, &xattr.name);
        put(&mut region, end, &xattr.value);
        at += (ENTRY + xattr.name.len()).next_multiple_of(4);
    }
    region
}

/// The hash of an attribute, over its name and its value in words.
fn hash_of(xattr: &Xattr) -> u32 {
    let name = xattr.name.iter().fold(0u32, |hash, byte| hash.rotate_left(5) ^ u32::from(*byte));
    let words = xattr.value.chunks(4).map(|chunk| {
        let mut word = [0; 4];
        put(&mut word, 0, chunk);
        u32::from_le_bytes(word)
    });
    words.fold(name, |hash, word| hash.rotate_left(16) ^ word)
}
