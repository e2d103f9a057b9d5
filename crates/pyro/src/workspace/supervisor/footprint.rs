//! What a supervisor costs in memory.
//!
//! Starting a guest goes through a large part of the program, of which supervising it needs next to nothing. The pages of code
//! that are mapped by then are given back, so that only what is really used is mapped again.

use rustix::mm::{Advice, madvise};
use std::ffi::c_void;
use std::fs;

/// Unmaps the pages of this program's code. They stay in the kernel's page cache, and come back as they are used.
pub(super) fn give_back() {
    // Without it the supervisor is only larger.
    let Ok(maps) = fs::read_to_string("/proc/self/maps") else { return };
    let Ok(program) = fs::read_link("/proc/self/exe") else { return };
    let code =
        maps.lines().filter(|line| line.contains(" r-xp ") && line.ends_with(&*program.to_string_lossy()));
    for (start, end) in code.filter_map(range) {
        // SAFETY: the range is a private mapping of a file that is never written to (it is executable and not writable), so
        // dropping its pages changes nothing that can be read there: they are read from the file again.
        #[expect(unsafe_code, reason = "no safe wrapper can know what is mapped")]
        let _kept = unsafe { madvise(start as *mut c_void, end - start, Advice::LinuxDontNeed) };
    }
}

/// The addresses at the beginning of a line of `/proc/self/maps`.
fn range(line: &str) -> Option<(usize, usize)> {
    let (start, end) = line.split(' ').next()?.split_once('-')?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_code_survives() {
        assert_eq!(range("1000-2f00 r-xp 00000000 08:01 1 /a"), Some((0x1000, 0x2f00)));
        assert_eq!(range("nothing"), None);
        give_back();
        assert_eq!(range("0-1 r-xp"), Some((0, 1)));
    }
}
