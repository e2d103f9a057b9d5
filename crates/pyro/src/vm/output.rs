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

impl OutputMode {
    /// Bytes of each output that a result holds.
    pub(super) fn kept_bytes(&self) -> usize {
        match self {
            Self::Capture => MAX_CAPTURED_BYTES,
            Self::Stream(_) => 0,
        }
    }
}

/// One output, of which the beginning is kept.
#[derive(Debug)]
pub(super) struct Captured {
    kept: Vec<u8>,
    most: usize,
    total: u64,
}

impl Captured {
    /// Keeps up to `most` bytes.
    pub(super) fn keeping(most: usize) -> Self {
        Self { kept: Vec::new(), most, total: 0 }
    }

    pub(super) fn push(&mut self, data: &[u8]) {
        let room = self.most - self.kept.len();
        self.kept.extend_from_slice(&data[..data.len().min(room)]);
        self.total += data.len() as u64;
    }

    /// Text, with U+FFFD for what is not UTF-8; bytes written in all; whether some were not kept; whether the text
    /// differs from the bytes.
    pub(super) fn finish(self) -> CapturedText {
        let truncated = self.most > 0 && self.total > self.kept.len() as u64;
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

pub(crate) struct CapturedText {
    pub(crate) text: String,
    pub(crate) bytes: u64,
    pub(crate) truncated: bool,
    pub(crate) lossy: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_up_to_the_limit_and_says_what_it_did() {
        let mut captured = Captured::keeping(MAX_CAPTURED_BYTES);
        captured.push(b"text");
        let text = captured.finish();
        assert_eq!((text.text.as_str(), text.bytes, text.truncated, text.lossy), ("text", 4, false, false));

        let mut captured = Captured::keeping(MAX_CAPTURED_BYTES);
        captured.push(b"\xff\x00");
        assert!(captured.finish().lossy);

        let mut captured = Captured::keeping(MAX_CAPTURED_BYTES);
        captured.push("ä".repeat(MAX_CAPTURED_BYTES / 2 + 1).as_bytes());
        let text = captured.finish();
        assert!(text.truncated && !text.lossy && text.text.len() <= MAX_CAPTURED_BYTES);
        assert_eq!(text.bytes, MAX_CAPTURED_BYTES as u64 + 2);
    }
}
