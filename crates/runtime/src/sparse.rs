//! Copies of guests' memories and disks without their pages of zeros. Where those are to stay, [`crate::fs::copy_sparse`] is faster.

use crate::fs::{FsError, data_regions};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

const PAGE_BYTES: usize = 4096;
static ZEROES: [u8; PAGE_BYTES] = [0; PAGE_BYTES];
/// Read at a time.
const PIECE_BYTES: usize = 256 * PAGE_BYTES;

/// Writes what is in `from`, a guest's memory or disk, to a new file at `path`, with holes in the place of pages of zeros: however
/// that is copied, it has the same holes. Fails when there is such a file.
pub fn write(from: &File, path: &Path) -> Result<(), FsError> {
    let target = File::create_new(path).map_err(FsError::on("create", path))?;
    copy_pages(from, &target).map_err(FsError::on("write", path))
}

/// Copies the pages that hold something, and leaves holes elsewhere.
fn copy_pages(from: &File, target: &File) -> io::Result<()> {
    target.set_len(from.metadata()?.len())?;
    let mut piece = vec![0; PIECE_BYTES];
    for region in data_regions(from) {
        let Range { start: mut at, end } = region?;
        while at < end {
            let want = usize::try_from(end - at).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
            from.read_exact_at(&mut piece[..want], at)?;
            for run in runs(&piece[..want]) {
                target.write_all_at(&piece[run.clone()], at + run.start as u64)?;
            }
            at += want as u64;
        }
    }
    Ok(())
}

/// The ranges of whole pages in `piece` that are not zero.
fn runs(piece: &[u8]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (index, page) in piece.chunks(PAGE_BYTES).enumerate() {
        if page == &ZEROES[..page.len()] {
            continue;
        }
        let (start, end) = (index * PAGE_BYTES, index * PAGE_BYTES + page.len());
        match runs.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => runs.push(start..end),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn only_pages_that_hold_something_are_written() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        let ram = File::create_new(&from).unwrap();
        ram.set_len(192 << 20).unwrap();
        for (byte, at) in
            [(0, 0), (1, PAGE_BYTES), (0, 5 << 20), (2, 100 << 20), (3, (100 << 20) + 3 * PAGE_BYTES)]
        {
            ram.write_all_at(&[byte; PAGE_BYTES], at as u64).unwrap();
        }
        write(&File::open(&from).unwrap(), &to).unwrap();
        assert!(std::fs::read(&to).unwrap() == std::fs::read(&from).unwrap());
        assert_eq!(std::fs::metadata(&to).unwrap().blocks() * 512, 3 * PAGE_BYTES as u64);
    }
}
