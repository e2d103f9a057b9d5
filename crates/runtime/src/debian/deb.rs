//! Reading a package: an `ar` archive of `debian-binary`, `control.tar.*` and `data.tar.*`.
//!
//! A package's sha256 was checked, so its content is Debian's; still nothing is taken from it unbounded, and no path of
//! it is used before it is known to be relative and free of `..`.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use pyro_protocol::error::{Diagnostic, ErrorKind};
use tar::EntryType;

use crate::fs::FsError;

/// The most a package may unpack to: the largest of Debian have some 4 GB.
const MAX_UNPACKED: u64 = 16 << 30;

/// The largest control file read.
const MAX_CONTROL: u64 = 16 << 20;

/// What the xz decoder may allocate: `xz -9` needs 65 MiB.
const XZ_MEMORY: u64 = 256 << 20;

/// A package file is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum DebError {
    /// The file cannot be opened.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// It ends early, or a layer of it is damaged.
    #[error("cannot read the package {}", path.display())]
    Damaged {
        /// The package.
        path: PathBuf,
        /// What the reader of that layer said.
        #[source]
        source: io::Error,
    },
    /// A part is missing, or packed in a way pyro does not know.
    #[error("the package {} has no {member} that pyro can read{}", path.display(), found(found_name.as_deref()))]
    Member {
        /// The package.
        path: PathBuf,
        /// `control.tar` or `data.tar`.
        member: &'static str,
        /// The name it has instead.
        found_name: Option<String>,
    },
    /// An entry would leave the directory it is unpacked to.
    #[error("the package {} has the unsafe path {entry:?}", path.display())]
    UnsafePath {
        /// The package.
        path: PathBuf,
        /// The offending path, or target of a hard link.
        entry: PathBuf,
    },
}

fn found(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!(", but {name}"))
}

impl Diagnostic for DebError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Fs(error) => error.kind(),
            Self::Damaged { .. } | Self::UnsafePath { .. } => ErrorKind::Integrity,
            Self::Member { .. } => ErrorKind::Unsupported,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Fs(error) => error.hint(),
            Self::Damaged { path, .. } | Self::UnsafePath { path, .. } => {
                Some(format!("Remove {} and run the command again.", path.display()))
            }
            Self::Member { .. } => None,
        }
    }
}

/// What an entry of a package is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file; its content comes from the entry's reader.
    File,
    /// A directory.
    Directory,
    /// A symbolic link. The target is as the package has it: it may be absolute, or climb.
    Symlink(PathBuf),
    /// A hard link to an earlier entry, whose path is relative and free of `..`.
    Hardlink(PathBuf),
    /// A character device.
    CharDevice {
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
}

/// One entry of a package's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebEntry {
    /// Relative to the root of the file system, free of `.` and `..`; empty for the root itself.
    pub path: PathBuf,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits, with set-user-ID and the like.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Modification time, seconds since the epoch.
    pub mtime: u64,
    /// Bytes of content, 0 for all but files.
    pub size: u64,
}

/// A package file.
#[derive(Debug, Clone)]
pub struct Deb {
    path: PathBuf,
}

