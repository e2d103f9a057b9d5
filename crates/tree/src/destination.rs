//! Where a guest's files go on the host: a place that does not exist until everything in it is sound.
//!
//! 1. A private directory is made beside the place ([`Destination::create`]).
//! 2. The guest's archive is unpacked there, and every symbolic link is resolved: none may lead out
//!    ([`Destination::unpack`]).
//! 3. What was unpacked is renamed to its place, over nothing ([`Destination::finish`]).
//!
//! When it is dropped before that, nothing is left.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, readlinkat, renameat, renameat_with, statat};
use rustix::io::Errno;
use tempfile::TempDir;

use crate::tree::{Tree, refuse_parent, split};
use crate::{Limits, Owner, Problem, Rewrite, Totals, TreeError, Unpacker};

/// What is unpacked into, in the private directory.
const CONTENT: &str = "content";

/// What was exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArtifactType {
    /// One regular file.
    File,
    /// A directory and everything beneath it.
    Directory,
    /// One symbolic link.
    Symlink,
}

/// The outcome of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// What lies at the destination now.
    pub artifact_type: ArtifactType,
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of the files' content, holes included.
    pub bytes: u64,
}

/// A place for what is exported. Dropping it unfinished removes what was unpacked.
#[derive(Debug)]
pub struct Destination {
    path: PathBuf,
    parent: File,
    name: OsString,
    private: TempDir,
    rewrite: Option<Box<dyn Rewrite>>,
    unpacked: Option<Unpacked>,
}

#[derive(Debug)]
struct Unpacked {
    exported: Exported,
    /// What will be renamed, beneath the private directory.
    artifact: PathBuf,
}

impl Destination {
    /// Prepares to create `path`, whose directory has to exist.
    ///
    /// Fails with [`Problem::AlreadyExists`] where anything is at `path`, even a link to nothing.
    pub fn create(path: &Path) -> Result<Self, TreeError> {
        let at = |error: TreeError| error.at(bytes(path));
        let name = path
            .file_name()
            .ok_or_else(|| at(Problem::Invalid("the destination names no file or directory").into()))?;
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = rustix::fs::open(directory, flags, Mode::empty())
            .map_err(|error| TreeError::io("open the directory to export to", error).at(bytes(directory)))?;
        refuse_existing(&parent, name).map_err(at)?;
        let private = tempfile::Builder::new()
            .prefix(".pyro-export-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(directory)
            .and_then(|private| fs::create_dir(private.path().join(CONTENT)).map(|()| private))
            .map_err(|error| TreeError::io("create a directory", error).at(bytes(directory)))?;
        Ok(Self {
            path: path.to_owned(),
            parent: File::from(parent),
            name: name.to_owned(),
            private,
            rewrite: None,
            unpacked: None,
        })
    }

    /// Has `rewrite` change the content of files before anything of it is on the disk.
    #[must_use]
    pub fn rewriting(mut self, rewrite: Box<dyn Rewrite>) -> Self {
        self.rewrite = Some(rewrite);
        self
    }

    /// Unpacks a guest's archive: the entries of a directory, or one file or link. `expected` is what the guest was
    /// asked for; without it, an archive that says so is a directory's, as is any of other than one entry.
    ///
    /// Everything belongs to whoever exports and is writable for nobody else. Fails with [`Problem::EscapingLink`] for
    /// a link that does not stay inside. A link that is exported alone has nothing to stay inside of: it has to be
    /// `expected`, and may then name something beside it.
    pub fn unpack(
        &mut self,
        input: &mut impl Read,
        limits: Limits,
        expected: Option<ArtifactType>,
    ) -> Result<Totals, TreeError> {
        if self.unpacked.is_some() {
            return Err(Problem::Invalid("something was unpacked already").into());
        }
        let content = self.private.path().join(CONTENT);
        let unpacker = Unpacker::new(Tree::open(&content)?, Owner::Unpacker, limits).for_host();
        let unpacker = unpacker.rewriting(self.rewrite.take());
        let (totals, is_directory) = unpacker.run(input)?;
        let tree = Tree::open(&content)?;
        let (artifact_type, artifact) = identify(&tree, is_directory, totals, expected)?;
        if artifact_type == ArtifactType::Symlink && expected.is_none() {
            let target = tree
                .directory(Path::new(""))
                .and_then(|root| readlinkat(root, &artifact, Vec::new()))
                .map_err(|error| TreeError::io("read the link", error).at(bytes(&artifact)))?;
            return Err(escaping(&artifact, target.as_bytes()));
        }
        refuse_escaping_links(&tree)?;
        self.unpacked = Some(Unpacked {
            exported: Exported { artifact_type, entries: totals.entries, bytes: totals.bytes },
            artifact: Path::new(CONTENT).join(artifact),
        });
        Ok(totals)
    }

    /// Puts what was unpacked in its place, at once and over nothing.
    pub fn finish(self) -> Result<Exported, TreeError> {
        let at = |error: TreeError| error.at(bytes(&self.path));
        let Some(unpacked) = &self.unpacked else {
            return Err(at(Problem::Invalid("nothing was unpacked").into()));
        };
        let from = self.private.path().join(&unpacked.artifact);
        rename_new(&from, &self.parent, &self.name).map_err(at)?;
        Ok(unpacked.exported)
    }
}

/// What was unpacked into `tree`, and its path in there.
fn identify(
    tree: &Tree,
    is_directory: bool,
    totals: Totals,
    expected: Option<ArtifactType>,
) -> Result<(ArtifactType, PathBuf), TreeError> {
    let unreadable = |error| TreeError::io("look at what was unpacked", error);
    let names = tree.children(Path::new("")).map_err(unreadable)?;
    let directory = (ArtifactType::Directory, PathBuf::new());
    let found = match names.as_slice() {
        _ if is_directory || expected == Some(ArtifactType::Directory) => directory,
        [] => return Err(Problem::Invalid("the archive is empty").into()),
        [name] if totals.entries == 1 => {
            let path = PathBuf::from(name);
            let stat = tree.stat(&path).map_err(unreadable)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => (ArtifactType::File, path),
                FileType::Symlink => (ArtifactType::Symlink, path),
                _ => directory,
            }
        }
        _ => directory,
    };
    if expected.is_some_and(|expected| expected != found.0) {
        return Err(Problem::Invalid("the archive is not what was to be exported").into());
    }
    Ok(found)
}

