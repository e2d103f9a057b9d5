//! Secret values, replaced by [`MARK`] in byte streams: [`Secrets`] knows what to look for, a [`Redactor`] is one
//! stream, [`Secrets::redact`] is for what is there as a whole.
//!
//! What always holds:
//!
//! - No byte of any occurrence of any form of a value comes out. Occurrences that overlap become one mark, so the end
//!   of one secret that another begins in does not show either.
//! - Every other byte comes out, once and in order, except the padding behind an encoded value.
//! - The output does not depend on how the stream was cut into pieces.
//! - Nothing is held back but what may be the beginning of a form, so a prompt shows at once. What is held is never more
//!   than the longest form.
//! - Time is linear in the stream, whatever is in it. Its factor is the number of forms that begin alike and that the
//!   stream is in the middle of: in ordinary output none, where a secret is printed a few.
//!
//! How it works: the last four bytes are looked up in a filter of all forms' first four (`index`). A form that begins
//! is then followed by an automaton of its own (Knuth, Morris and Pratt) until it is complete or out of the question
//! (`pattern`). So a secret of 64 KiB costs its own length for each form, and no table of states.
//!
//! The forms of a value (`forms`), which is taken without one line end at its end:
//!
//! - as it is, and with its line ends as a terminal shows them;
//! - in base64, both alphabets, wherever in a longer text it begins, with and without padding, across line ends;
//! - percent-encoded by the usual rules (all but unreserved characters, paths, `encodeURIComponent`, forms), in
//!   upper and in lower case;
//! - escaped as in JSON: no more than has to be, all but ASCII, safe for HTML, with `\/`.
//!
//! Base64 of fewer than [`SHORT_FORM`] characters is looked for only where it stands alone, because a few characters
//! occur in any longer base64 by chance. What is not recognised: part of a value, a value that is compressed,
//! encrypted, written in hexadecimal digits or encoded twice, and up to four bits of its first byte beside it in the
//! base64 of a longer text.

mod breaks;
mod encode;
mod error;
mod forms;
mod held;
mod index;
mod pattern;
#[cfg(test)]
mod reference;
mod secrets;
mod stream;

pub use error::SecretsError;
pub use secrets::Secrets;
pub use stream::Redactor;

/// What stands in the place of a secret.
pub const MARK: &[u8] = b"[REDACTED]";

/// Shortest value, in bytes and without a line end at its end. Anything shorter is part of ordinary text.
pub const MIN_VALUE_BYTES: usize = 4;

/// Longest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;

/// Most secrets at once.
pub const MAX_SECRETS: usize = 64;

/// Base64 of fewer characters than this is looked for only where it stands alone.
pub const SHORT_FORM: usize = 8;
