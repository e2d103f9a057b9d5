//! Files written beside and renamed, sparse copies, and errors that name the file.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use pyro_protocol::error::{Diagnostic, ErrorKind, kind_of_io};
use rustix::fs::SeekFrom;
use serde::{Deserialize, Serialize};

use crate::digest::{Hasher, Sha256Digest};

/// An operation on a file of the host's failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct FsError {
    /// What was tried, as a verb: `write`, `create`, …
    pub action: &'static str,
    /// On which file.
    pub path: PathBuf,
    /// What the operating system said.
    #[source]
    pub source: io::Error,
}

impl FsError {
    /// For `map_err`: `.map_err(FsError::on("read", path))`.
    pub fn on(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self { action, path, source }
    }
}

impl Diagnostic for FsError {
    fn kind(&self) -> ErrorKind {
        kind_of_io(&self.source)
    }

    fn hint(&self) -> Option<String> {
        let is_no_directory = self.source.kind() == io::ErrorKind::NotADirectory;
        match self.kind() {
            _ if is_no_directory => {
                Some("A file is where a directory should be: set PYRO_HOME to a directory.".to_owned())
            }
            ErrorKind::PermissionDenied => {
                Some("Make that directory writable for you, or set PYRO_HOME to one that is.".to_owned())
            }
            ErrorKind::Exhausted => {
                Some("Free some disk space, or set PYRO_HOME to a directory on a larger disk.".to_owned())
            }
            _ => None,
        }
    }
}

/// Tells cheaply whether a file is still the one that was hashed: any writing to it shows, also when its modification time
/// was set back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stamp {
    bytes: u64,
    mtime_ns: i64,
    ctime_ns: i64,
    inode: u64,
}

impl Stamp {
    /// The stamp of a file that is there.
    pub fn of(metadata: &fs::Metadata) -> Self {
        let nanoseconds =
            |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Self {
            bytes: metadata.len(),
            mtime_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }
}

/// Bytes on disk of the file or tree at `path`; what cannot be read counts as nothing.
pub fn disk_usage(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return 0;
    };
    let below = if metadata.is_dir() {
        fs::read_dir(path).into_iter().flatten().flatten().map(|entry| disk_usage(&entry.path())).sum()
    } else {
        0
    };
    metadata.blocks() * 512 + below
}

/// Creates `dir` and its parents.
pub fn create_dir_all(dir: &Path) -> Result<(), FsError> {
    fs::create_dir_all(dir).map_err(FsError::on("create", dir))
}

/// Makes `path` hold `bytes`: readers see the old content or the new one, never a part. The parent must exist.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), FsError> {
    write_as(path, bytes, 0o644)
}

/// The same, and nobody else can read it at any time.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), FsError> {
    write_as(path, bytes, 0o600)
}

/// The same, and everybody can execute it.
pub fn write_program(path: &Path, bytes: &[u8]) -> Result<(), FsError> {
    write_as(path, bytes, 0o755)
}

/// What is being written has mode 0600 until it is complete.
fn write_as(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FsError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(parent).map_err(FsError::on("write", path))?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(FsError::on("write", path))?;
    set_mode(file.path(), mode)?;
    file.persist(path).map_err(|error| FsError {
        action: "write",
        path: path.to_owned(),
        source: error.error,
    })?;
    Ok(())
}

/// Sets the permission bits of `path`, whatever the umask was when it was created.
pub fn set_mode(path: &Path, mode: u32) -> Result<(), FsError> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(FsError::on("change the mode of", path))
}

/// Removes a directory tree or a file; that there is none is fine.
pub fn remove_all(path: &Path) -> Result<(), FsError> {
    let result = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FsError::on("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Removes a directory whose file `lock` is a lock that the caller holds: that goes last, so that nobody takes the directory for
/// abandoned while there is something else.
pub fn remove_all_and_lock(path: &Path, lock: &str) -> Result<(), FsError> {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_name() != lock {
            remove_all(&entry.path())?;
        }
    }
    remove_all(path)
}

/// Copies `from` to the new file `to`, keeping holes: a reflink where the file system can, else the data regions only.
///
/// Fails with `AlreadyExists` when `to` exists; on any later failure `to` is removed again.
pub fn copy_sparse(from: &Path, to: &Path) -> Result<(), FsError> {
    let source = File::open(from).map_err(FsError::on("open", from))?;
    let target = File::options().write(true).create_new(true).open(to).map_err(FsError::on("create", to))?;
    if rustix::fs::ioctl_ficlone(&target, &source).is_ok() {
        return Ok(());
    }
    copy_regions(&source, &target).map_err(|source| {
        // What could not be completed must not be taken for a copy; the first error is the one to report.
        let _ = fs::remove_file(to);
        FsError { action: "write", path: to.to_owned(), source }
    })
}

fn copy_regions(source: &File, target: &File) -> io::Result<()> {
    target.set_len(source.metadata()?.len())?;
    for region in data_regions(source) {
        let region = region?;
        copy_range(source, target, region.start, region.end)?;
    }
    Ok(())
}

/// The regions of a file that hold data, in their order; nothing comes after an error.
pub fn data_regions(file: &File) -> impl Iterator<Item = io::Result<Range<u64>>> {
    let mut next = Some(0);
    std::iter::from_fn(move || {
        let region = rustix::fs::seek(file, SeekFrom::Data(next.take()?))
            .and_then(|start| Ok(start..rustix::fs::seek(file, SeekFrom::Hole(start))?));
        match region {
            Ok(region) => {
                next = Some(region.end);
                Some(Ok(region))
            }
            // The rest is a hole.
            Err(rustix::io::Errno::NXIO) => None,
            Err(error) => Some(Err(error.into())),
        }
    })
}

/// The digest of a file's data regions and where they are. Files that differ only in which zeros are holes differ.
pub fn digest_of_data(file: &File) -> io::Result<Sha256Digest> {
    let len = file.metadata()?.len();
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 1 << 18];
    for region in data_regions(file) {
        let Range { start, end } = region?;
        hasher.update(&start.to_le_bytes());
        let mut at = start;
        while at < end {
            let want = usize::try_from(end - at).map_or(buffer.len(), |left| left.min(buffer.len()));
            file.read_exact_at(&mut buffer[..want], at)?;
            hasher.update(&buffer[..want]);
            at += want as u64;
        }
    }
    hasher.update(&len.to_le_bytes());
    Ok(hasher.finish())
}

