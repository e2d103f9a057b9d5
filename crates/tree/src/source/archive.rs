//! An archive of unknown origin as one of known form.

use std::cell::Cell;
use std::collections::HashSet;
use std::error::Error;
use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use pyro_protocol::limits::{MAX_CHUNK_BYTES, MAX_PATH_BYTES};
use tar::{Archive, Entry, EntryType};

use crate::emit::{Emitter, Meta};
use crate::metered::{Meter, Metered};
use crate::tree::relative;
use crate::unpack::read_padding;
use crate::{Limits, Problem, Totals, TreeError};

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
}

/// More output than this for each byte of input is no archive but an attack. (Nothing but zeros comes to 1032.)
const MAX_RATIO: u64 = 1000;

/// Up to here the ratio does not matter.
const RATIO_FREE_BYTES: u64 = 10 * 1024 * 1024;

/// Writes the archive in `file` again, in the form that the guest takes.
pub fn normalise(
    file: File,
    compression: Compression,
    out: &mut impl Write,
    limits: Limits,
) -> Result<Totals, TreeError> {
    match compression {
        Compression::None => rewrite(&mut BufReader::with_capacity(MAX_CHUNK_BYTES, file), out, limits),
        Compression::Gzip => {
            let taken = Rc::new(Cell::new(0));
            let counted = Counted { input: file, taken: Rc::clone(&taken) };
            let decoder = MultiGzDecoder::new(BufReader::with_capacity(MAX_CHUNK_BYTES, counted));
            rewrite(&mut Bounded { decoder, taken, given: 0 }, out, limits)
        }
    }
}

fn rewrite(input: &mut impl Read, out: &mut impl Write, limits: Limits) -> Result<Totals, TreeError> {
    let meter = Meter::new();
    let mut archive = Archive::new(Metered { input: &mut *input, meter: &meter });
    let mut rewriter = Rewriter { links: Links::default(), emitter: Emitter::new(out, limits) };
    let mut entries = archive.entries().map_err(unreadable)?;
    loop {
        meter.parsing();
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(unreadable)?;
        if entry.header().entry_type() == EntryType::XGlobalHeader {
            // What it says for all entries is nothing that is taken over. It is part of the headers, and as bounded.
            io::copy(&mut entry, &mut io::sink()).map_err(unreadable)?;
            continue;
        }
        meter.content();
        let name = entry.path_bytes().into_owned();
        rewriter.entry(&name, &mut entry).map_err(|error| error.at(name))?;
    }
    if meter.input_ended() {
        return Err(malformed(io::ErrorKind::UnexpectedEof, "it has no end mark, as if it was cut off"));
    }
    read_padding(input).map_err(bombed)?;
    rewriter.emitter.finish()
}

struct Rewriter<'a, W> {
    links: Links,
    emitter: Emitter<'a, W>,
}

impl<W: Write> Rewriter<'_, W> {
    fn entry<R: Read>(&mut self, raw: &[u8], entry: &mut Entry<'_, R>) -> Result<(), TreeError> {
        if raw.is_empty() {
            return Err(Problem::Invalid("an entry has no name").into());
        }
        let extensions = Extensions::of(entry)?;
        let kind = match entry.header().entry_type() {
            // Archives of old mark a directory by its name only.
            EntryType::Regular if raw.ends_with(b"/") => EntryType::Directory,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => EntryType::Regular,
            kind @ (EntryType::Directory | EntryType::Symlink | EntryType::Link) => kind,
            _ => return Err(Problem::UnsafePath("an entry is neither a file, a directory nor a link").into()),
        };
        if kind != EntryType::Regular && entry.size() != 0 {
            return Err(Problem::Invalid("a directory or link has content").into());
        }
        let path = relative(raw)?;
        if path.as_os_str().is_empty() {
            // The destination itself, which exists.
            return match kind {
                EntryType::Directory => Ok(()),
                _ => Err(Problem::UnsafePath("an entry takes the place of the destination").into()),
            };
        }
        self.links.refuse_through(&path, kind == EntryType::Directory)?;
        let link = match kind {
            EntryType::Symlink | EntryType::Link => entry.link_name_bytes().unwrap_or_default().into_owned(),
            _ => Vec::new(),
        };
        let link = self.link(kind, link, &path)?;
        let mut name = path.into_os_string().into_encoded_bytes();
        if kind == EntryType::Directory {
            name.push(b'/');
        }
        let fallback = if kind == EntryType::Directory { 0o755 } else { 0o644 };
        let modified = extensions.modified.or_else(|| entry.header().mtime().ok());
        let meta = Meta {
            kind,
            name: &name,
            link: &link,
            mode: entry.header().mode().unwrap_or(fallback),
            owner: (0, 0),
            // More than the kernel's own type holds is no time.
            modified: modified.filter(|seconds| i64::try_from(*seconds).is_ok()).unwrap_or_default(),
        };
        match kind {
            EntryType::Regular => {
                let size = entry.size();
                self.emitter.stream(&meta, size, entry).map_err(bombed)
            }
            _ => self.emitter.bare(&meta),
        }
    }

    /// Validates the target of a link and keeps track of which names are links.
    fn link(&mut self, kind: EntryType, target: Vec<u8>, path: &Path) -> Result<Vec<u8>, TreeError> {
        match kind {
            EntryType::Symlink => {
                if target.is_empty() || target.contains(&0) || target.len() >= MAX_PATH_BYTES {
                    return Err(Problem::Invalid("the target of a link is empty or over the limit").into());
                }
                self.links.insert(path);
                Ok(target)
            }
            EntryType::Link => {
                let target = relative(&target)?;
                if target.as_os_str().is_empty() {
                    return Err(Problem::UnsafePath("a hard link names the destination").into());
                }
                self.links.refuse_through(&target, false)?;
                // Another name of a link is a link.
                if self.links.contains(&target) {
                    self.links.insert(path);
                } else {
                    self.links.remove(path);
                }
                Ok(target.into_os_string().into_encoded_bytes())
            }
            _ => {
                self.links.remove(path);
                Ok(Vec::new())
            }
        }
    }
}

