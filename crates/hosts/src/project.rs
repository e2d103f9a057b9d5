//! Files of the project that a host is started in.

use std::path::{Path, PathBuf};

/// `directory` and each directory above it up to the root of its Git checkout, nearest first. Outside of a checkout there is
/// nothing above.
pub fn directories(directory: &Path) -> impl Iterator<Item = &Path> {
    let to_root = directory.ancestors().position(|above| above.join(".git").exists()).unwrap_or(0);
    directory.ancestors().take(to_root + 1)
}

/// `names` in each of these directories.
pub fn files(directory: &Path, names: &[&str]) -> Vec<PathBuf> {
    directories(directory).flat_map(|directory| names.iter().map(move |name| directory.join(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_above_the_checkout_does_not_count() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let inner = root.join("a/b/c");
        std::fs::create_dir_all(&inner).unwrap();
        assert_eq!(files(&inner, &["x"]), [inner.join("x")]);
        std::fs::create_dir(root.join("a/.git")).unwrap();
        let expected = [
            inner.join("x"),
            inner.join("y"),
            root.join("a/b/x"),
            root.join("a/b/y"),
            root.join("a/x"),
            root.join("a/y"),
        ];
        assert_eq!(files(&inner, &["x", "y"]), expected);
    }
}
