//! The rate of the host's time-stamp counter, which software emulation hands to the guest unchanged.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

const SAMPLE: Duration = Duration::from_millis(20);

/// Ticks a millisecond, measured once a process. The guest's kernel is told, because it cannot measure it reliably on
/// a loaded host.
pub(super) fn khz() -> u64 {
    static KHZ: OnceLock<u64> = OnceLock::new();
    *KHZ.get_or_init(measure)
}

fn measure() -> u64 {
    let (start, first) = reading();
    std::thread::sleep(SAMPLE);
    let (end, last) = reading();
    let nanoseconds = (end - start).as_nanos().max(1);
    let khz = u128::from(last.wrapping_sub(first)) * 1_000_000 / nanoseconds;
    u64::try_from(khz).unwrap_or(u64::MAX).max(1)
}

/// Both clocks at one moment: of several tries the one that was interrupted the least.
fn reading() -> (Instant, u64) {
    let tries = (0..8).map(|_| {
        let before = ticks();
        let now = Instant::now();
        let after = ticks();
        (after.wrapping_sub(before), now, before.wrapping_add(after.wrapping_sub(before) / 2))
    });
    tries
        .min_by_key(|(gap, ..)| *gap)
        .map_or_else(|| (Instant::now(), ticks()), |(_, now, ticks)| (now, ticks))
}

fn ticks() -> u64 {
    // SAFETY: every x86-64 CPU has RDTSC, and Linux leaves it to user space.
    #[expect(unsafe_code, reason = "the intrinsic is not safe in std")]
    unsafe {
        core::arch::x86_64::_rdtsc()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_measurements_agree_to_a_hundredth() {
        let (first, second) = (super::measure(), super::measure());
        assert!(first.abs_diff(second) * 100 < first, "{first} kHz, then {second} kHz");
    }
}