impl Deb {
    /// The package at `path`. Nothing is read yet.
    pub fn open(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Calls `visit` with each entry of the package's files, in order, and a reader of its content.
    ///
    /// Fails when the package is damaged or has an unsafe path, and with the first error of `visit`.
    pub fn for_each<E: From<DebError>>(
        &self,
        mut visit: impl FnMut(DebEntry, &mut dyn Read) -> Result<(), E>,
    ) -> Result<(), E> {
        self.with_member("data.tar", |reader| {
            let mut archive = tar::Archive::new(reader.take(MAX_UNPACKED));
            for entry in archive.entries().map_err(|source| self.damaged(source))? {
                let mut entry = entry.map_err(|source| self.damaged(source))?;
                if let Some(described) = self.describe(&entry)? {
                    visit(described, &mut entry)?;
                }
            }
            Ok(())
        })
    }

    /// Calls `read` with the package's files as a plain tar archive, to be passed on as it is.
    pub fn with_data_tar<T>(&self, read: impl FnOnce(&mut dyn Read) -> io::Result<T>) -> Result<T, DebError> {
        self.with_member("data.tar", |reader| {
            read(&mut reader.take(MAX_UNPACKED)).map_err(|source| self.damaged(source))
        })
    }

    /// The file `name` of the package's control archive, such as `control` or `postinst`; `None` when it has none.
    pub fn control(&self, name: &str) -> Result<Option<Vec<u8>>, DebError> {
        self.with_member("control.tar", |reader| {
            let mut archive = tar::Archive::new(reader.take(MAX_CONTROL));
            for entry in archive.entries().map_err(|source| self.damaged(source))? {
                let mut entry = entry.map_err(|source| self.damaged(source))?;
                if relative(&entry.path_bytes()).as_deref() == Some(Path::new(name)) {
                    let mut content = Vec::new();
                    entry.read_to_end(&mut content).map_err(|source| self.damaged(source))?;
                    return Ok(Some(content));
                }
            }
            Ok(None)
        })
    }

    fn damaged(&self, source: io::Error) -> DebError {
        DebError::Damaged { path: self.path.clone(), source }
    }

    /// Calls `read` with the decompressed member whose name begins with `member`.
    fn with_member<T, E: From<DebError>>(
        &self,
        member: &'static str,
        read: impl FnOnce(&mut dyn Read) -> Result<T, E>,
    ) -> Result<T, E> {
        let file = File::open(&self.path)
            .map_err(|source| DebError::from(FsError::on("open", &self.path)(source)))?;
        let mut archive = ar::Archive::new(BufReader::with_capacity(1 << 17, file));
        while let Some(entry) = archive.next_entry() {
            let mut entry = entry.map_err(|source| self.damaged(source))?;
            let name = String::from_utf8_lossy(entry.header().identifier()).into_owned();
            let Some(extension) = name.trim_end_matches('/').strip_prefix(member) else {
                continue;
            };
            let mut buffered = BufReader::with_capacity(1 << 17, &mut entry);
            return match extension {
                "" => read(&mut buffered),
                ".gz" => read(&mut flate2::bufread::MultiGzDecoder::new(buffered)),
                ".xz" => read(&mut xz_decoder(buffered).map_err(|source| self.damaged(source))?),
                _ => Err(self.no_member(member, Some(name)).into()),
            };
        }
        Err(self.no_member(member, None).into())
    }

    fn no_member(&self, member: &'static str, found_name: Option<String>) -> DebError {
        DebError::Member { path: self.path.clone(), member, found_name }
    }

    /// What a tar entry is; `None` for the kinds that carry no file, such as global headers.
    fn describe(&self, entry: &tar::Entry<'_, impl Read>) -> Result<Option<DebEntry>, DebError> {
        let bad = |source| self.damaged(source);
        let header = entry.header();
        let link = || entry.link_name_bytes().unwrap_or_default();
        let kind = match header.entry_type() {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => EntryKind::File,
            EntryType::Directory => EntryKind::Directory,
            EntryType::Symlink => EntryKind::Symlink(PathBuf::from(OsStr::from_bytes(&link()))),
            EntryType::Link => EntryKind::Hardlink(self.safe(&link())?),
            EntryType::Char => EntryKind::CharDevice {
                major: header.device_major().map_err(bad)?.unwrap_or(0),
                minor: header.device_minor().map_err(bad)?.unwrap_or(0),
            },
            _ => return Ok(None),
        };
        Ok(Some(DebEntry {
            path: self.safe(&entry.path_bytes())?,
            size: if kind == EntryKind::File { entry.size() } else { 0 },
            kind,
            mode: header.mode().map_err(bad)? & 0o7777,
            uid: header.uid().map_err(bad)?,
            gid: header.gid().map_err(bad)?,
            mtime: header.mtime().map_err(bad)?,
        }))
    }

    fn safe(&self, path: &[u8]) -> Result<PathBuf, DebError> {
        relative(path).ok_or_else(|| DebError::UnsafePath {
            path: self.path.clone(),
            entry: PathBuf::from(OsStr::from_bytes(path)),
        })
    }
}

/// The path without `.` components, unless it is absolute, climbs, or holds a NUL.
fn relative(path: &[u8]) -> Option<PathBuf> {
    if path.contains(&0) {
        return None;
    }
    let mut clean = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(path)).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::ParentDir => return None,
        }
    }
    Some(clean)
}

