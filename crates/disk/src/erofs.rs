//! Images of environments and seeds: EROFS, made by pyro.
//!
//! Their reader is the asynchronous one, since it asks a source for bytes where the other wants the whole image in its address
//! space. The source never waits, so each call is done when it is looked at for the first time.

use crate::DiskError;
use crate::budget::Budget;
use crate::layer::{Found, Layer, Names, join};
use crate::node::{Kind, Meta, Segment, Space, Xattr};
use erofs_rs::r#async::EroFS;
use erofs_rs::backend::AsyncImage;
use erofs_rs::types::Inode;
use futures::FutureExt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;

/// Access control lists as programs see them: their version, and bytes of an entry.
const ACL_SEEN: (u32, usize) = (2, 8);
/// The version of the same as ext4 keeps them.
const ACL_KEPT: u32 = 1;
/// Entries of a list that name somebody.
const ACL_NAMED: [u16; 2] = [2, 8];

/// A file that is read where the reader asks.
struct Source(File);

impl AsyncImage for Source {
    async fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> erofs_rs::Result<()> {
        self.0.read_exact_at(buffer, offset).map_err(|error| erofs_rs::Error::OutOfBounds(error.to_string()))
    }
}

/// An image.
pub(crate) struct Erofs {
    reader: EroFS<Source>,
    budget: Rc<Budget>,
}

impl Erofs {
    pub(crate) fn open(path: &Path, budget: Rc<Budget>) -> Result<Self, DiskError> {
        let file = File::open(path).map_err(DiskError::read)?;
        Ok(Self { reader: done(EroFS::new(Source(file)))?, budget })
    }

    fn inode(&self, found: &Found) -> Result<Inode, DiskError> {
        self.budget.check()?;
        done(self.reader.get_inode(found.meta.inode))
    }
}

/// The outcome of a call that has nothing to wait for.
fn done<T>(call: impl Future<Output = erofs_rs::Result<T>>) -> Result<T, DiskError> {
    let outcome = call.now_or_never();
    let outcome = outcome.ok_or_else(|| DiskError::Image { what: "its reader waits".to_owned() })?;
    outcome.map_err(|error| DiskError::Image { what: error.to_string() })
}

impl Layer for Erofs {
    fn root(&self) -> Result<Found, DiskError> {
        let inode = done(self.reader.get_inode(self.reader.super_block().root_inode_id()))?;
        Ok(Found { meta: meta(&inode)?, path: vec![] })
    }

    fn names(&self, directory: &Found) -> Result<Names, DiskError> {
        let mut names = Names::new();
        let mut entries = done(self.reader.read_dir(&directory.path[..]))?;
        // It returns `None` at the end.
        while let Some(entry) = entries.next_entry().now_or_never().flatten() {
            self.budget.check()?;
            let entry = entry.map_err(|error| DiskError::Image { what: error.to_string() })?;
            let name = entry.dir_entry.file_name().to_vec();
            let path = join(&directory.path, &name);
            names.insert(name, Found { meta: meta(&entry.inode)?, path });
        }
        Ok(names)
    }

    fn target(&self, link: &Found) -> Result<Vec<u8>, DiskError> {
        Ok(done(self.reader.read_link_inode(self.inode(link)?))?.into_vec())
    }

    fn xattrs(&self, found: &Found) -> Result<Vec<Xattr>, DiskError> {
        let all = done(self.reader.xattrs_inode(self.inode(found)?))?;
        Ok(all.into_iter().filter_map(|(name, value)| kept(&name, value)).collect())
    }

    fn segments(&self, file: &Found) -> Result<Vec<Segment>, DiskError> {
        let len = file.meta.size;
        Ok(if len == 0 { vec![] } else { vec![Segment { offset: 0, len }] })
    }

    fn read(&self, file: &Found, mut offset: u64, mut buffer: &mut [u8]) -> Result<(), DiskError> {
        let file = self.reader.open_inode_file(self.inode(file)?);
        let file = file.map_err(|error| DiskError::Image { what: error.to_string() })?;
        while !buffer.is_empty() {
            let count = done(file.read_at(buffer, offset))?;
            if count == 0 {
                return Err(DiskError::Image { what: "a file ends before its end".to_owned() });
            }
            buffer = buffer.split_at_mut(count).1;
            offset += count as u64;
        }
        Ok(())
    }
}

fn meta(inode: &Inode) -> Result<Meta, DiskError> {
    let kind = inode.file_type();
    let kind = match (kind.is_file(), kind.is_dir(), kind.is_symlink()) {
        (true, ..) => Kind::File,
        (_, true, _) => Kind::Directory,
        (.., true) => Kind::Symlink,
        _ if kind.is_char_device() => Kind::Character,
        _ if kind.is_block_device() => Kind::Block,
        _ if kind.is_fifo() => Kind::Pipe,
        _ if kind.is_socket() => Kind::Socket,
        _ => return Err(DiskError::Image { what: "a file of an unknown kind".to_owned() }),
    };
    let (modified, modified_nanos) = inode.modified_unix();
    Ok(Meta {
        inode: inode.id(),
        kind,
        mode: inode.permissions(),
        uid: inode.uid(),
        gid: inode.gid(),
        size: inode.data_size(),
        links: inode.nlink(),
        modified,
        modified_nanos,
        device: inode.device().unwrap_or_default(),
    })
}

/// An attribute as ext4 keeps it, unless it has no place for such.
fn kept(name: &[u8], value: Vec<u8>) -> Option<Xattr> {
    let space = Space::ALL.into_iter().find(|space| name.starts_with(space.prefix()))?;
    let name = name[space.prefix().len()..].to_vec();
    match space {
        Space::AclAccess | Space::AclDefault => {
            Some(Xattr { space, name: vec![], value: kept_acl(&value).filter(|_| name.is_empty())? })
        }
        _ => Some(Xattr { space, name, value }).filter(|xattr| !xattr.name.is_empty()),
    }
}

/// An access control list as ext4 keeps it: without the numbers of those who need none.
fn kept_acl(seen: &[u8]) -> Option<Vec<u8>> {
    let (version, entry_bytes) = ACL_SEEN;
    let (header, entries) = seen.split_at_checked(4)?;
    if header != version.to_le_bytes() || entries.len() % entry_bytes != 0 {
        return None;
    }
    let mut kept = ACL_KEPT.to_le_bytes().to_vec();
    for entry in entries.chunks_exact(entry_bytes) {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        kept.extend_from_slice(if ACL_NAMED.contains(&tag) { entry } else { &entry[..4] });
    }
    Some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_kept_as_ext4_has_them() {
        let user = kept(b"user.a", b"1".to_vec()).unwrap();
        assert_eq!((user.space, &*user.name, &*user.value), (Space::User, &b"a"[..], &b"1"[..]));
        assert_eq!(kept(b"user.", vec![]), None);
        assert_eq!(kept(b"other.a", vec![]), None);
        let list =
            [&2u32.to_le_bytes()[..], &[1, 0, 6, 0, 255, 255, 255, 255], &[2, 0, 4, 0, 5, 0, 0, 0]].concat();
        let expected = [&1u32.to_le_bytes()[..], &[1, 0, 6, 0], &[2, 0, 4, 0, 5, 0, 0, 0]].concat();
        assert_eq!(kept(b"system.posix_acl_access", list).unwrap().value, expected);
        assert_eq!(kept(b"system.posix_acl_access", vec![2, 0]), None);
    }
}