/// What pax records say of an entry, beside what the `tar` crate knows of.
#[derive(Debug, Default)]
struct Extensions {
    modified: Option<u64>,
}

impl Extensions {
    fn of<R: Read>(entry: &mut Entry<'_, R>) -> Result<Self, TreeError> {
        let mut found = Self::default();
        let Some(records) = entry.pax_extensions().map_err(unreadable)? else { return Ok(found) };
        for record in records {
            let record = record.map_err(unreadable)?;
            if record.key_bytes().starts_with(b"GNU.sparse.") {
                return Err(Problem::Invalid(
                    "the sparse file is stored in pax format, which pyro does not read: use `tar --format=gnu`",
                )
                .into());
            }
            if record.key_bytes() == b"mtime" {
                let seconds = record.value_bytes().split(|byte| *byte == b'.').next().unwrap_or_default();
                found.modified = std::str::from_utf8(seconds).ok().and_then(|seconds| seconds.parse().ok());
            }
        }
        Ok(found)
    }
}

/// The names of symbolic links so far, by hash: however many and long they are, they take little memory. That two names
/// have one hash is as unlikely as can be, and means a refusal.
#[derive(Debug, Default)]
struct Links {
    hashes: HashSet<u64>,
    state: RandomState,
}

impl Links {
    fn insert(&mut self, path: &Path) {
        self.hashes.extend(self.prefixes(path).last());
    }

    fn remove(&mut self, path: &Path) {
        if let Some(hash) = self.prefixes(path).last() {
            self.hashes.remove(&hash);
        }
    }

    fn contains(&self, path: &Path) -> bool {
        self.prefixes(path).last().is_some_and(|hash| self.hashes.contains(&hash))
    }

    /// Refuses a path that a link is on the way to, or in the place of when `last` says so.
    fn refuse_through(&self, path: &Path, last: bool) -> Result<(), TreeError> {
        let count = path.components().count() - usize::from(!last);
        if self.prefixes(path).take(count).any(|hash| self.hashes.contains(&hash)) {
            return Err(Problem::UnsafePath("the path goes through a symbolic link of the archive").into());
        }
        Ok(())
    }

    /// The hash of each of the path's beginnings, up to itself.
    fn prefixes(&self, path: &Path) -> impl Iterator<Item = u64> {
        let mut hasher = self.state.build_hasher();
        path.components().filter_map(move |component| match component {
            Component::Normal(name) => {
                hasher.write(name.as_bytes());
                hasher.write_u8(b'/');
                Some(hasher.clone().finish())
            }
            _ => None,
        })
    }
}

/// A reader that counts what was taken from it.
struct Counted {
    input: File,
    taken: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buf)?;
        self.taken.set(self.taken.get() + count as u64);
        Ok(count)
    }
}

/// A decoder that fails when it gives too much for what it takes.
struct Bounded<R> {
    decoder: R,
    taken: Rc<Cell<u64>>,
    given: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("it unpacks to more than {MAX_RATIO} times its size")]
struct Bomb;

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.decoder.read(buf)?;
        self.given += count as u64;
        if self.given > RATIO_FREE_BYTES && self.given > self.taken.get().saturating_mul(MAX_RATIO) {
            return Err(io::Error::other(Bomb));
        }
        Ok(count)
    }
}

fn unreadable(error: io::Error) -> TreeError {
    bombed(TreeError::reading(error))
}

fn bombed(error: TreeError) -> TreeError {
    match &error.problem {
        Problem::Malformed(source) if source.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<Bomb>) => {
            Problem::Exhausted("the archive unpacks to more than 1000 times its size").into()
        }
        _ => error,
    }
}

fn malformed(kind: io::ErrorKind, what: &'static str) -> TreeError {
    Problem::Malformed(io::Error::new(kind, what)).into()
}
