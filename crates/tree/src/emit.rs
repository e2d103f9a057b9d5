//! Writes an archive in GNU format: every reader takes long names from it, which is not so with pax.

use std::borrow::Cow;
use std::fs::File;
#[cfg(feature = "host")]
use std::io::Read;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
#[cfg(feature = "host")]
use std::time::{SystemTime, UNIX_EPOCH};

use pyro_protocol::limits::MAX_CHUNK_BYTES;
use tar::{EntryType, GnuExtSparseHeader, GnuHeader, GnuSparseHeader, Header};

use crate::{Limits, PERMISSIONS, Totals, TreeError};

/// Size of a header, and what content is padded to.
pub const BLOCK: usize = 512;

/// The same, for offsets.
pub const BLOCK_BYTES: u64 = BLOCK as u64;

/// Where a name that does not fit its header's field is put, by convention.
const LONG_NAME: &[u8] = b"././@LongLink";

static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// A part of a file that holds data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub offset: u64,
    pub length: u64,
}

/// What an entry says beside its content.
#[derive(Debug, Clone, Copy)]
pub struct Meta<'a> {
    pub kind: EntryType,
    pub name: &'a [u8],
    /// The target of a link.
    pub link: &'a [u8],
    pub mode: u32,
    pub owner: (u32, u32),
    pub modified: u64,
}

/// Writes entries one after the other.
pub struct Emitter<'a, W> {
    out: &'a mut W,
    limits: Limits,
    /// What every name begins with, in the archive of a layer.
    layer: Option<Vec<u8>>,
    buffer: Vec<u8>,
    pub totals: Totals,
}

impl<'a, W: Write> Emitter<'a, W> {
    pub fn new(out: &'a mut W, limits: Limits) -> Self {
        Self { out, limits, layer: None, buffer: vec![0; MAX_CHUNK_BYTES], totals: Totals::default() }
    }

    /// Makes it the archive of a layer, with everything beneath the directory `beneath`, which it begins with. What makes
    /// images of archives knows nothing of holes: files are written out.
    #[cfg(feature = "host")]
    pub fn into_layer(mut self, beneath: &str) -> Result<Self, TreeError> {
        self.layer = Some(format!("{beneath}/").into_bytes());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let kind = EntryType::Directory;
        self.bare(&Meta { kind, name: b"", link: b"", mode: 0o755, owner: (0, 0), modified: now })?;
        self.totals.entries -= 1;
        Ok(self)
    }

    /// Whether it is the archive of a layer: complete in itself.
    #[cfg(feature = "host")]
    pub fn is_layer(&self) -> bool {
        self.layer.is_some()
    }

    /// An entry without content.
    pub fn bare(&mut self, meta: &Meta<'_>) -> Result<(), TreeError> {
        self.head(meta, 0, None)
    }

    /// A regular file with `size` bytes, which `content` yields.
    #[cfg(feature = "host")]
    pub fn stream(&mut self, meta: &Meta<'_>, size: u64, content: &mut impl Read) -> Result<(), TreeError> {
        self.head(meta, size, None)?;
        let mut left = size;
        while left > 0 {
            let most = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let count = content.read(&mut self.buffer[..most]).map_err(TreeError::reading)?;
            if count == 0 {
                let short = io::Error::new(io::ErrorKind::UnexpectedEof, "it ends within an entry");
                return Err(crate::Problem::Malformed(short).into());
            }
            self.out.write_all(&self.buffer[..count]).map_err(TreeError::writing)?;
            left -= count as u64;
        }
        self.pad(size)
    }

    /// A regular file of `size` bytes: `extents` of it, everything where there are none. It is exactly as long as the
    /// header says, whatever happens to the file meanwhile: what is missing is zeros.
    pub fn file(
        &mut self,
        meta: &Meta<'_>,
        size: u64,
        extents: Option<&[Extent]>,
        file: &File,
    ) -> Result<(), TreeError> {
        let extents = extents.filter(|_| self.layer.is_none());
        self.head(meta, size, extents)?;
        let whole = [Extent { offset: 0, length: size }];
        let mut stored = 0;
        for extent in extents.unwrap_or(&whole) {
            self.extent(file, *extent)?;
            stored += extent.length;
        }
        self.pad(stored)
    }

    /// The end of the archive.
    pub fn finish(self) -> Result<Totals, TreeError> {
        for _ in 0..2 {
            self.out.write_all(&ZEROS).map_err(TreeError::writing)?;
        }
        Ok(self.totals)
    }

    fn extent(&mut self, file: &File, extent: Extent) -> Result<(), TreeError> {
        let Extent { mut offset, length } = extent;
        let end = offset + length;
        while offset < end {
            let most = self.buffer.len().min(usize::try_from(end - offset).unwrap_or(usize::MAX));
            let chunk = &mut self.buffer[..most];
            let count = match file.read_at(chunk, offset) {
                Ok(0) => {
                    chunk.fill(0);
                    most
                }
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(TreeError::io("read the file", error)),
            };
            self.out.write_all(&self.buffer[..count]).map_err(TreeError::writing)?;
            offset += count as u64;
        }
        Ok(())
    }

