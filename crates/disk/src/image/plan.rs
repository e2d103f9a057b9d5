//! What is to be written.

use super::{ImageOptions, directory};
use crate::error::damaged;
use crate::ext4::BLOCK;
use crate::node::{Kind, Meta, Segment, Xattr};
use crate::{DiskError, Node, Root};
use std::collections::HashMap;

/// The inode of the root, and of the directory that a check of the file system wants to have.
pub(super) const ROOT: u32 = 2;
pub(super) const LOST_AND_FOUND: u32 = 11;
const LOST_AND_FOUND_NAME: &[u8] = b"lost+found";

/// More files than a workspace's disk has inodes for.
const MAX_FILES: u64 = 1 << 20;
const MAX_LINKS: u32 = 65_000;
const MAX_TARGET: usize = 4095;
/// Bytes of a file that are read at a time.
pub(super) const CHUNK: usize = 1 << 20;

/// Everything, by inode; the first is the root.
pub(super) struct Plan {
    pub(super) entries: Vec<Entry>,
}

/// A file of whichever kind.
pub(super) struct Entry {
    /// `None` for what the image has and the root has not.
    pub(super) node: Option<Node>,
    pub(super) inode: u32,
    pub(super) meta: Meta,
    pub(super) links: u32,
    pub(super) xattrs: Vec<Xattr>,
    pub(super) content: Content,
}

/// What a file holds.
pub(super) enum Content {
    Nothing,
    Data { pieces: Vec<Piece>, size: u64 },
    Target(Vec<u8>),
    Names { parent: u32, names: Vec<Name> },
}

/// A part of a file with data.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    /// Where it is read.
    pub(super) source: Segment,
    /// Where it goes in the file, a multiple of a block.
    pub(super) offset: u64,
    /// How long it is there.
    pub(super) len: u64,
}

/// A name in a directory.
#[derive(Debug, Clone)]
pub(super) struct Name {
    pub(super) text: Vec<u8>,
    pub(super) inode: u32,
    pub(super) kind: Kind,
}

impl Entry {
    /// Blocks of its content, without those that say where they are.
    pub(super) fn blocks(&self) -> u64 {
        match &self.content {
            Content::Nothing => 0,
            Content::Data { pieces, .. } => pieces.iter().map(|piece| piece.len.div_ceil(BLOCK as u64)).sum(),
            Content::Target(_) => 1,
            Content::Names { parent, names } => directory::blocks(self.inode, *parent, names).len() as u64,
        }
    }

    /// How many parts it may be in.
    pub(super) fn pieces(&self) -> u64 {
        if let Content::Data { pieces, .. } = &self.content { pieces.len() as u64 } else { 1 }
    }
}

/// A plan that is being made.
struct Planner<'a, 'b> {
    root: &'a Root,
    options: &'a mut ImageOptions<'b>,
    entries: Vec<Entry>,
    directories: HashMap<Vec<u8>, usize>,
    /// Files with several names, by what they are.
    linked: HashMap<(usize, u64), usize>,
    next: u32,
}

impl Plan {
    pub(super) fn of(root: &Root, options: &mut ImageOptions<'_>) -> Result<Self, DiskError> {
        let mut planner = Planner {
            root,
            options,
            entries: vec![],
            directories: HashMap::new(),
            linked: HashMap::new(),
            next: LOST_AND_FOUND + 1,
        };
        let top = root.top()?;
        planner.add(top.clone(), ROOT, ROOT)?;
        let mut walk = root.walk(&top, true, MAX_FILES)?;
        while let Some(node) = walk.next_node()? {
            planner.take(node)?;
        }
        planner.add_lost_and_found();
        Ok(Self { entries: planner.entries })
    }
}

