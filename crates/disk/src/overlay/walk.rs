//! Everything beneath a directory, each before what is in it, by name.

use super::{Node, Root};
use crate::DiskError;
use crate::error::damaged;
use crate::node::Kind;
use std::collections::HashSet;

/// A walk that is under way. It has a stack of its own, because a tree may be deeper than the thread's.
pub struct Walk<'a> {
    root: &'a Root,
    /// What comes next, the next at the end.
    pending: Vec<Node>,
    entered: HashSet<(usize, u64)>,
    recursive: bool,
    left: u64,
    most: u64,
}

impl Root {
    /// Walks over what is in a directory, and where it is `recursive`, over everything beneath. Fails when there is more than
    /// `most`.
    pub fn walk<'a>(&'a self, directory: &Node, recursive: bool, most: u64) -> Result<Walk<'a>, DiskError> {
        let mut walk =
            Walk { root: self, pending: vec![], entered: HashSet::new(), recursive, left: most, most };
        walk.enter(directory)?;
        Ok(walk)
    }
}

impl Walk<'_> {
    fn enter(&mut self, directory: &Node) -> Result<(), DiskError> {
        // A disk that was tampered with can have a directory in itself.
        let (layer, _) = directory.identity();
        if layer == 0 && !self.entered.insert(directory.identity()) {
            return damaged("a directory is in two places");
        }
        self.pending.extend(self.root.children(directory)?.into_values().rev());
        if self.pending.len() as u64 > self.left {
            return Err(DiskError::TooMany { what: "files", max: self.most });
        }
        Ok(())
    }

    /// What comes next, if anything.
    pub fn next_node(&mut self) -> Result<Option<Node>, DiskError> {
        let Some(node) = self.pending.pop() else { return Ok(None) };
        self.left = self.left.checked_sub(1).ok_or(DiskError::TooMany { what: "files", max: self.most })?;
        if self.recursive && node.meta.kind == Kind::Directory {
            self.enter(&node)?;
        }
        Ok(Some(node))
    }
}
