//! What a person brings into a guest: a directory, some files of one, or an archive; always read as one archive.
//!
//! What comes out has the same form whatever went in: GNU format, names that are relative and stay beneath, nothing but
//! files, directories and links, and everything owned by root. The guest checks all of it again.

mod archive;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tar::Header;

use crate::emit::{BLOCK, BLOCK_BYTES, Emitter};
use crate::pack::{Packer, Rules};
use crate::tree::{Tree, relative};
use crate::{Limits, Problem, Totals, TreeError};
use archive::{Compression, normalise};

/// What kind of thing a [`Source`] reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// A directory, or some files of one.
    Directory,
    /// A tar archive.
    Tar,
    /// A tar archive compressed with gzip.
    TarGz,
}

/// A directory or an archive on the host, open for reading.
#[derive(Debug)]
pub struct Source {
    input: Input,
}

#[derive(Debug)]
enum Input {
    Whole(Tree),
    Files(Tree, Vec<PathBuf>),
    Archive(File, Compression),
}

impl Source {
    /// Opens a directory, or an archive called `*.tar`, `*.tar.gz` or `*.tgz`. A link at `path` itself is followed.
    ///
    /// Fails with [`Problem::NoSource`] where it is something else, or not what its name says.
    pub fn open(path: &Path) -> Result<Self, TreeError> {
        let at = |error: TreeError| error.at(path.as_os_str().as_bytes());
        let metadata =
            std::fs::metadata(path).map_err(|error| at(TreeError::io("look at the path", error)))?;
        let input = if metadata.is_dir() {
            Input::Whole(open_root(path)?)
        } else if metadata.is_file() {
            let compression = compression_by_name(path).map_err(|problem| at(problem.into()))?;
            Input::Archive(open_archive(path, compression).map_err(at)?, compression)
        } else {
            return Err(at(Problem::NoSource("it is neither a directory nor a file").into()));
        };
        Ok(Self { input })
    }

    /// Opens the directory `root` for only `names` in it, which are relative to it. Those that are missing are skipped,
    /// as are those behind a symbolic link; a directory among them comes without what is in it.
    ///
    /// Fails with [`Problem::UnsafePath`] for a name that is absolute or has `..`.
    pub fn open_files(root: &Path, names: impl IntoIterator<Item = PathBuf>) -> Result<Self, TreeError> {
        let tree = open_root(root)?;
        let mut names = names
            .into_iter()
            .map(|name| relative(name.as_os_str().as_bytes()))
            .collect::<Result<Vec<_>, _>>()?;
        names.sort_unstable();
        names.dedup();
        Ok(Self { input: Input::Files(tree, names) })
    }

    /// What it reads.
    pub fn kind(&self) -> SourceKind {
        match self.input {
            Input::Whole(_) | Input::Files(..) => SourceKind::Directory,
            Input::Archive(_, Compression::None) => SourceKind::Tar,
            Input::Archive(_, Compression::Gzip) => SourceKind::TarGz,
        }
    }

    /// Writes everything as one archive, in memory that does not grow with it.
    ///
    /// Fails with a path or entry for anything that cannot be read, is not allowed or is over `limits`; what was
    /// written until then is of no use.
    pub fn write_tar(self, out: &mut impl Write, limits: Limits) -> Result<Totals, TreeError> {
        self.write(Emitter::new(out, limits))
    }

    /// Writes everything as the archive of a layer: complete in itself, all of it beneath the directory `beneath`, each
    /// directory before what is in it, and nothing sparse, so that what makes images of archives needs to know little.
    ///
    /// Memory grows by some 20 bytes for each name in an archive. Fails as [`Self::write_tar`] does, and for a hard link
    /// to what the archive has not.
    pub fn write_layer(
        self,
        beneath: &str,
        out: &mut impl Write,
        limits: Limits,
    ) -> Result<Totals, TreeError> {
        self.write(Emitter::new(out, limits).into_layer(beneath)?)
    }