/// A decoder of an xz stream that allocates within bounds.
pub(crate) fn xz_decoder<R: BufRead>(reader: R) -> io::Result<liblzma::bufread::XzDecoder<R>> {
    let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
    Ok(liblzma::bufread::XzDecoder::new_stream(reader, stream))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debian::testing::xz;
    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;
    use std::io::Write;

    type Pack = fn(&[u8]) -> Vec<u8>;

    fn tar_of(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            // Set by hand: the crate's own setters refuse the paths that the reader has to refuse.
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o4755);
            header.set_uid(7);
            header.set_gid(8);
            header.set_mtime(9);
            let link = matches!(kind, EntryType::Symlink | EntryType::Link);
            let data = if link { "" } else { content };
            if link {
                header.as_mut_bytes()[157..157 + content.len()].copy_from_slice(content.as_bytes());
            }
            header.set_size(data.len() as u64);
            header.set_cksum();
            builder.append(&header, data.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn deb(dir: &Path, members: &[(&str, Vec<u8>)]) -> Deb {
        let path = dir.join("x.deb");
        let mut builder = ar::Builder::new(File::create(&path).unwrap());
        for (name, content) in members {
            let header = ar::Header::new(name.as_bytes().to_vec(), content.len() as u64);
            builder.append(&header, content.as_slice()).unwrap();
        }
        Deb::open(path)
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn list(deb: &Deb) -> Result<Vec<(PathBuf, EntryKind, String)>, DebError> {
        let mut found = Vec::new();
        deb.for_each(|entry, reader| {
            let mut content = String::new();
            reader.read_to_string(&mut content).unwrap();
            assert_eq!((entry.mode, entry.uid, entry.gid, entry.mtime), (0o4755, 7, 8, 9));
            found.push((entry.path, entry.kind, content));
            Ok::<(), DebError>(())
        })?;
        Ok(found)
    }

    #[test]
    fn files_and_control_are_read_from_every_packing() {
        let dir = tempfile::tempdir().unwrap();
        let data = tar_of(&[
            ("./", EntryType::Directory, ""),
            ("./usr/bin/tool", EntryType::Regular, "content"),
            ("./usr/bin/link", EntryType::Symlink, "/etc/../tool"),
            ("./usr/bin/hard", EntryType::Link, "./usr/bin/tool"),
        ]);
        let control = tar_of(&[("./control", EntryType::Regular, "Package: x\n")]);
        let packings: [(&str, Pack); 3] = [("", <[u8]>::to_vec), (".gz", gz), (".xz", xz)];
        for (extension, pack) in packings {
            let deb = deb(
                dir.path(),
                &[
                    ("debian-binary", b"2.0\n".to_vec()),
                    (&format!("control.tar{extension}"), pack(&control)),
                    (&format!("data.tar{extension}"), pack(&data)),
                ],
            );
            let found = list(&deb).unwrap();
            assert_eq!(
                found,
                [
                    (PathBuf::new(), EntryKind::Directory, String::new()),
                    ("usr/bin/tool".into(), EntryKind::File, "content".to_owned()),
                    ("usr/bin/link".into(), EntryKind::Symlink("/etc/../tool".into()), String::new()),
                    ("usr/bin/hard".into(), EntryKind::Hardlink("usr/bin/tool".into()), String::new()),
                ]
            );
            assert_eq!(deb.control("control").unwrap().unwrap(), b"Package: x\n");
            assert_eq!(deb.control("postinst").unwrap(), None);
            let copied = deb.with_data_tar(|reader| {
                let mut all = Vec::new();
                reader.read_to_end(&mut all).map(|_| all)
            });
            assert_eq!(copied.unwrap(), data);
        }
    }

    #[test]
    fn hostile_paths_are_named() {
        let dir = tempfile::tempdir().unwrap();
        for (path, kind, target) in [
            ("/etc/passwd", EntryType::Regular, ""),
            ("./a/../../b", EntryType::Regular, ""),
            ("..", EntryType::Directory, ""),
            ("./a", EntryType::Link, "/etc/passwd"),
            ("./a", EntryType::Link, "../x"),
        ] {
            let deb = deb(dir.path(), &[("data.tar", tar_of(&[(path, kind, target)]))]);
            let error = list(&deb).unwrap_err();
            let named = if target.is_empty() { path } else { target };
            assert!(
                matches!(&error, DebError::UnsafePath { entry, .. } if entry == Path::new(named)),
                "{error}"
            );
        }
    }

    #[test]
    fn damaged_packages_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let data = xz(&tar_of(&[("./a", EntryType::Regular, "content")]));
        let half = data[..data.len() / 2].to_vec();
        for (members, kind) in [
            (vec![], ErrorKind::Integrity),
            (vec![("debian-binary", b"2.0\n".to_vec())], ErrorKind::Unsupported),
            (vec![("data.tar.lzma", data.clone())], ErrorKind::Unsupported),
            (vec![("data.tar.xz", half)], ErrorKind::Integrity),
            (vec![("data.tar.gz", data)], ErrorKind::Integrity),
        ] {
            let error = list(&deb(dir.path(), &members)).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains("x.deb"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn relative_paths_never_leave(path in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(clean) = relative(&path) {
                prop_assert!(clean.components().all(|part| matches!(part, Component::Normal(_))));
                prop_assert_eq!(relative(clean.as_os_str().as_bytes()), Some(clean.clone()));
            }
        }

        #[test]
        fn arbitrary_bytes_are_no_package(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("x.deb");
            std::fs::write(&path, [b"!<arch>\n".as_slice(), &bytes].concat()).unwrap();
            prop_assert!(list(&Deb::open(path)).is_err());
        }
    }
}
