//! What workspaces are filled with: files of text that no compressor and no file system finds anything alike in.

use anyhow::Result;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Files in one directory.
const FILES_PER_DIRECTORY: usize = 50;

/// A directory of `count` files of `bytes` each, removed when dropped.
pub fn tree(count: usize, bytes: usize) -> Result<TempDir> {
    let directory = tempfile::tempdir()?;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for number in 0..count {
        let parent = directory.path().join(format!("part-{:04}", number / FILES_PER_DIRECTORY));
        if number % FILES_PER_DIRECTORY == 0 {
            fs::create_dir(&parent)?;
        }
        write(&parent.join(format!("file-{number:06}.txt")), bytes, &mut random)?;
    }
    Ok(directory)
}

/// A directory with one file of `bytes`, removed when dropped.
pub fn file(bytes: usize) -> Result<TempDir> {
    tree(1, bytes)
}

fn write(path: &Path, bytes: usize, random: &mut Random) -> Result<()> {
    const LINE_BYTES: usize = 65;
    let mut text = String::with_capacity(bytes + LINE_BYTES);
    while text.len() < bytes {
        let [a, b, c, d] = [random.next(), random.next(), random.next(), random.next()];
        writeln!(text, "{a:016x}{b:016x}{c:016x}{d:016x}")?;
    }
    fs::write(path, &text[..bytes])?;
    Ok(())
}

/// Marsaglia's xorshift: the same numbers each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
