//! Finding: what is in a directory, and what a path leads to.

use super::{Node, OVERLAY, Place, Root, is_directory};
use crate::DiskError;
use crate::error::damaged;
use crate::layer::{Found, join};
use crate::node::{Kind, Space};
use std::collections::{BTreeMap, BTreeSet};

/// Symbolic links on the way to one file, as in Linux.
const MAX_LINKS: usize = 40;
const MAX_PATH: usize = 4096;

/// What a directory's attributes say about the layers below.
enum Below {
    /// Nothing of them shows.
    Hidden,
    /// The same name counts there.
    Same,
    /// Another name in the same directories counts.
    Renamed(Vec<u8>),
    /// A path from the root counts.
    Moved(Vec<u8>),
}

impl Root {
    /// The root itself.
    pub fn top(&self) -> Result<Node, DiskError> {
        let mut places = vec![];
        for (layer, file_system) in self.layers.iter().enumerate() {
            let place = Place { layer, found: file_system.root()? };
            let is_last = matches!(self.below(&place)?, Below::Hidden);
            places.push(place);
            if is_last {
                break;
            }
        }
        let Some(first) = places.first() else { return damaged("it has no layers") };
        Ok(Node { path: vec![], meta: first.found.meta.clone(), places })
    }

    /// What is in a directory, by name. Fails when it is none.
    pub fn children(&self, directory: &Node) -> Result<BTreeMap<Vec<u8>, Node>, DiskError> {
        if directory.meta.kind != Kind::Directory {
            return Err(DiskError::NotADirectory);
        }
        if Self::is_mounted_over(directory) {
            return Ok(BTreeMap::new());
        }
        let mut names = BTreeSet::new();
        for place in &directory.places {
            names.extend(self.names(place)?.keys().cloned());
        }
        let mut children = BTreeMap::new();
        for name in names {
            if let Some(child) = self.child(directory, &name)? {
                children.insert(name, child);
            }
        }
        Ok(children)
    }

    /// What a name in a directory stands for, if for anything.
    fn child(&self, directory: &Node, name: &[u8]) -> Result<Option<Node>, DiskError> {
        if Self::is_mounted_over(directory) {
            return Ok(None);
        }
        let (mut places, mut name_below, mut moved) = (vec![], name.to_vec(), None::<Vec<u8>>);
        for (layer, parent) in self.parents(directory) {
            let found = match (&moved, parent) {
                (Some(path), _) => self.walk_layer(layer, path)?,
                (None, Some(parent)) => self.names(parent)?.get(&name_below).cloned(),
                (None, None) => None,
            };
            let Some(found) = found else { continue };
            if found.meta.is_whiteout() || (!is_directory(&found) && !places.is_empty()) {
                break;
            }
            let (is_file, place) = (!is_directory(&found), Place { layer, found });
            let below = if is_file { Below::Hidden } else { self.below(&place)? };
            places.push(place);
            match below {
                Below::Hidden => break,
                Below::Same => {}
                Below::Renamed(name) => name_below = name,
                Below::Moved(path) => moved = Some(path),
            }
        }
        let Some(first) = places.first() else { return Ok(None) };
        let path = join(&directory.path, name);
        if path.len() > MAX_PATH {
            return damaged("a path is longer than paths can be");
        }
        Ok(Some(Node { path, meta: first.found.meta.clone(), places }))
    }

    /// All layers from the topmost that the directory is in, each with the directory's place in it, if it has one there.
    fn parents<'a>(&self, directory: &'a Node) -> impl Iterator<Item = (usize, Option<&'a Place>)> + use<'a> {
        let first = directory.places.first().map_or(0, |place| place.layer);
        (first..self.layers.len())
            .map(|layer| (layer, directory.places.iter().find(|place| place.layer == layer)))
    }

    /// A path in one layer, without following links.
    fn walk_layer(&self, layer: usize, path: &[u8]) -> Result<Option<Found>, DiskError> {
        let mut found = self.layer(layer)?.root()?;
        for part in parts(path) {
            if !is_directory(&found) {
                return Ok(None);
            }
            let Some(next) = self.names(&Place { layer, found })?.get(part).cloned() else { return Ok(None) };
            found = next;
        }
        Ok(Some(found))
    }

    /// What a directory says about the layers below its own.
    fn below(&self, place: &Place) -> Result<Below, DiskError> {
        if place.layer + 1 >= self.layers.len() {
            return Ok(Below::Hidden);
        }
        let xattrs = self.layer(place.layer)?.xattrs(&place.found)?;
        let own = |name: &[u8]| {
            let is_it =
                |space, full: &[u8]| space == Space::Trusted && full.strip_prefix(OVERLAY) == Some(name);
            xattrs.iter().find(|xattr| is_it(xattr.space, &xattr.name)).map(|xattr| &xattr.value[..])
        };
        if own(b"opaque") == Some(b"y") {
            return Ok(Below::Hidden);
        }
        Ok(match own(b"redirect") {
            None => Below::Same,
            Some(path) if path.starts_with(b"/") => Below::Moved(path.to_vec()),
            Some(name) if !name.is_empty() && !name.contains(&b'/') => Below::Renamed(name.to_vec()),
            Some(_) => return damaged("a directory was renamed from nowhere"),
        })
    }

    /// What a path from the root leads to. Links on the way lead to where they would in the guest, never out of the root; one at the
    /// end is followed where `follow` says so.
    pub fn find(&self, path: &[u8], follow: bool) -> Result<Node, DiskError> {
        let mut pending: Vec<Vec<u8>> = parts(path).rev().map(<[u8]>::to_vec).collect();
        let mut way = vec![self.top()?];
        let mut links = 0;
        while let Some(part) = pending.pop() {
            let Some(here) = way.last() else { return Err(DiskError::NotFound) };
            if here.meta.kind != Kind::Directory {
                return Err(DiskError::NotADirectory);
            }
            if part == b".." {
                way.truncate((way.len() - 1).max(1));
                continue;
            }
            let node = self.child(here, &part)?.ok_or(DiskError::NotFound)?;
            if node.meta.kind != Kind::Symlink || (pending.is_empty() && !follow) {
                way.push(node);
                continue;
            }
            links += 1;
            let target = self.target(&node)?;
            pending.extend(parts(&target).rev().map(<[u8]>::to_vec));
            if links > MAX_LINKS || pending.len() > MAX_PATH {
                return Err(DiskError::TooManyLinks);
            }
            if target.starts_with(b"/") {
                way.truncate(1);
            }
        }
        way.pop().ok_or(DiskError::NotFound)
    }
}

fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".")
}
