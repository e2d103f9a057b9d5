//! A layer of the overlay: one file system that is read.

use crate::DiskError;
use crate::node::{Meta, Segment, Xattr};
use std::collections::BTreeMap;

/// Something in a layer.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) meta: Meta,
    /// Where it is in its layer, which some layers find it by; relative, empty for the root.
    pub(crate) path: Vec<u8>,
}

/// What is in a directory, by name.
pub(crate) type Names = BTreeMap<Vec<u8>, Found>;

/// One file system.
pub(crate) trait Layer {
    /// Its root, or the directory in it that stands for one.
    fn root(&self) -> Result<Found, DiskError>;

    /// What is in a directory.
    fn names(&self, directory: &Found) -> Result<Names, DiskError>;

    /// The target of a symbolic link.
    fn target(&self, link: &Found) -> Result<Vec<u8>, DiskError>;

    /// The extended attributes.
    fn xattrs(&self, found: &Found) -> Result<Vec<Xattr>, DiskError>;

    /// Where a file holds data, in order and apart from each other.
    fn segments(&self, file: &Found) -> Result<Vec<Segment>, DiskError>;

    /// Fills `buffer` from `offset` of a file that reaches so far.
    fn read(&self, file: &Found, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError>;
}

/// The path of a name in a directory.
pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}
