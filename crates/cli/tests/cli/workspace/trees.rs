//! Trees of files on the host, and archives of them.

use pyro_testkit::Home;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tar::{EntryType, Header};

/// A new directory in a home.
pub(super) fn directory(home: &Home, name: &str) -> PathBuf {
    let root = home.path().join(name);
    fs::create_dir(&root).unwrap();
    root
}

/// The names of what is in a directory, in order.
pub(super) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    names
}

/// Everything beneath `root`, by its name: type, permissions, links' targets and files' contents.
pub(super) fn tree(root: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut found = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let (path, metadata) = (entry.path(), entry.metadata().unwrap());
            let mode = metadata.mode() & 0o7777;
            let what = if metadata.is_dir() {
                pending.push(path.clone());
                format!("directory {mode:o}")
            } else if metadata.is_symlink() {
                format!("link to {}", fs::read_link(&path).unwrap().display())
            } else if metadata.len() > 1 << 20 {
                format!("file {mode:o} of {} bytes at {}", metadata.len(), metadata.mtime())
            } else if metadata.is_file() {
                let content = fs::read(&path).unwrap();
                format!("file {mode:o} at {} with {:?}", metadata.mtime(), String::from_utf8_lossy(&content))
            } else {
                continue;
            };
            found.insert(path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec(), what);
        }
    }
    found
}

/// An archive made by the host's `tar`, compressed as its name says.
pub(super) fn archive(root: &Path, name: &str) -> PathBuf {
    let file = root.with_file_name(name);
    let mut tar = Command::new("tar");
    tar.args([
        "--create",
        "--auto-compress",
        "--sparse",
        "--format=gnu",
        "--exclude=./socket",
        "--exclude=./fifo",
    ]);
    let made = tar.arg("--file").arg(&file).arg("--directory").arg(root).arg(".").status();
    assert!(made.unwrap().success());
    file
}

/// One entry of a hostile archive, whose name and target no decent library would write.
pub(super) fn entry(kind: EntryType, name: &str, link: &str, content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}
