//! A reader of an archive that bounds what its parser may take in between two entries.
//!
//! The `tar` crate reads an entry's extensions (long names, pax records, maps of sparse files) into memory, as long as
//! they say they are. Here they end after [`MAX_EXTENSION_BYTES`]. Who uses it calls [`Meter::parsing`] before asking
//! for the next entry, [`Meter::content`] after it, and reads each entry to its end.

use std::cell::Cell;
use std::io::{self, Read};

/// Most bytes of headers that describe one entry. It is also what bounds the map of a sparse file, to 10,000 extents.
pub const MAX_EXTENSION_BYTES: u64 = 256 * 1024;

/// What the parser may still read, and what it has seen.
#[derive(Debug)]
pub struct Meter {
    left: Cell<u64>,
    input_ended: Cell<bool>,
}

impl Meter {
    pub fn new() -> Self {
        Self { left: Cell::new(MAX_EXTENSION_BYTES), input_ended: Cell::new(false) }
    }

    /// From here on the parser reads headers.
    pub fn parsing(&self) {
        self.left.set(MAX_EXTENSION_BYTES);
    }

    /// From here on an entry's content is read.
    pub fn content(&self) {
        self.left.set(u64::MAX);
    }

    /// Whether the input came to its end.
    #[cfg(feature = "host")]
    pub fn input_ended(&self) -> bool {
        self.input_ended.get()
    }
}

/// The reader to give to the parser.
pub struct Metered<'a, R> {
    pub input: R,
    pub meter: &'a Meter,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.meter.left.get();
        let most = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if most == 0 && !buf.is_empty() {
            return Err(io::Error::other("the headers of an entry are larger than their limit"));
        }
        let count = self.input.read(&mut buf[..most])?;
        if count == 0 && !buf.is_empty() {
            self.meter.input_ended.set(true);
        }
        if left != u64::MAX {
            self.meter.left.set(left - count as u64);
        }
        Ok(count)
    }
}