impl Planner<'_, '_> {
    /// Takes what is in a directory that was taken before.
    fn take(&mut self, node: Node) -> Result<(), DiskError> {
        let (directory, name) = match node.path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&node.path[..at], &node.path[at + 1..]),
            None => (&[][..], &node.path[..]),
        };
        let Some(directory) = self.directories.get(directory).copied() else {
            return damaged("a file is in no directory");
        };
        let (name, kind) = (name.to_vec(), node.meta.kind);
        let is_linked = kind != Kind::Directory && node.meta.links > 1;
        let known = self.linked.get(&node.identity()).copied().filter(|_| is_linked);
        let inode = if let Some(entry) = known.and_then(|known| self.entries.get_mut(known)) {
            entry.links += 1;
            if entry.links > MAX_LINKS {
                return Err(DiskError::TooMany { what: "names of one file", max: u64::from(MAX_LINKS) });
            }
            entry.inode
        } else {
            let is_lost = node.path == LOST_AND_FOUND_NAME && kind == Kind::Directory;
            let inode = if is_lost { LOST_AND_FOUND } else { self.number() };
            let parent = self.entries.get(directory).map_or(ROOT, |entry| entry.inode);
            if is_linked {
                self.linked.insert(node.identity(), self.entries.len());
            }
            self.add(node, inode, parent)?;
            inode
        };
        self.name(directory, Name { text: name, inode, kind });
        Ok(())
    }

    fn number(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }

    fn name(&mut self, directory: usize, name: Name) {
        if let Some(entry) = self.entries.get_mut(directory)
            && let Content::Names { names, .. } = &mut entry.content
        {
            entry.links += u32::from(name.kind == Kind::Directory);
            names.push(name);
        }
    }

    fn add(&mut self, node: Node, inode: u32, parent: u32) -> Result<(), DiskError> {
        let mut meta = node.meta.clone();
        let content = match meta.kind {
            Kind::Directory => {
                self.directories.insert(node.path.clone(), self.entries.len());
                Content::Names { parent, names: vec![] }
            }
            Kind::File => {
                let (pieces, size) = self.pieces(&node)?;
                meta.size = size;
                Content::Data { pieces, size }
            }
            Kind::Symlink => {
                let mut target = self.rewritten(self.root.target(&node)?);
                target.truncate(MAX_TARGET);
                meta.size = target.len() as u64;
                Content::Target(target)
            }
            Kind::Character | Kind::Block | Kind::Pipe | Kind::Socket => Content::Nothing,
        };
        let mut xattrs = self.root.xattrs(&node)?;
        for xattr in &mut xattrs {
            xattr.value = self.rewritten(std::mem::take(&mut xattr.value));
        }
        let links = if meta.kind == Kind::Directory { 2 } else { 1 };
        self.entries.push(Entry { node: Some(node), inode, meta, links, xattrs, content });
        Ok(())
    }

    /// Where the parts of a file go. Those that are rewritten change their lengths; holes keep theirs.
    fn pieces(&mut self, node: &Node) -> Result<(Vec<Piece>, u64), DiskError> {
        let (mut pieces, mut read, mut written) = (vec![], 0, 0u64);
        for source in self.root.segments(node)? {
            let offset = written.next_multiple_of(BLOCK as u64) + source.offset.saturating_sub(read);
            let len = self.rewritten_len(node, source)?;
            if len > 0 {
                pieces.push(Piece { source, offset, len });
            }
            (read, written) = ((source.offset + source.len).next_multiple_of(BLOCK as u64), offset + len);
        }
        let hole = node.meta.size.saturating_sub(read);
        let size = if hole == 0 { written } else { written.next_multiple_of(BLOCK as u64) + hole };
        Ok((pieces, size))
    }

    fn rewritten_len(&mut self, node: &Node, source: Segment) -> Result<u64, DiskError> {
        let Some(rewrite) = self.options.rewrite.as_deref_mut() else { return Ok(source.len) };
        let (mut len, mut offset) = (0, source.offset);
        let (mut buffer, mut out) = (vec![0; CHUNK], vec![]);
        let end = source.offset + source.len;
        while offset < end {
            let count = CHUNK.min(usize::try_from(end - offset).unwrap_or(CHUNK));
            let piece = &mut buffer[..count];
            self.root.read(node, offset, piece)?;
            rewrite.push(piece, &mut out);
            offset += count as u64;
            len += out.len() as u64;
            out.clear();
        }
        rewrite.finish(&mut out);
        Ok(len + out.len() as u64)
    }

    fn rewritten(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        let Some(rewrite) = self.options.rewrite.as_deref_mut() else { return bytes };
        let mut out = vec![];
        rewrite.push(&bytes, &mut out);
        rewrite.finish(&mut out);
        out
    }

    fn add_lost_and_found(&mut self) {
        if self.entries.iter().any(|entry| entry.inode == LOST_AND_FOUND) {
            return;
        }
        let meta = Meta {
            inode: u64::from(LOST_AND_FOUND),
            kind: Kind::Directory,
            mode: 0o700,
            uid: 0,
            gid: 0,
            size: 0,
            links: 2,
            modified: self.options.now,
            modified_nanos: 0,
            device: (0, 0),
        };
        let content = Content::Names { parent: ROOT, names: vec![] };
        let inode = LOST_AND_FOUND;
        self.entries.push(Entry { node: None, inode, meta, links: 2, xattrs: vec![], content });
        let names = self.entries.first().is_some_and(
            |top| matches!(&top.content, Content::Names { names, .. } if names.iter().any(|name| name.text == LOST_AND_FOUND_NAME)),
        );
        // Where something else has that name, the directory could not be found.
        if names {
            self.entries.pop();
        } else {
            self.name(0, Name { text: LOST_AND_FOUND_NAME.to_vec(), inode, kind: Kind::Directory });
        }
    }
}
