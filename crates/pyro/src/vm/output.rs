//! Where a command's output goes.

use bytes::Bytes;
use tokio::sync::mpsc;

/// Most bytes kept of each output when it is captured; more is counted but not kept.
pub const MAX_CAPTURED_BYTES: usize = 4 * 1024 * 1024;

/// A piece of output, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputChunk {
    /// Of standard output.
    Stdout(Bytes),
    /// Of standard error.
    Stderr(Bytes),
}

/// What to do with the output of a command.
#[derive(Debug)]
pub enum OutputMode {
    /// Keep it for the result, up to [`MAX_CAPTURED_BYTES`] of each.
    Capture,
    /// Send it on as it comes, and keep none. A slow receiver slows the command; one that is gone is ignored.
    Stream(mpsc::Sender<OutputChunk>),
}

/// One captured output.
#[derive(Debug, Default)]
pub(super) struct Captured {
    kept: Vec<u8>,
    total: u64,
}

impl Captured {
    pub(super) fn push(&mut self, data: &[u8]) {
        let room = MAX_CAPTURED_BYTES - self.kept.len();
        self.kept.extend_from_slice(&data[..data.len().min(room)]);
        self.total += data.len() as u64;
    }

    pub(super) fn count(&mut self, data: &[u8]) {
        self.total += data.len() as u64;
    }

    /// Text, with U+FFFD for what is not UTF-8; bytes written in all; whether some were not kept; whether the text
    /// differs from the bytes.
    pub(super) fn finish(self) -> CapturedText {
        let truncated = !self.kept.is_empty() && self.total > self.kept.len() as u64;
        let bytes = self.total;
        match String::from_utf8(self.kept) {
            Ok(text) => CapturedText { text, bytes, truncated, lossy: false },
            Err(error) => {
                // A character cut in two at the limit is no sign of binary output.
                let only_cut = truncated && error.utf8_error().error_len().is_none();
                let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                CapturedText { text, bytes, truncated, lossy: !only_cut }
            }
        }
    }
}

pub(super) struct CapturedText {
    pub(super) text: String,
    pub(super) bytes: u64,
    pub(super) truncated: bool,
    pub(super) lossy: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_up_to_the_limit_and_says_what_it_did() {
        let mut captured = Captured::default();
        captured.push(b"text");
        let text = captured.finish();
        assert_eq!((text.text.as_str(), text.bytes, text.truncated, text.lossy), ("text", 4, false, false));

        let mut captured = Captured::default();
        captured.push(b"\xff\x00");
        assert!(captured.finish().lossy);

        let mut captured = Captured::default();
        captured.push("ä".repeat(MAX_CAPTURED_BYTES / 2 + 1).as_bytes());
        let text = captured.finish();
        assert!(text.truncated && !text.lossy && text.text.len() <= MAX_CAPTURED_BYTES);
        assert_eq!(text.bytes, MAX_CAPTURED_BYTES as u64 + 2);
    }
}