/// Whether two files have the same bytes, wherever their holes are. A file that takes up 16 MiB more of the disk than the other
/// counts as different without a look: these may be zeros, but they would all have to be read.
pub fn same_content(one: &File, other: &File) -> io::Result<bool> {
    const MOST_MORE: u64 = 16 << 20;
    let (of_one, of_other) = (one.metadata()?, other.metadata()?);
    let more = (of_one.blocks() * 512).abs_diff(of_other.blocks() * 512);
    let may_be = of_one.len() == of_other.len() && more <= MOST_MORE;
    Ok(may_be && same_where_data(one, other)? && same_where_data(other, one)?)
}

/// Whether `other` has the same bytes where `one` has data.
fn same_where_data(one: &File, other: &File) -> io::Result<bool> {
    let (mut ours, mut theirs) = (vec![0; 1 << 18], vec![0; 1 << 18]);
    for region in data_regions(one) {
        let Range { start: mut at, end } = region?;
        while at < end {
            let want = usize::try_from(end - at).map_or(ours.len(), |left| left.min(ours.len()));
            one.read_exact_at(&mut ours[..want], at)?;
            other.read_exact_at(&mut theirs[..want], at)?;
            if ours[..want] != theirs[..want] {
                return Ok(false);
            }
            at += want as u64;
        }
    }
    Ok(true)
}

fn copy_range(source: &File, target: &File, start: u64, end: u64) -> io::Result<()> {
    let (mut read_at, mut write_at) = (start, start);
    while read_at < end {
        let want = usize::try_from(end - read_at).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(source, Some(&mut read_at), target, Some(&mut write_at), want) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            // Not every pair of file systems can: copy through memory then.
            Err(rustix::io::Errno::XDEV | rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                return copy_by_hand(source, target, read_at, end);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn copy_by_hand(source: &File, target: &File, mut position: u64, end: u64) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    while position < end {
        let want = usize::try_from(end - position).map_or(buffer.len(), |left| left.min(buffer.len()));
        source.read_exact_at(&mut buffer[..want], position)?;
        target.write_all_at(&buffer[..want], position)?;
        position += want as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn sparse_copy_keeps_content_and_holes() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let file = File::create(&from).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(b"start", 0).unwrap();
        file.write_all_at(&[9; 8192], 32 << 20).unwrap();
        copy_sparse(&from, &to).unwrap();
        assert!(fs::read(&from).unwrap() == fs::read(&to).unwrap());
        let copied = fs::metadata(&to).unwrap();
        assert!(copied.blocks() * 512 < 1 << 20, "{} blocks", copied.blocks());
        let error = copy_sparse(&from, &to).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    }

    #[test]
    fn content_is_compared_wherever_holes_are() {
        let file = |parts: &[(&[u8], u64)]| {
            let file = tempfile::tempfile().unwrap();
            file.set_len(64 << 20).unwrap();
            for (bytes, at) in parts {
                file.write_all_at(bytes, *at).unwrap();
            }
            file
        };
        let block = [9; 4096];
        let one = file(&[(&block, 8192)]);
        let same = |other: &File| (same_content(&one, other).unwrap(), same_content(other, &one).unwrap());
        assert_eq!(same(&file(&[(&block, 8192), (&[0; 4096], 1 << 20)])), (true, true), "zeros and a hole");
        assert_eq!(same(&file(&[(&block, 4096)])), (false, false));
        assert_eq!(same(&file(&[(&block, 8192), (&block, 1 << 20)])), (false, false));
        assert_eq!(same(&file(&[])), (false, false));
        let (longer, fuller) =
            (file(&[(&block, 8192)]), file(&[(&block, 8192), (&vec![0; 17 << 20], 1 << 20)]));
        longer.set_len(65 << 20).unwrap();
        assert_eq!(same(&longer), (false, false));
        assert_eq!(same(&fuller), (false, false), "nobody reads that many zeros");
    }

    #[test]
    fn atomic_write_replaces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&path), 0o644);
        write_private(&path, b"three").unwrap();
        assert_eq!(mode(&path), 0o600);
        let error = write_atomic(&dir.path().join("none/record"), b"x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("none/record"));
    }
}
