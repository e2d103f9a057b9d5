//! The bootstrap image: what the second stage boots.
//!
//! The essential packages' files lie where they belong, below the merged `/usr` of today's Debian. All packages lie in
//! [`PACKAGES_DIR`], their data uncompressed: decompressing xz in an emulated guest would take longer than everything
//! else. Two lists there say which are essential.

use super::{Packages, on};
use crate::ImagesError;
use pyro_runtime::debian::{Deb, DebEntry, DebError, EntryKind};
use pyro_runtime::{Bundle, MkfsTar, Package, Tails};
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Component, Path, PathBuf};
use tar::{EntryType, Header};

/// Where the packages and the script are in the bootstrap image.
pub(super) const PACKAGES_DIR: &str = "/pyro-build";
/// The script of the second stage, in [`PACKAGES_DIR`].
pub(super) const SCRIPT: &str = "second-stage.sh";

const SCRIPT_TEXT: &str = include_str!("second-stage.sh");
/// Top-level directories that are links into `/usr`.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];
/// Directories that the agent mounts on, or that scripts expect before any package has made them.
const DIRECTORIES: [&str; 8] =
    ["dev", "proc", "sys", "run", "tmp", "workspace", "usr/lib/modules", "var/tmp"];

type TarWriter = tar::Builder<MkfsTar>;

pub(super) fn build(
    bundle: &Bundle,
    packages: &Packages,
    work: &Path,
    target: &Path,
) -> Result<(), ImagesError> {
    let mkfs = MkfsTar::start(bundle, target, packages.origin.date.as_second(), Tails::Inline)?;
    let mut writer = Writer { tar: tar::Builder::new(mkfs), directories: HashSet::new() };
    let written = write_all(&mut writer, packages, work, target);
    // When mkfs.erofs has ended early, its own words say more than that it no longer reads.
    match (written, writer.tar.into_inner().map_err(on("write", target))) {
        (Ok(()), mkfs) => Ok(mkfs?.finish()?),
        (Err(error), Ok(mkfs)) => {
            mkfs.finish()?;
            Err(error)
        }
        (Err(error), Err(_)) => Err(error),
    }
}

fn write_all(
    writer: &mut Writer,
    packages: &Packages,
    work: &Path,
    target: &Path,
) -> Result<(), ImagesError> {
    writer.layout().map_err(on("write", target))?;
    for (package, file) in &packages.essential {
        writer.unpack(package, file)?;
    }
    for (list, chosen) in [("essential", &packages.essential), ("others", &packages.others)] {
        let mut names = Vec::new();
        for (package, file) in chosen {
            let name = format!("{}_{}.deb", package.name, package.architecture);
            writer.repack(&name, file, work)?;
            names.push(name);
        }
        writer.file(list, 0o644, names.join("\n").as_bytes()).map_err(on("write", target))?;
    }
    writer.file(SCRIPT, 0o755, SCRIPT_TEXT.as_bytes()).map_err(on("write", target))
}

struct Writer {
    tar: TarWriter,
    /// Written already: a directory is in many packages, and the first one decides.
    directories: HashSet<PathBuf>,
}

impl Writer {
    fn layout(&mut self) -> io::Result<()> {
        self.directory(Path::new("usr"), 0o755)?;
        for name in MERGED {
            let mut header = header_of(EntryType::Symlink, 0o777, 0);
            self.directory(&Path::new("usr").join(name), 0o755)?;
            self.tar.append_link(&mut header, name, format!("usr/{name}"))?;
        }
        for name in DIRECTORIES {
            let mode = if name.ends_with("tmp") { 0o1777 } else { 0o755 };
            self.parents(Path::new(name))?;
            self.directory(Path::new(name), mode)?;
        }
        self.directory(Path::new(PACKAGES_DIR.trim_start_matches('/')), 0o755)
    }

    fn parents(&mut self, path: &Path) -> io::Result<()> {
        let mut ancestors: Vec<PathBuf> = path.ancestors().skip(1).map(Path::to_owned).collect();
        ancestors.reverse();
        ancestors
            .iter()
            .filter(|path| !path.as_os_str().is_empty())
            .try_for_each(|path| self.directory(path, 0o755))
    }

    fn directory(&mut self, path: &Path, mode: u32) -> io::Result<()> {
        if !self.directories.insert(path.to_owned()) {
            return Ok(());
        }
        self.tar.append_data(&mut header_of(EntryType::Directory, mode, 0), path, io::empty())
    }

    fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        let path = Path::new(PACKAGES_DIR.trim_start_matches('/')).join(name);
        self.tar.append_data(&mut header_of(EntryType::Regular, mode, content.len() as u64), path, content)
    }

    fn unpack(&mut self, package: &Package, file: &Path) -> Result<(), ImagesError> {
        let failed = |source| ImagesError::Unpack { package: package.name.clone(), source };
        let visited =
            Deb::open(file).for_each(|entry, content| self.entry(&entry, content).map_err(Visit::Write));
        visited.map_err(|error| match error {
            Visit::Read(source) => failed(io::Error::other(source)),
            Visit::Write(source) => failed(source),
        })
    }

    fn entry(&mut self, entry: &DebEntry, content: &mut dyn Read) -> io::Result<()> {
        let path = merged(&entry.path);
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        self.parents(&path)?;
        let mut header = header_of(EntryType::Regular, entry.mode, entry.size);
        header.set_uid(entry.uid);
        header.set_gid(entry.gid);
        header.set_mtime(entry.mtime);
        match &entry.kind {
            EntryKind::Directory => {
                if !self.directories.insert(path.clone()) {
                    return Ok(());
                }
                header.set_entry_type(EntryType::Directory);
                self.tar.append_data(&mut header, path, io::empty())
            }
            EntryKind::File => self.tar.append_data(&mut header, path, content),
            // A package that ships the merged-/usr links itself ships what the layout has already.
            EntryKind::Symlink(_) if MERGED.iter().any(|name| entry.path == Path::new(name)) => Ok(()),
            EntryKind::Symlink(target) => {
                header.set_entry_type(EntryType::Symlink);
                self.tar.append_link(&mut header, path, target)
            }
            EntryKind::Hardlink(target) => {
                header.set_entry_type(EntryType::Link);
                self.tar.append_link(&mut header, path, merged(target))
            }
            EntryKind::CharDevice { major, minor } => {
                header.set_entry_type(EntryType::Char);
                header.set_device_major(*major)?;
                header.set_device_minor(*minor)?;
                self.tar.append_data(&mut header, path, io::empty())
            }
        }
    }

    /// Writes the package with its data uncompressed, which dpkg takes as well.
    fn repack(&mut self, name: &str, file: &Path, work: &Path) -> Result<(), ImagesError> {
        let failed = |source| ImagesError::Unpack { package: name.to_owned(), source };
        let mut repacked = repacked(file, work).map_err(failed)?;
        let size = repacked.seek(io::SeekFrom::End(0)).map_err(failed)?;
        repacked.rewind().map_err(failed)?;
        let path = Path::new(PACKAGES_DIR.trim_start_matches('/')).join(name);
        let mut header = header_of(EntryType::Regular, 0o644, size);
        self.tar.append_data(&mut header, path, repacked).map_err(failed)
    }
}

enum Visit {
    Read(DebError),
    Write(io::Error),
}

impl From<DebError> for Visit {
    fn from(error: DebError) -> Self {
        Self::Read(error)
    }
}

fn repacked(file: &Path, work: &Path) -> io::Result<File> {
    let mut data = tempfile::tempfile_in(work)?;
    Deb::open(file).with_data_tar(|tar| io::copy(tar, &mut data)).map_err(io::Error::other)?;
    data.rewind()?;
    let mut members = ar::Archive::new(io::BufReader::new(File::open(file)?));
    let mut out = ar::Builder::new(tempfile::tempfile_in(work)?);
    while let Some(member) = members.next_entry() {
        let mut member = member?;
        let header = member.header().clone();
        if header.identifier().starts_with(b"data.tar") {
            out.append_file(b"data.tar", &mut data)?;
        } else {
            out.append(&header, &mut member)?;
        }
    }
    let mut out = out.into_inner()?;
    out.flush()?;
    Ok(out)
}

fn header_of(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// The path below the merged `/usr`: `bin/sh` is `usr/bin/sh`.
fn merged(path: &Path) -> PathBuf {
    match path.components().next() {
        Some(Component::Normal(first)) if MERGED.iter().any(|name| first == *name) => {
            Path::new("usr").join(path)
        }
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_merged_directories_move_below_usr() {
        for (from, to) in [
            ("bin/sh", "usr/bin/sh"),
            ("lib64", "usr/lib64"),
            ("usr/bin/sh", "usr/bin/sh"),
            ("binary/x", "binary/x"),
        ] {
            assert_eq!(merged(Path::new(from)), Path::new(to));
        }
    }
}
