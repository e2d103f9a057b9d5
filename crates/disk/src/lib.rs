//! The file systems of a workspace that is stopped, without a kernel: read, joined as overlayfs joins them, written as one.
//!
//! - [`Root`] is the root of a workspace as its guest would see it: the ext4 disk that it writes to above EROFS images;
//! - [`write_root`] writes all of it as one ext4 file system;
//! - [`Budget`] bounds what reading it may cost.
//!
//! The disk was written by a guest that is hostile until proven otherwise; the images are pyro's own. Nothing here is unsafe
//! code, indexes what it was not asked for, or recurses deeper than a few levels; a file system that contradicts itself is an
//! error of its own ([`DiskError::Damaged`]). All of it blocks.

mod budget;
mod bytes;
mod erofs;
mod error;
mod ext4;
mod image;
mod layer;
mod node;
mod overlay;

pub use budget::Budget;
pub use error::DiskError;
pub use image::{ImageOptions, Rewrite, WrittenImage, write_root};
pub use node::{Kind, Meta, Segment, Space, Xattr};
pub use overlay::{Node, Root, Walk};
