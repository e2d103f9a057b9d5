//! Every bound that both ends of the channel rely on.

use std::time::Duration;

/// Largest frame either end accepts, in bytes.
pub const MAX_FRAME_BYTES: usize = 256 * 1024;

/// Most payload put into one `Output` or `Data` message, in bytes.
pub const MAX_CHUNK_BYTES: usize = 64 * 1024;

/// Most streams (calls) open at once on one connection.
pub const MAX_STREAMS: usize = 512;

/// Upper bound of the receive windows of a connection together, in bytes.
pub const MAX_CONNECTION_WINDOW_BYTES: usize = 128 * 1024 * 1024;

/// Most bytes of a command's arguments and environment together.
pub const MAX_ARGUMENT_BYTES: usize = 128 * 1024;

/// Longest path accepted, in bytes (Linux' own `PATH_MAX`).
pub const MAX_PATH_BYTES: usize = 4096;

/// Longest failure message kept from the other end, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 4096;

/// Longest timeout of one command.
pub const MAX_TIMEOUT: Duration = Duration::from_hours(24);

/// How long output that left-over processes hold open is still read after a command ended.
pub const OUTPUT_LINGER: Duration = Duration::from_millis(500);

/// Most entries in one archive.
pub const MAX_ARCHIVE_ENTRIES: u64 = 1_000_000;

/// Most bytes that one archive may unpack to.
pub const MAX_ARCHIVE_BYTES: u64 = 64 * 1024 * 1024 * 1024;

/// Most bytes of paths and link targets in one listing.
pub const MAX_LIST_BYTES: u64 = 16 * 1024 * 1024;

/// Most files that one replace changes.
pub const MAX_REPLACE_FILES: usize = 10_000;

/// Most bytes of content that one replace writes.
pub const MAX_REPLACE_BYTES: u64 = 256 * 1024 * 1024;

/// Longest time that a guest's disk stays frozen.
pub const MAX_FREEZE: Duration = Duration::from_mins(10);

/// Most shells of a guest, those that have ended and were not closed included.
pub const MAX_SHELLS: usize = 16;

/// What is kept of the output of a shell.
pub const SHELL_BUFFER_BYTES: usize = 1024 * 1024;

/// Longest wait of one read of a shell.
pub const MAX_SHELL_WAIT: Duration = Duration::from_mins(1);

/// How long what is typed into a shell may wait to be taken.
pub const SHELL_WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// Most services of a guest, those that have ended included.
pub const MAX_SERVICES: usize = 16;

/// What is kept of each output of a service.
pub const SERVICE_LOG_BYTES: usize = 512 * 1024;

/// Longest time that a service may take to become ready, and to be stopped.
pub const MAX_SERVICE_WAIT: Duration = Duration::from_mins(10);

/// Most secrets of a guest.
pub const MAX_SECRETS: usize = 64;

/// Longest secret, in bytes.
pub const MAX_SECRET_BYTES: usize = 64 * 1024;

/// Most bytes of secrets together: they are handed over in one frame.
pub const MAX_SECRETS_BYTES: usize = 192 * 1024;

/// How long a connection into a guest may take to be accepted.
pub const DIAL_DEADLINE: Duration = Duration::from_secs(10);

/// Most columns and rows of a terminal.
pub const MAX_TERMINAL_SIZE: u32 = 1000;

const _: () = assert!(MAX_CHUNK_BYTES + 1024 <= MAX_FRAME_BYTES);
const _: () = assert!(MAX_ARGUMENT_BYTES + MAX_PATH_BYTES + 1024 <= MAX_FRAME_BYTES);
const _: () = assert!(MAX_SECRETS_BYTES + MAX_SECRETS * 256 + 1024 <= MAX_FRAME_BYTES);
// A frame of entries is sent once it holds a chunk's worth, and the last one may have two paths.
const _: () = assert!(MAX_CHUNK_BYTES + 2 * MAX_PATH_BYTES + 1024 <= MAX_FRAME_BYTES);
// yamux grants each stream this much before it grows a window.
const _: () = assert!(MAX_CONNECTION_WINDOW_BYTES >= MAX_STREAMS * 256 * 1024);
