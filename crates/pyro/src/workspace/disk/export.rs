//! Exporting a disk: the whole root as one file system, at a new path of the host's.
//!
//! The image is made anew from what is in the root, so it has nothing of what was deleted, and marks in the place of secrets. Until
//! it is whole its file has no name, where the host's file system can do that: a process that is killed leaves nothing.

use super::{DiskPath, WorkspaceDiskError};
use crate::boxed;
use crate::engine::blocking;
use crate::store::Event;
use crate::workspace::{Redaction, WorkspaceError, WorkspaceId};
use crate::{Pyro, PyroError};
use jiff::Timestamp;
use pyro_disk::{ImageOptions, Rewrite, write_root};
use pyro_protocol::error::ErrorKind;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat};
use rustix::io::Errno;
use serde::Serialize;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Bytes of the unit that a file's blocks are counted in.
const COUNTED_BYTES: u64 = 512;

/// A disk that was exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkspaceDiskExport {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// Where the image is.
    pub output_path: String,
    /// `ext4`: a raw file system, without a partition table.
    pub format: &'static str,
    /// Files, directories and everything else in it.
    pub entry_count: u64,
    /// Size of the file system.
    pub size_bytes: u64,
    /// Bytes that it takes of the host's disk.
    pub allocated_bytes: u64,
    /// Extended attributes that ext4 had no room for.
    pub attributes_left_out: u64,
}

impl Pyro {
    /// Writes the whole root of a stopped workspace, as its guest would see it, to the new file `output` on the host, as a raw ext4
    /// file system. The file appears whole or not at all. Contents, targets of links and values of attributes have marks in the
    /// place of secrets; names are as they are. Fails when there is something at `output`, and as
    /// [`Pyro::list_workspace_disk`].
    #[boxed]
    pub async fn export_workspace_disk(
        &self,
        id: &WorkspaceId,
        output: &Path,
    ) -> Result<WorkspaceDiskExport, PyroError> {
        let output = std::path::absolute(output).unwrap_or_else(|_| output.to_owned());
        let disk = self.stopped_disk(id, "exporting its disk").await?;
        self.progress().phase(&format!("export-disk workspace_id={id}"));
        let place = output.clone();
        let image = blocking(move || Ok(NewImage::create(&place).map_err(WorkspaceError::from)?)).await?;
        let (rewriting, uuid) = (Rewriting::of(&disk.redaction), random_uuid()?);
        let whole = DiskPath::root();
        let written = disk.work(&whole, None, move |root| {
            let mut rewriting = rewriting;
            let rewrite = rewriting.as_mut().map(|rewriting| rewriting as &mut dyn Rewrite);
            let options = ImageOptions { uuid, now: Timestamp::now().as_second(), rewrite };
            write_root(root, image.file(), options).map(|written| (image, written))
        });
        let (image, written) = written.await.map_err(|error| disk.redaction.error(error))?;
        let allocated_bytes = blocking(move || Ok(image.install().map_err(WorkspaceError::from)?)).await?;
        let result = WorkspaceDiskExport {
            workspace_id: id.clone(),
            output_path: output.display().to_string(),
            format: "ext4",
            entry_count: written.files,
            size_bytes: written.bytes,
            allocated_bytes,
            attributes_left_out: written.attributes_left_out,
        };
        self.note_disk_export(&disk.redaction, &result).await;
        Ok(result)
    }

    /// Records the export for the summary. What was exported is there, whether or not that can be recorded.
    async fn note_disk_export(&self, redaction: &Redaction, export: &WorkspaceDiskExport) {
        let event = redaction.event(Event::Exported {
            path: "/".to_owned(),
            output: export.output_path.clone(),
            artifact_type: "disk".to_owned(),
            entries: export.entry_count,
            bytes: export.allocated_bytes,
        });
        let id = export.workspace_id.clone();
        let _unrecorded = self.transact(move |store| event.insert(store, &id)).await;
    }
}

/// Takes the values of secrets out of what is copied.
struct Rewriting(Box<dyn pyro_tree::Rewrite>);

impl Rewriting {
    fn of(redaction: &Redaction) -> Option<Self> {
        redaction.rewrite().map(Self)
    }
}

impl Rewrite for Rewriting {
    fn push(&mut self, content: &[u8], out: &mut Vec<u8>) {
        self.0.push(content, out);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.0.finish(out);
    }
}

fn random_uuid() -> Result<[u8; 16], PyroError> {
    let mut uuid = [0; 16];
    let failed =
        |error| WorkspaceDiskError::Output { path: "/dev/urandom".into(), source: io::Error::other(error) };
    getrandom::fill(&mut uuid).map_err(failed).map_err(WorkspaceError::from)?;
    // Version 4, of the usual variant.
    uuid[6] = uuid[6] & 0x0f | 0x40;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    Ok(uuid)
}

/// A file on its way to its place.
struct NewImage {
    output: PathBuf,
    directory: PathBuf,
    file: NewFile,
}

enum NewFile {
    /// It gets its name when it is whole.
    Unnamed(File),
    /// It has another name until then, on file systems that know no files without.
    Beside(NamedTempFile),
}

impl NewImage {
    /// Fails when there is something at `output`, or no directory around it.
    fn create(output: &Path) -> Result<Self, WorkspaceDiskError> {
        if fs::symlink_metadata(output).is_ok() {
            return Err(WorkspaceDiskError::OutputExists { path: output.to_owned() });
        }
        let failed = |source| WorkspaceDiskError::Output { path: output.to_owned(), source };
        let directory = output.parent().unwrap_or(Path::new("/")).to_owned();
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = match openat(CWD, &directory, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => NewFile::Unnamed(file.into()),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                let beside = tempfile::Builder::new().prefix(".pyro-").tempfile_in(&directory);
                NewFile::Beside(beside.map_err(failed)?)
            }
            Err(error) => return Err(failed(error.into())),
        };
        Ok(Self { output: output.to_owned(), directory, file })
    }

    fn file(&self) -> &File {
        match &self.file {
            NewFile::Unnamed(file) => file,
            NewFile::Beside(file) => file.as_file(),
        }
    }

    /// Gives the file its name, in the place of nothing; returns what it takes of the disk.
    fn install(self) -> Result<u64, WorkspaceDiskError> {
        let path = self.output;
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => WorkspaceDiskError::OutputExists { path: path.clone() },
            _ => WorkspaceDiskError::Output { path: path.clone(), source },
        };
        let file = match self.file {
            NewFile::Unnamed(file) => {
                let own = format!("/proc/self/fd/{}", file.as_raw_fd());
                linkat(CWD, own, CWD, &path, AtFlags::SYMLINK_FOLLOW)
                    .map_err(|error| failed(error.into()))?;
                file
            }
            NewFile::Beside(file) => file.persist_noclobber(&path).map_err(|error| failed(error.error))?,
        };
        File::open(&self.directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
        Ok(file.metadata().map_err(failed)?.blocks() * COUNTED_BYTES)
    }
}

/// What a file could not be written for.
pub(super) fn kind_of(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::PermissionDenied,
        io::ErrorKind::StorageFull | io::ErrorKind::FileTooLarge => ErrorKind::Exhausted,
        io::ErrorKind::NotADirectory => ErrorKind::InvalidInput,
        _ => ErrorKind::Host,
    }
}
