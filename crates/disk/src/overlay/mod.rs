//! The root of a workspace, as overlayfs shows it: what its disk has above the images that nothing writes to.
//!
//! The rules are those of the mount that the guest's agent makes, without `index` and `metacopy`, and with `redirect_dir`:
//!
//! - the topmost layer that has a name says what it is; a whiteout (a character device 0, 0) says that there is none;
//! - directories of one name are joined, from the top to the first that is opaque, or the first name that is no directory;
//! - a directory that was renamed says what it was called in the layers below, by name or by path.
//!
//! What is mounted over a directory in the guest is in memory there, and gone: such directories are empty.

mod lookup;
mod read;
mod walk;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use walk::Walk;

use crate::DiskError;
use crate::budget::Budget;
use crate::erofs::Erofs;
use crate::ext4::Ext4;
use crate::layer::{Found, Layer, Names};
use crate::node::{Kind, Meta};
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

/// Where the guest has file systems in memory, or of its machine.
const MOUNTED: [&[u8]; 4] = [b"dev", b"proc", b"run", b"sys"];
/// Attributes that overlayfs keeps for itself.
const OVERLAY: &[u8] = b"overlay.";
/// Names that are kept, of directories that were looked into, until there are so many.
const KEPT_NAMES: usize = 1 << 17;

/// The layers, from the top.
pub struct Root {
    layers: Vec<Box<dyn Layer>>,
    budget: Rc<Budget>,
    kept: RefCell<Kept>,
}

/// What is in directories that were looked into, by layer and inode.
#[derive(Default)]
struct Kept {
    directories: HashMap<(usize, u64), Rc<Names>>,
    names: usize,
}

/// Something in the root.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where it is, relative to the root, empty for that itself.
    pub path: Vec<u8>,
    /// What it is.
    pub meta: Meta,
    /// Its place in its layer; of a directory the topmost, and then those that it is joined with.
    places: Vec<Place>,
}

#[derive(Debug, Clone)]
struct Place {
    layer: usize,
    found: Found,
}

impl Node {
    /// The file itself, whatever its names: its layer and its inode there.
    pub fn identity(&self) -> (usize, u64) {
        (self.places.first().map_or(0, |place| place.layer), self.meta.inode)
    }
}

impl Root {
    /// Joins the directory `upper` of the ext4 file system in the file `disk` with the EROFS `images`, the topmost first.
    pub fn open(disk: &Path, upper: &[u8], images: &[&Path], budget: Budget) -> Result<Self, DiskError> {
        let budget = Rc::new(budget);
        let mut layers: Vec<Box<dyn Layer>> = vec![Box::new(Ext4::open(disk, upper, &budget)?)];
        for image in images {
            layers.push(Box::new(Erofs::open(image, Rc::clone(&budget))?));
        }
        Ok(Self::of(layers, budget))
    }

    fn of(layers: Vec<Box<dyn Layer>>, budget: Rc<Budget>) -> Self {
        Self { layers, budget, kept: RefCell::default() }
    }

    fn layer(&self, index: usize) -> Result<&dyn Layer, DiskError> {
        self.layers.get(index).map(AsRef::as_ref).ok_or(DiskError::NotFound)
    }

    /// What is in a directory of one layer.
    fn names(&self, place: &Place) -> Result<Rc<Names>, DiskError> {
        self.budget.check()?;
        let key = (place.layer, place.found.meta.inode);
        // Some layers find by path: what is kept may have been found by another one.
        if let Some(kept) = self.kept.borrow().directories.get(&key) {
            return Ok(Rc::clone(kept));
        }
        let names = Rc::new(self.layer(place.layer)?.names(&place.found)?);
        let mut kept = self.kept.borrow_mut();
        if kept.names > KEPT_NAMES {
            *kept = Kept::default();
        }
        kept.names += names.len();
        kept.directories.insert(key, Rc::clone(&names));
        Ok(names)
    }

    fn is_mounted_over(node: &Node) -> bool {
        MOUNTED.contains(&&node.path[..])
    }
}

fn is_directory(found: &Found) -> bool {
    found.meta.kind == Kind::Directory
}
