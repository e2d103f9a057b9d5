//! The last bytes of an endless output.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

const KEPT_BYTES: usize = 64 * 1024;

/// Keeps the last 64 KiB written to it; shared between the thread that writes and those that ask.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tail {
    kept: Arc<Mutex<VecDeque<u8>>>,
}

impl Tail {
    pub(crate) fn push(&self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(KEPT_BYTES)..];
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let surplus = (kept.len() + bytes.len()).saturating_sub(KEPT_BYTES);
        kept.drain(..surplus);
        kept.extend(bytes);
    }

    /// Whether `text` is among the kept bytes.
    pub(crate) fn contains(&self, text: &str) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.make_contiguous().windows(text.len()).any(|window| window == text.as_bytes())
    }

    /// The kept bytes as text that is safe to print: control characters other than line ends and tabs are dropped.
    pub(crate) fn text(&self) -> String {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (front, back) = kept.as_slices();
        let bytes = [front, back].concat();
        String::from_utf8_lossy(&bytes)
            .chars()
            .filter(|character| matches!(character, '\n' | '\t') || !character.is_control())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_only_the_end_and_nothing_that_moves_a_terminal() {
        let tail = Tail::default();
        tail.push(&vec![b'a'; KEPT_BYTES]);
        tail.push(b"\x1b[2Jend\r\n");
        assert!(tail.text().ends_with("[2Jend\n"));
        assert!(tail.text().len() <= KEPT_BYTES);
        tail.push(&vec![b'b'; 3 * KEPT_BYTES]);
        assert_eq!(tail.text(), "b".repeat(KEPT_BYTES));
    }
}
