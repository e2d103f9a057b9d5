//! Comparing a bundle with its manifest: quickly, or byte by byte.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::contents;
use super::error::{BundleError, Problem};
use super::manifest::{Manifest, ManifestFile};
use crate::digest::Sha256Digest;
use crate::fs::FsError;

/// The files that are missing or have another size, type or mode. Reads no content.
pub(super) fn presence(dir: &Path, manifest: &Manifest) -> Vec<Problem> {
    manifest.files.iter().filter_map(|file| check_metadata(dir, file).err()).collect()
}

/// Fails naming every difference between the bundle in `dir` and its manifest.
pub(super) fn contents(dir: &Path, manifest: &Manifest) -> Result<(), BundleError> {
    let mut problems = Vec::new();
    for file in &manifest.files {
        if let Err(problem) = check_metadata(dir, file).and_then(|()| check_content(dir, file)) {
            problems.push(problem);
        }
    }
    let known: BTreeSet<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
    for path in files_below(dir)? {
        if path != contents::MANIFEST && !known.contains(path.as_str()) {
            problems.push(Problem::Additional { path });
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(BundleError::Damaged { dir: dir.to_owned(), problems, own: false })
    }
}

fn check_metadata(dir: &Path, file: &ManifestFile) -> Result<(), Problem> {
    let changed = |how: String| Err(Problem::Changed { path: file.path.clone(), how });
    let Ok(metadata) = fs::symlink_metadata(dir.join(&file.path)) else {
        return Err(Problem::Missing { path: file.path.clone() });
    };
    if !metadata.is_file() {
        return changed("not a regular file".to_owned());
    }
    if metadata.len() != file.size {
        return changed(format!("{} bytes instead of {}", metadata.len(), file.size));
    }
    if mode_of(&metadata) != file.mode {
        return changed(format!("mode {:o} instead of {:o}", mode_of(&metadata), file.mode));
    }
    Ok(())
}

fn check_content(dir: &Path, file: &ManifestFile) -> Result<(), Problem> {
    let how = match digest(&dir.join(&file.path)) {
        Ok(actual) if actual == file.sha256 => return Ok(()),
        Ok(actual) => format!("sha256 {actual} instead of {}", file.sha256),
        Err(error) => error.source.to_string(),
    };
    Err(Problem::Changed { path: file.path.clone(), how })
}

/// The manifest's entry for a file of the bundle in `dir`.
pub(super) fn describe(dir: &Path, path: String) -> Result<ManifestFile, BundleError> {
    let full = dir.join(&path);
    let metadata = fs::symlink_metadata(&full).map_err(FsError::on("read", &full))?;
    Ok(ManifestFile { size: metadata.len(), mode: mode_of(&metadata), sha256: digest(&full)?, path })
}

/// The paths of everything that is not a directory below `dir`, relative to it, sorted.
pub(super) fn files_below(dir: &Path) -> Result<Vec<String>, BundleError> {
    let mut found = Vec::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).map_err(FsError::on("read", &directory))? {
            let path = entry.map_err(FsError::on("read", &directory))?.path();
            let metadata = fs::symlink_metadata(&path).map_err(FsError::on("read", &path))?;
            if metadata.is_dir() {
                pending.push(path);
            } else if let Ok(relative) = path.strip_prefix(dir) {
                found.push(relative.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

fn mode_of(metadata: &Metadata) -> u32 {
    metadata.permissions().mode() & 0o7777
}

fn digest(path: &Path) -> Result<Sha256Digest, FsError> {
    let mut file = File::open(path).map_err(FsError::on("read", path))?;
    let (digest, _) = Sha256Digest::of_reader(&mut file).map_err(FsError::on("read", path))?;
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::manifest::tests::manifest;

    #[test]
    fn every_difference_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        let names = ["bin/content", "bin/gone", "bin/link", "bin/mode", "bin/size", "bin/sound"];
        for name in names {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let files = names.iter().map(|name| describe(dir.path(), (*name).to_owned()).unwrap()).collect();
        let manifest = manifest(files);
        manifest.store(dir.path()).unwrap();
        contents(dir.path(), &manifest).unwrap();
        assert!(presence(dir.path(), &manifest).is_empty());

        fs::write(dir.path().join("bin/content"), "BIN/content").unwrap();
        fs::write(dir.path().join("bin/size"), "bin/size!").unwrap();
        fs::write(dir.path().join("bin/extra"), "").unwrap();
        fs::remove_file(dir.path().join("bin/gone")).unwrap();
        fs::remove_file(dir.path().join("bin/link")).unwrap();
        std::os::unix::fs::symlink("sound", dir.path().join("bin/link")).unwrap();
        fs::set_permissions(dir.path().join("bin/mode"), fs::Permissions::from_mode(0o777)).unwrap();
        let BundleError::Damaged { problems, .. } = contents(dir.path(), &manifest).unwrap_err() else {
            panic!()
        };
        let text: Vec<String> = problems.iter().map(Problem::to_string).collect();
        for (text, start) in text.iter().zip([
            "bin/content has changed (sha256 ",
            "bin/gone is missing",
            "bin/link has changed (not a regular file)",
            "bin/mode has changed (mode 777 instead of 644)",
            "bin/size has changed (9 bytes instead of 8)",
            "bin/extra does not belong",
        ]) {
            assert!(text.starts_with(start), "{text}");
        }
        assert_eq!(text.len(), 6);
        assert_eq!(presence(dir.path(), &manifest).len(), 4);
    }
}
