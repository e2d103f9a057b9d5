//! Directories: blocks of names, without an index.

use super::plan::Name;
use crate::bytes::put;
use crate::ext4::BLOCK;
use crate::node::Kind;

const HEADER: usize = 8;

/// The blocks of a directory with these names, and its own and its parent's.
pub(super) fn blocks(inode: u32, parent: u32, names: &[Name]) -> Vec<Vec<u8>> {
    let own = [(&b"."[..], inode), (b"..", parent)].map(|(name, inode)| (name, inode, Kind::Directory));
    let others = names.iter().map(|name| (&name.text[..], name.inode, name.kind));
    let (mut blocks, mut block, mut at, mut last) = (vec![], vec![0; BLOCK], 0, 0);
    for (name, inode, kind) in own.into_iter().chain(others) {
        let len = (HEADER + name.len()).next_multiple_of(4);
        if at + len > BLOCK {
            close(&mut block, last);
            blocks.push(std::mem::replace(&mut block, vec![0; BLOCK]));
            at = 0;
        }
        put(&mut block, at, &inode.to_le_bytes());
        put(&mut block, at + 4, &(len as u16).to_le_bytes());
        put(&mut block, at + 6, &[name.len() as u8, type_of(kind)]);
        put(&mut block, at + HEADER, name);
        (last, at) = (at, at + len);
    }
    close(&mut block, last);
    blocks.push(block);
    blocks
}

/// The last entry of a block reaches to its end.
fn close(block: &mut [u8], last: usize) {
    put(block, last + 4, &((BLOCK - last) as u16).to_le_bytes());
}

fn type_of(kind: Kind) -> u8 {
    match kind {
        Kind::File => 1,
        Kind::Directory => 2,
        Kind::Character => 3,
        Kind::Block => 4,
        Kind::Pipe => 5,
        Kind::Socket => 6,
        Kind::Symlink => 7,
    }
}