    fn write<W: Write>(self, emitter: Emitter<'_, W>) -> Result<Totals, TreeError> {
        let rules = Rules { device: None, owned_by_root: true, refuse_devices: true };
        match self.input {
            Input::Archive(file, compression) => normalise(file, compression, emitter),
            Input::Whole(tree) => {
                let mut packer = Packer::new(tree, rules, emitter);
                packer.descend(Path::new(""))?;
                packer.finish()
            }
            Input::Files(tree, names) => {
                let mut packer = Packer::new(tree, rules, emitter);
                write_files(&mut packer, &names)?;
                packer.finish()
            }
        }
    }
}

/// Packs `names` and, before the first one in it, each directory on the way to them.
fn write_files<W: Write>(packer: &mut Packer<'_, W>, names: &[PathBuf]) -> Result<(), TreeError> {
    let mut done: HashSet<&Path> = HashSet::from([Path::new("")]);
    for name in names {
        let parents: Vec<&Path> = name.ancestors().skip(1).filter(|parent| !done.contains(parent)).collect();
        if !packer.reaches(name)? {
            continue;
        }
        for parent in parents.into_iter().rev() {
            packer.entry(parent)?;
            done.insert(parent);
        }
        if done.insert(name) {
            packer.entry(name)?;
        }
    }
    Ok(())
}

/// The directory that `path` is or leads to.
fn open_root(path: &Path) -> Result<Tree, TreeError> {
    let root = path
        .canonicalize()
        .map_err(|error| TreeError::io("open the directory", error).at(path.as_os_str().as_bytes()))?;
    Tree::open(&root)
}

fn compression_by_name(path: &Path) -> Result<Compression, Problem> {
    let name = path.file_name().unwrap_or_default().as_bytes().to_ascii_lowercase();
    if name.ends_with(b".tar") {
        Ok(Compression::None)
    } else if name.ends_with(b".tar.gz") || name.ends_with(b".tgz") {
        Ok(Compression::Gzip)
    } else {
        Err(Problem::NoSource("its name is not that of a supported archive"))
    }
}

/// Opens an archive and checks that it begins as its name says.
fn open_archive(path: &Path, compression: Compression) -> Result<File, TreeError> {
    // Whatever takes the file's place meanwhile: opening it must not wait.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut file = rustix::fs::open(path, flags, Mode::empty())
        .map(File::from)
        .map_err(|error: Errno| TreeError::io("open the archive", error))?;
    let unreadable = |error| TreeError::io("read the archive", error);
    let mut magic = Vec::new();
    (&file).take(2).read_to_end(&mut magic).map_err(unreadable)?;
    file.rewind().map_err(unreadable)?;
    let is_gzip = magic == [0x1F, 0x8B];
    let mut first = Vec::new();
    match (compression, is_gzip) {
        (Compression::None, true) => {
            return Err(Problem::NoSource("it is compressed with gzip, and its name does not say so").into());
        }
        (Compression::Gzip, false) => {
            return Err(Problem::NoSource("its name says gzip, and its content does not").into());
        }
        (Compression::None, false) => {
            (&file).take(BLOCK_BYTES).read_to_end(&mut first).map_err(unreadable)?;
        }
        (Compression::Gzip, true) => {
            let decoder = MultiGzDecoder::new(io::BufReader::new(&file));
            decoder.take(BLOCK_BYTES).read_to_end(&mut first).map_err(TreeError::reading)?;
        }
    }
    file.rewind().map_err(unreadable)?;
    if !begins_archive(&first) {
        return Err(Problem::NoSource("its content is not a tar archive").into());
    }
    Ok(file)
}

/// Whether `first` is an entry's header, or the mark that ends an archive of nothing.
fn begins_archive(first: &[u8]) -> bool {
    let Ok(block) = <&[u8; BLOCK]>::try_from(first) else { return false };
    let header = Header::from_byte_slice(block);
    let sum: u32 = block[..148].iter().chain(&block[156..]).map(|byte| u32::from(*byte)).sum();
    block.iter().all(|byte| *byte == 0) || header.cksum().is_ok_and(|stated| stated == sum + 8 * 32)
}
