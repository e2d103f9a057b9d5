//! Directory trees and their tar archives, hostile until proven otherwise.
//!
//! - [`Tree`]: a directory and what lies beneath it, reached without following links out of it;
//! - [`pack()`]: a tree as an archive;
//! - [`Unpacker`]: an archive beneath a directory, which no entry can leave.
//!
//! With the feature `host` there are also the two ends that lie on the host: `Source`, a directory or archive that a
//! person brings, as one normalised archive; and `Destination`, the place that a guest's archive becomes.
//!
//! Everything streams: memory is bounded whatever an archive says, and its [`Limits`] hold for what it unpacks to.

#[cfg(feature = "host")]
mod destination;
mod emit;
mod error;
mod metered;
mod pack;
#[cfg(feature = "host")]
mod source;
mod tree;
mod unpack;

#[cfg(feature = "host")]
pub use destination::{ArtifactType, Destination, Exported};
pub use error::{Problem, TreeError};
pub use pack::{pack, pack_beneath};
#[cfg(feature = "host")]
pub use source::{Source, SourceKind};
pub use tree::{Tree, absolute, refuse_parent, relative, split};
pub use unpack::{Owner, Rewrite, Unpacker};

use pyro_protocol::limits::{MAX_ARCHIVE_BYTES, MAX_ARCHIVE_ENTRIES};

/// The bits of a mode that an archive carries.
const PERMISSIONS: u32 = 0o7777;

/// What went through an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of the files' content, holes included.
    pub bytes: u64,
    /// Sockets and named pipes, which no archive can hold, left out.
    pub skipped: u64,
}

impl Totals {
    /// Counts an entry with `size` bytes; fails with [`Problem::Exhausted`] when that is over `limits`.
    fn count(&mut self, size: u64, limits: Limits) -> Result<(), Problem> {
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(size);
        if self.entries > limits.entries {
            return Err(Problem::Exhausted("the archive has more entries than its limit"));
        }
        if self.bytes > limits.bytes {
            return Err(Problem::Exhausted("the archive unpacks to more bytes than its limit"));
        }
        Ok(())
    }
}

/// What an archive may amount to at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most entries.
    pub entries: u64,
    /// Most bytes of all files' content together, holes included.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: MAX_ARCHIVE_ENTRIES, bytes: MAX_ARCHIVE_BYTES }
    }
}
