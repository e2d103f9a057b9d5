//! Files of tests.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Makes `to` a tree of hard links to the files of `from`, so that a copy costs nothing. Whoever changes one of them
/// must replace it: what is written into it is written into the original. What others remove meanwhile, such as their
/// temporary files, is left out.
pub fn link_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            link_tree(&source, &target)?;
            continue;
        }
        match fs::hard_link(&source, &target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            linked => linked?,
        }
    }
    Ok(())
}

/// What is directly in `directory`; nothing when there is no such directory.
pub(crate) fn children(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Every socket below `directory`.
pub(crate) fn sockets(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in children(directory) {
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => found.extend(sockets(&path)),
            Ok(metadata) if metadata.file_type().is_socket() => found.push(path),
            _ => {}
        }
    }
    found
}
