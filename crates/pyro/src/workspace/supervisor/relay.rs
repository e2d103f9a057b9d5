//! The sockets in a workspace's directory.

use super::serve::BREATHER;
use pyro_runtime::fs::{FsError, remove_all};
use pyro_vmm::Guest;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, watch};

/// Calls of others into the guest at the same time; further ones wait to be accepted. The supervisor's own, which stop the
/// guest, always find room.
pub(super) const MAX_CALLS: usize = 128;

/// Listens at `socket`, however long its path is, in place of whoever did before.
pub(super) fn listen(socket: &Path) -> Result<UnixListener, FsError> {
    remove_all(socket)?;
    let in_path = |error| FsError::on("listen at", socket)(error);
    let directory = File::open(socket.parent().unwrap_or(Path::new("/"))).map_err(in_path)?;
    let name = socket.file_name().unwrap_or_default();
    let reachable = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
    UnixListener::bind(reachable).map_err(FsError::on("listen at", socket))
}

/// Relays every connection to a call into the guest that is there at the time, without end.
pub(super) async fn relay(listener: UnixListener, guest: watch::Receiver<Option<Guest>>) {
    let calls = Arc::new(Semaphore::new(MAX_CALLS));
    loop {
        let Ok(permit) = Arc::clone(&calls).acquire_owned().await else { return };
        let Ok((client, _)) = listener.accept().await else {
            // Too many open files: those who have some will close them.
            tokio::time::sleep(BREATHER).await;
            continue;
        };
        let guest = guest.borrow().clone();
        tokio::spawn(async move {
            if let Some(guest) = guest {
                // The client sees for itself that the call has ended.
                let _ended = guest.relay(client).await;
            }
            drop(permit);
        });
    }
}