/// Refuses symbolic links that lead out of `tree`, by their text or through other links.
fn refuse_escaping_links(tree: &Tree) -> Result<(), TreeError> {
    let listed = |path: &Path| {
        let names = tree.children(path);
        names.map_err(|error| TreeError::io("list the directory", error).at(bytes(path)))
    };
    let mut pending = vec![(PathBuf::new(), listed(Path::new(""))?.into_iter())];
    while let Some((directory, names)) = pending.last_mut() {
        let Some(name) = names.next() else {
            pending.pop();
            continue;
        };
        let path = directory.join(&name);
        let parent = tree.directory(directory).map_err(|error| refuse_parent(error, bytes(&path)))?;
        let unreadable = |error| TreeError::io("look at the entry", error).at(bytes(&path));
        let stat = statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(unreadable)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let names = listed(&path)?;
                pending.push((path, names.into_iter()));
            }
            FileType::Symlink => {
                let target = readlinkat(&parent, &name, Vec::new()).map_err(unreadable)?;
                if !stays_inside(tree, &path, target.as_bytes()) {
                    return Err(escaping(&path, target.as_bytes()));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether the link at `path` stays inside by its text, and as the kernel resolves it through all other links. A link
/// to nothing does; a loop does not, as others may resolve it further than the kernel.
fn stays_inside(tree: &Tree, path: &Path, target: &[u8]) -> bool {
    let mut depth = split(path).map_or(0, |(parent, _)| parent.components().count());
    for component in Path::new(OsStr::from_bytes(target)).components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    matches!(tree.resolve(path), Ok(_) | Err(Errno::NOENT | Errno::NOTDIR))
}

fn refuse_existing(parent: impl rustix::fd::AsFd, name: &OsStr) -> Result<(), TreeError> {
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(()),
        Ok(_) => Err(Problem::AlreadyExists("the destination exists").into()),
        Err(error) => Err(TreeError::io("look at the destination", error)),
    }
}

/// Renames to a name that is not taken, atomically where the file system can.
fn rename_new(from: &Path, parent: &File, name: &OsStr) -> Result<(), TreeError> {
    let failed = |error| match error {
        Errno::EXIST | Errno::NOTEMPTY => Problem::AlreadyExists("the destination exists").into(),
        error => TreeError::io("put what was exported in its place", error),
    };
    match renameat_with(rustix::fs::CWD, from, parent, name, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => {
            refuse_existing(parent, name)?;
            renameat(rustix::fs::CWD, from, parent, name).map_err(failed)
        }
        renamed => renamed.map_err(failed),
    }
}

fn escaping(path: &Path, target: &[u8]) -> TreeError {
    TreeError::from(Problem::EscapingLink { target: target.to_vec() }).at(bytes(path))
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}
