//! An archive of unknown origin as one of known form.

use std::cell::Cell;
use std::collections::HashMap;
use std::error::Error;
use std::ffi::OsStr;
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
use crate::{Problem, Totals, TreeError};

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
pub fn normalise<W: Write>(
    file: File,
    compression: Compression,
    emitter: Emitter<'_, W>,
) -> Result<Totals, TreeError> {
    match compression {
        Compression::None => rewrite(&mut BufReader::with_capacity(MAX_CHUNK_BYTES, file), emitter),
        Compression::Gzip => {
            let taken = Rc::new(Cell::new(0));
            let counted = Counted { input: file, taken: Rc::clone(&taken) };
            let decoder = MultiGzDecoder::new(BufReader::with_capacity(MAX_CHUNK_BYTES, counted));
            rewrite(&mut Bounded { decoder, taken, given: 0 }, emitter)
        }
    }
}

fn rewrite<W: Write>(input: &mut impl Read, emitter: Emitter<'_, W>) -> Result<Totals, TreeError> {
    let meter = Meter::new();
    let mut archive = Archive::new(Metered { input: &mut *input, meter: &meter });
    let mut rewriter = Rewriter { names: Names::default(), emitter };
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
    names: Names,
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
        self.names.refuse_in_the_way(&path, kind == EntryType::Directory)?;
        let link = match kind {
            EntryType::Symlink | EntryType::Link => {
                let target = entry.link_name_bytes().unwrap_or_default();
                self.link_target(kind, target.into_owned())?
            }
            _ => Vec::new(),
        };
        if kind == EntryType::Link && path.as_os_str().as_bytes() == link {
            // It is there already.
            return Ok(());
        }
        let modified = extensions.modified.or_else(|| entry.header().mtime().ok());
        // More than the kernel's own type holds is no time.
        let modified = modified.filter(|seconds| i64::try_from(*seconds).is_ok()).unwrap_or_default();
        self.missing_parents(&path, modified)?;
        self.names.insert(&path, self.named(kind, &link));
        let mut name = path.into_os_string().into_encoded_bytes();
        if kind == EntryType::Directory {
            name.push(b'/');
        }
        let fallback = if kind == EntryType::Directory { 0o755 } else { 0o644 };
        let meta = Meta {
            kind,
            name: &name,
            link: &link,
            mode: entry.header().mode().unwrap_or(fallback),
            owner: (0, 0),
            modified,
        };
        match kind {
            EntryType::Regular => {
                let size = entry.size();
                self.emitter.stream(&meta, size, entry).map_err(bombed)
            }
            _ => self.emitter.bare(&meta),
        }
    }

    /// Validates the target of a link.
    fn link_target(&self, kind: EntryType, target: Vec<u8>) -> Result<Vec<u8>, TreeError> {
        if kind == EntryType::Symlink {
            if target.is_empty() || target.contains(&0) || target.len() >= MAX_PATH_BYTES {
                return Err(Problem::Invalid("the target of a link is empty or over the limit").into());
            }
            return Ok(target);
        }
        let target = relative(&target)?;
        if target.as_os_str().is_empty() {
            return Err(Problem::UnsafePath("a hard link names the destination").into());
        }
        self.names.refuse_in_the_way(&target, false)?;
        if self.emitter.is_layer() && self.names.get(&target).is_none() {
            return Err(Problem::Invalid("a hard link names what does not come before it").into());
        }
        Ok(target.into_os_string().into_encoded_bytes())
    }

    /// What an entry is.
    fn named(&self, kind: EntryType, link: &[u8]) -> Named {
        match kind {
            EntryType::Directory => Named::Directory,
            EntryType::Symlink => Named::Symlink,
            // Another name of a symbolic link is one.
            EntryType::Link => self.names.get(Path::new(OsStr::from_bytes(link))).unwrap_or(Named::File),
            _ => Named::File,
        }
    }

    /// Notes the directories on the way to `path` that no entry has made. In a layer they are written: an entry that comes
    /// later replaces them.
    fn missing_parents(&mut self, path: &Path, modified: u64) -> Result<(), TreeError> {
        let mut parents: Vec<_> = path.ancestors().skip(1).collect();
        // The last one is the destination itself.
        parents.pop();
        for parent in parents.into_iter().rev() {
            if self.names.get(parent).is_some() {
                continue;
            }
            self.names.insert(parent, Named::Directory);
            if self.emitter.is_layer() {
                let name = [parent.as_os_str().as_bytes(), b"/"].concat();
                let kind = EntryType::Directory;
                self.emitter.bare(&Meta {
                    kind,
                    name: &name,
                    link: b"",
                    mode: 0o755,
                    owner: (0, 0),
                    modified,
                })?;
                self.emitter.totals.entries -= 1;
            }
        }
        Ok(())
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

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    Directory,
    File,
    Symlink,
}

/// The names so far, by hash: however long they are, each takes little memory. That two names have one hash is as unlikely as
/// can be, and means a refusal.
#[derive(Debug, Default)]
struct Names {
    kinds: HashMap<u64, Named>,
    state: RandomState,
}

impl Names {
    fn insert(&mut self, path: &Path, named: Named) {
        if let Some(hash) = self.prefixes(path).last() {
            self.kinds.insert(hash, named);
        }
    }

    fn get(&self, path: &Path) -> Option<Named> {
        self.kinds.get(&self.prefixes(path).last()?).copied()
    }

    /// Refuses a path that leads through something else than directories, or that is a directory where there is something
    /// else, or something else where there is a directory.
    fn refuse_in_the_way(&self, path: &Path, is_directory: bool) -> Result<(), Problem> {
        const THROUGH: Problem = Problem::UnsafePath("the path goes through a symbolic link of the archive");
        let last = path.components().count() - 1;
        for (index, hash) in self.prefixes(path).enumerate() {
            match (self.kinds.get(&hash), index < last || is_directory) {
                (Some(Named::Symlink), true) => return Err(THROUGH),
                (Some(Named::File), true) => {
                    return Err(Problem::AlreadyExists("a file is where a directory should be"));
                }
                (Some(Named::Directory), false) => {
                    return Err(Problem::AlreadyExists("a directory is in the way"));
                }
                _ => {}
            }
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
