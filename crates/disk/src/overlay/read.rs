//! What is in files, links and attributes.

use super::{Node, OVERLAY, Place, Root};
use crate::DiskError;
use crate::error::damaged;
use crate::layer::Layer;
use crate::node::{Segment, Space, Xattr};

impl Root {
    fn source<'a>(&'a self, node: &'a Node) -> Result<(&'a dyn Layer, &'a Place), DiskError> {
        let Some(place) = node.places.first() else { return damaged("a file is in no layer") };
        Ok((self.layer(place.layer)?, place))
    }

    /// The target of a symbolic link.
    pub fn target(&self, link: &Node) -> Result<Vec<u8>, DiskError> {
        let (layer, place) = self.source(link)?;
        layer.target(&place.found)
    }

    /// The extended attributes, without those that overlayfs has for itself.
    pub fn xattrs(&self, node: &Node) -> Result<Vec<Xattr>, DiskError> {
        let (layer, place) = self.source(node)?;
        let mut xattrs = layer.xattrs(&place.found)?;
        xattrs.retain(|xattr| xattr.space != Space::Trusted || !xattr.name.starts_with(OVERLAY));
        Ok(xattrs)
    }

    /// Where a file holds data, in order and apart from each other.
    pub fn segments(&self, file: &Node) -> Result<Vec<Segment>, DiskError> {
        let (layer, place) = self.source(file)?;
        layer.segments(&place.found)
    }

    /// Fills `buffer` from `offset` of a file that reaches so far.
    pub fn read(&self, file: &Node, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let (layer, place) = self.source(file)?;
        layer.read(&place.found, offset, buffer)
    }

    /// The beginning of a file, at most `most` bytes.
    pub fn beginning(&self, file: &Node, most: u64) -> Result<Vec<u8>, DiskError> {
        let len = usize::try_from(file.meta.size.min(most)).or_else(|_| damaged("a file is too long"))?;
        let mut content = vec![0; len];
        self.read(file, 0, &mut content)?;
        Ok(content)
    }
}