    fn head(&mut self, meta: &Meta<'_>, size: u64, extents: Option<&[Extent]>) -> Result<(), TreeError> {
        self.totals.count(size, self.limits)?;
        let mut header = Header::new_gnu();
        header.set_entry_type(meta.kind);
        header.set_mode(meta.mode & PERMISSIONS);
        header.set_uid(meta.owner.0.into());
        header.set_gid(meta.owner.1.into());
        header.set_mtime(meta.modified);
        header.set_size(size);
        let name = self.placed(meta.name);
        if !fits(&mut header.as_old_mut().name, &name) {
            self.long(EntryType::GNULongName, &name).map_err(TreeError::writing)?;
        }
        let link = if meta.kind == EntryType::Link { self.placed(meta.link) } else { meta.link.into() };
        if !fits(&mut header.as_old_mut().linkname, &link) {
            self.long(EntryType::GNULongLink, &link).map_err(TreeError::writing)?;
        }
        let map = match (header.as_gnu_mut(), extents) {
            (Some(gnu), Some(extents)) => sparse_map(gnu, size, extents),
            _ => Vec::new(),
        };
        if let Some(extents) = extents {
            header.set_entry_type(EntryType::GNUSparse);
            header.set_size(extents.iter().map(|extent| extent.length).sum());
        }
        header.set_cksum();
        self.out.write_all(header.as_bytes()).map_err(TreeError::writing)?;
        map.iter()
            .try_for_each(|extension| self.out.write_all(extension.as_bytes()))
            .map_err(TreeError::writing)
    }

    /// A name in the archive.
    fn placed<'n>(&self, name: &'n [u8]) -> Cow<'n, [u8]> {
        match &self.layer {
            Some(beneath) => [beneath, name].concat().into(),
            None => name.into(),
        }
    }

    fn long(&mut self, kind: EntryType, value: &[u8]) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        fits(&mut header.as_old_mut().name, LONG_NAME);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        let size = value.len() as u64 + 1;
        header.set_size(size);
        header.set_cksum();
        self.out.write_all(header.as_bytes())?;
        self.out.write_all(value)?;
        self.out.write_all(&[0])?;
        self.out.write_all(&ZEROS[..padding(size)])
    }

    fn pad(&mut self, size: u64) -> Result<(), TreeError> {
        self.out.write_all(&ZEROS[..padding(size)]).map_err(TreeError::writing)
    }
}

fn padding(size: u64) -> usize {
    usize::try_from(size.wrapping_neg() % BLOCK_BYTES).unwrap_or_default()
}

/// Puts as much of `value` into the field as fits; returns whether that is all of it.
fn fits(field: &mut [u8], value: &[u8]) -> bool {
    let count = value.len().min(field.len());
    field[..count].copy_from_slice(&value[..count]);
    count == value.len()
}

/// Puts the map of a sparse file into its header; returns the headers to follow for what does not fit.
fn sparse_map(gnu: &mut GnuHeader, size: u64, extents: &[Extent]) -> Vec<GnuExtSparseHeader> {
    gnu.set_real_size(size);
    // An empty extent at the end says how long the file is.
    let mut extents = extents.iter().copied().chain([Extent { offset: size, length: 0 }]).peekable();
    fill(&mut gnu.sparse, &mut extents);
    gnu.set_is_extended(extents.peek().is_some());
    let mut extensions = Vec::new();
    while extents.peek().is_some() {
        let mut extension = GnuExtSparseHeader::new();
        fill(&mut extension.sparse, &mut extents);
        extension.set_is_extended(extents.peek().is_some());
        extensions.push(extension);
    }
    extensions
}

fn fill(fields: &mut [GnuSparseHeader], extents: &mut impl Iterator<Item = Extent>) {
    // The iterator comes second, so that it loses nothing when the fields are used up.
    for (field, extent) in fields.iter_mut().zip(extents) {
        field.set_offset(extent.offset);
        field.set_length(extent.length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that became shorter, or got data in its holes, between the look at it and its packing.
    #[test]
    fn an_entry_is_as_long_as_it_was_announced() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[7; 3000], 0).unwrap();
        let meta =
            Meta { kind: EntryType::Regular, name: b"f", link: b"", mode: 0o600, owner: (0, 0), modified: 0 };
        let holes = [Extent { offset: 1024, length: 1024 }, Extent { offset: 4096, length: 904 }];
        for extents in [None, Some(&holes[..])] {
            let mut archive = Vec::new();
            let mut emitter = Emitter::new(&mut archive, Limits::default());
            emitter.file(&meta, 5000, extents, &file).unwrap();
            assert_eq!(emitter.finish().unwrap().bytes, 5000);
            let mut archive = tar::Archive::new(&archive[..]);
            let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
            let mut expected = [vec![7; 3000], vec![0; 2000]].concat();
            if extents.is_some() {
                expected[..1024].fill(0);
                expected[2048..].fill(0);
            }
            assert!(content == expected);
        }
    }
}
