//! The one way to wait: look again until a deadline.

use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(10);

/// Calls `look` until it finds something or `deadline` has passed; it is called at least once.
pub fn poll_until<T>(deadline: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if begun.elapsed() >= deadline {
            return None;
        }
        std::thread::sleep(POLL);
    }
}
