//! Layers of tests, in memory.

use super::Root;
use crate::DiskError;
use crate::budget::Budget;
use crate::layer::{Found, Layer, Names, join};
use crate::node::{Kind, Meta, Segment, Space, Xattr};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// A layer: what is at each path.
#[derive(Default)]
pub(crate) struct Memory {
    files: BTreeMap<String, File>,
}

struct File {
    meta: Meta,
    content: Vec<u8>,
    xattrs: Vec<Xattr>,
}

/// The root of these layers, the topmost first.
pub(crate) fn root_of(layers: Vec<Memory>) -> Root {
    let layers = layers.into_iter().map(|layer| Box::new(layer) as Box<dyn Layer>).collect();
    Root::of(layers, Rc::new(Budget::new(None, Arc::default())))
}

impl Memory {
    fn add(&mut self, path: &str, kind: Kind, content: &[u8]) -> &mut Self {
        let inode = self.files.len() as u64 + 100;
        let size = content.len() as u64;
        let (mode, links, device) = (0o644, 1, (0, 0));
        let meta = Meta {
            inode,
            kind,
            mode,
            uid: 1,
            gid: 70_000,
            size,
            links,
            modified: 9,
            modified_nanos: 5,
            device,
        };
        self.files.insert(path.to_owned(), File { meta, content: content.to_vec(), xattrs: vec![] });
        self
    }

    pub(crate) fn file(&mut self, path: &str, content: &str) -> &mut Self {
        self.add(path, Kind::File, content.as_bytes())
    }

    pub(crate) fn directory(&mut self, path: &str) -> &mut Self {
        self.add(path, Kind::Directory, b"")
    }

    pub(crate) fn link(&mut self, path: &str, target: &str) -> &mut Self {
        self.add(path, Kind::Symlink, target.as_bytes())
    }

    pub(crate) fn whiteout(&mut self, path: &str) -> &mut Self {
        self.add(path, Kind::Character, b"")
    }

    pub(crate) fn hard_link(&mut self, path: &str, to: &str) -> &mut Self {
        let file = self.files.get_mut(to).unwrap();
        file.meta.links += 1;
        let (meta, content, xattrs) = (file.meta.clone(), file.content.clone(), file.xattrs.clone());
        self.files.insert(path.to_owned(), File { meta, content, xattrs });
        self
    }

    pub(crate) fn attribute(&mut self, path: &str, name: &str, value: &[u8]) -> &mut Self {
        let space = if name.starts_with("overlay.") { Space::Trusted } else { Space::User };
        let xattr = Xattr { space, name: name.into(), value: value.to_vec() };
        self.files.get_mut(path).unwrap().xattrs.push(xattr);
        self
    }

    fn at(&self, found: &Found) -> &File {
        &self.files[std::str::from_utf8(&found.path).unwrap()]
    }
}

impl Layer for Memory {
    fn root(&self) -> Result<Found, DiskError> {
        let mut root = Self::default();
        let meta = root.directory("").files[""].meta.clone();
        Ok(Found { meta: Meta { inode: 1, ..meta }, path: vec![] })
    }

    fn names(&self, directory: &Found) -> Result<Names, DiskError> {
        let mut names = Names::new();
        for (path, file) in &self.files {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            if parent.as_bytes() == directory.path {
                let path = join(&directory.path, name.as_bytes());
                names.insert(name.into(), Found { meta: file.meta.clone(), path });
            }
        }
        Ok(names)
    }

    fn target(&self, link: &Found) -> Result<Vec<u8>, DiskError> {
        Ok(self.at(link).content.clone())
    }

    fn xattrs(&self, found: &Found) -> Result<Vec<Xattr>, DiskError> {
        Ok(if found.path.is_empty() { vec![] } else { self.at(found).xattrs.clone() })
    }

    fn segments(&self, file: &Found) -> Result<Vec<Segment>, DiskError> {
        let len = file.meta.size;
        Ok(if len == 0 { vec![] } else { vec![Segment { offset: 0, len }] })
    }

    fn read(&self, file: &Found, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let offset = usize::try_from(offset).unwrap();
        buffer.copy_from_slice(&self.at(file).content[offset..offset + buffer.len()]);
        Ok(())
    }
}
