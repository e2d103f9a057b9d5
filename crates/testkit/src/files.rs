//! Files of tests.

use crate::Value;
use rustix::fs::{SeekFrom, seek};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::process::Command;

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

/// Copies the files directly in `from` into the existing directory `to`, holes as holes: a template's gibibyte is
/// mostly that. Hidden ones are what others are writing just now.
pub(crate) fn copy_files(from: &Path, to: &Path) {
    let is_hidden =
        |path: &Path| path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let files: Vec<_> = children(from).into_iter().filter(|path| !is_hidden(path)).collect();
    let copied = Command::new("cp").arg("--target-directory").arg(to).args(&files).status();
    assert!(copied.is_ok_and(|status| status.success()), "{files:?} cannot be copied to {}", to.display());
}

/// What a sparse file holds, and where: its data between the holes.
pub fn data_of(file: &Path) -> Vec<(u64, Vec<u8>)> {
    let file = File::open(file).expect("the file is there");
    let mut data = Vec::new();
    let mut at = 0;
    while let Ok(start) = seek(&file, SeekFrom::Data(at)) {
        at = seek(&file, SeekFrom::Hole(start)).expect("data ends in a hole, if only at the end");
        let length = usize::try_from(at - start).expect("this is a 64-bit host");
        let mut piece = vec![0; length];
        file.read_exact_at(&mut piece, start).expect("the file can be read");
        data.push((start, piece));
    }
    data
}

/// Changes the JSON document in a file, which is replaced.
pub fn edit_json(file: &Path, change: impl FnOnce(&mut Value)) {
    let text = fs::read(file).expect("the file is there");
    let mut document = serde_json::from_slice(&text).expect("the file is JSON");
    change(&mut document);
    fs::remove_file(file).expect("the file can be replaced");
    fs::write(file, document.to_string()).expect("the file can be replaced");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_holds_the_same_in_the_same_places() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        fs::create_dir(&from).and_then(|()| fs::create_dir(&to)).unwrap();
        let file = File::create(from.join("sparse")).unwrap();
        file.set_len(1 << 30).unwrap();
        file.write_all_at(b"here", 1 << 20).unwrap();
        fs::write(from.join(".being-written"), "").unwrap();
        copy_files(&from, &to);
        let data = data_of(&to.join("sparse"));
        assert_eq!(data, data_of(&from.join("sparse")));
        let [(start, piece)] = &data[..] else { panic!("{} pieces", data.len()) };
        assert!(*start <= 1 << 20 && piece.windows(4).any(|bytes| bytes == b"here"));
        assert_eq!(children(&to).len(), 1);
    }
}
