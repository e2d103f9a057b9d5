//! Configuration files of others: read within bounds, copied before they are changed, replaced in one step.

use crate::HostError;
use jiff::Timestamp;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Claude Code keeps more in its file than configuration; this is still a multiple of what any has.
const MAX_BYTES: u64 = 64 << 20;
const BYTE_ORDER_MARK: char = '\u{feff}';
/// More copies in one second than anybody makes.
const MAX_BACKUPS: u32 = 100;
/// Of a file that pyro makes: entries of other servers, which may be added to it later, can hold secrets.
const NEW_MODE: u32 = 0o600;

/// A file's text, without a byte order mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    pub text: String,
    has_mark: bool,
}

/// What `path` holds; none where there is no such file.
pub fn read(path: &Path) -> Result<Option<Text>, HostError> {
    let unreadable = |source| HostError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => {
            opened.and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)).map_err(unreadable)?
        }
    };
    if bytes.len() as u64 > MAX_BYTES {
        return Err(HostError::TooLarge { path: path.to_owned(), max: MAX_BYTES });
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| HostError::Malformed { path: path.to_owned(), reason: "it is not UTF-8".to_owned() })?;
    Ok(Some(match text.strip_prefix(BYTE_ORDER_MARK) {
        Some(rest) => Text { text: rest.to_owned(), has_mark: true },
        None => Text { text, has_mark: false },
    }))
}

/// Puts `text` into `path`: beside it, then in its place. What a link leads to is replaced, not the link; the mode, and
/// where we may the owner, of what was there stay. `old` is what was read before: a file that is another by now is left.
pub fn replace(path: &Path, text: &str, old: Option<&Text>) -> Result<(), HostError> {
    let unwritable = |source| HostError::Unwritable { path: path.to_owned(), source };
    let target = target_of(path).map_err(unwritable)?;
    if read(&target)?.as_ref() != old {
        return Err(unwritable(io::Error::other("somebody has changed it meanwhile")));
    }
    let mark = if old.is_some_and(|old| old.has_mark) { BYTE_ORDER_MARK.to_string() } else { String::new() };
    put(&target, &(mark + text)).map_err(unwritable)
}

fn put(target: &Path, text: &str) -> io::Result<()> {
    let directory = target.parent().unwrap_or_else(|| Path::new("/"));
    fs::create_dir_all(directory)?;
    let mut file = NamedTempFile::with_prefix_in(".pyro-", directory)?;
    file.write_all(text.as_bytes())?;
    match fs::metadata(target) {
        Ok(was) => {
            // Only root may give files away, and only root can have come by one that is somebody else's.
            let _kept = std::os::unix::fs::fchown(file.as_file(), Some(was.uid()), Some(was.gid()));
            file.as_file().set_permissions(was.permissions())?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            file.as_file().set_permissions(fs::Permissions::from_mode(NEW_MODE))?;
        }
        Err(error) => return Err(error),
    }
    file.as_file().sync_all()?;
    file.persist(target)?;
    File::open(directory)?.sync_all()
}

/// The file itself, where `path` is a link to it; a link into nothing leads to a file that is yet to be made.
fn target_of(path: &Path) -> io::Result<PathBuf> {
    const MAX_LINKS: usize = 40;
    let mut target = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&target) {
            Ok(next) => target = target.parent().unwrap_or_else(|| Path::new("/")).join(next),
            // No link, or nothing at all.
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotFound) => {
                return Ok(target);
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("too many links"))
}

/// Fails where nothing can be put in the place of `path`: not every host's program says so. A directory that is not there yet
/// may be made.
pub fn require_writable(path: &Path) -> Result<(), HostError> {
    let unwritable = |source| HostError::Unwritable { path: path.to_owned(), source };
    let target = target_of(path).map_err(unwritable)?;
    match NamedTempFile::with_prefix_in(".pyro-", target.parent().unwrap_or_else(|| Path::new("/"))) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unwritable(error)),
        _ => Ok(()),
    }
}

/// Copies the file as it is to `NAME.pyro-backup-TIMESTAMP` beside it, with its mode; nothing where there is no file.
pub fn back_up(path: &Path) -> Result<Option<PathBuf>, HostError> {
    let unwritable = |source| HostError::Unwritable { path: path.to_owned(), source };
    let target = target_of(path).map_err(unwritable)?;
    let mut from = match File::open(&target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|source| HostError::Unreadable { path: path.to_owned(), source })?,
    };
    let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    for number in 1..=MAX_BACKUPS {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let backup = target.with_file_name(format!("{name}.pyro-backup-{time}{suffix}"));
        match OpenOptions::new().write(true).create_new(true).mode(NEW_MODE).open(&backup) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            opened => {
                let copied = opened.and_then(|mut to| {
                    io::copy(&mut from, &mut to)?;
                    to.set_permissions(from.metadata()?.permissions())?;
                    to.sync_all()
                });
                return copied
                    .map(|()| Some(backup.clone()))
                    .map_err(|source| HostError::Unwritable { path: backup, source });
            }
        }
    }
    Err(unwritable(io::ErrorKind::AlreadyExists.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn what_is_replaced_keeps_its_mode_its_links_and_its_mark() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("real.json"), directory.path().join("link.json"));
        fs::write(&file, "\u{feff}old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("real.json", &link).unwrap();
        let old = read(&link).unwrap().unwrap();
        assert_eq!(old.text, "old");
        let backup = back_up(&link).unwrap().unwrap();
        replace(&link, "new", Some(&old)).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "\u{feff}new");
        assert_eq!((mode(&file), mode(&backup)), (0o640, 0o640));
        assert_eq!(fs::read_to_string(&backup).unwrap(), "\u{feff}old");
        assert!(backup.file_name().unwrap().to_string_lossy().starts_with("real.json.pyro-backup-2"));
        assert_ne!(back_up(&link).unwrap().unwrap(), backup, "no backup is overwritten");
        assert!(
            matches!(replace(&file, "x", Some(&old)), Err(HostError::Unwritable { .. })),
            "it is another"
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 4, "nothing is left beside them");
    }

    #[test]
    fn what_is_not_there_is_made_also_through_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("a/b/c.json"), directory.path().join("link"));
        symlink("a/b/c.json", &link).unwrap();
        assert_eq!((read(&link).unwrap(), back_up(&link).unwrap()), (None, None));
        replace(&link, "new", None).unwrap();
        assert_eq!((fs::read_to_string(&file).unwrap().as_str(), mode(&file)), ("new", 0o600));
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, b"\xff").unwrap();
        assert!(matches!(read(&file), Err(HostError::Malformed { .. })));
        assert!(matches!(read(directory.path()), Err(HostError::Unreadable { .. })));
        assert!(matches!(read(Path::new("/dev/zero")), Err(HostError::TooLarge { .. })));
        symlink("loop", directory.path().join("loop")).unwrap();
        assert!(back_up(&directory.path().join("loop")).is_err());
    }

    #[test]
    fn where_nothing_can_be_put_is_known_before() {
        let directory = tempfile::tempdir().unwrap();
        assert!(require_writable(&directory.path().join("file")).is_ok());
        assert!(require_writable(&directory.path().join("none/file")).is_ok());
        // Also for root, whom no mode keeps out.
        let refused = require_writable(Path::new("/sys/file")).unwrap_err();
        assert!(matches!(refused, HostError::Unwritable { .. }), "{refused:?}");
    }
}
