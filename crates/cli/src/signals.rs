//! Ending in order when asked to: the work is dropped, which ends every machine, and the status says which signal.

use tokio::signal::unix::{SignalKind, signal};

const SIGHUP: u8 = 1;
const SIGINT: u8 = 2;
const SIGTERM: u8 = 15;

/// Returns the exit status for the first signal that asks pyro to end (128 + its number); never, where signals cannot
/// be watched, and the kernel's default applies.
pub async fn asked_to_end() -> u8 {
    let watched =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()));
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = watched else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => 128 + SIGINT,
        _ = terminate.recv() => 128 + SIGTERM,
        _ = hangup.recv() => 128 + SIGHUP,
    }
}
