//! Sockets in the file system, whose paths may be longer than a socket address.

use rustix::fd::AsRawFd;
use rustix::fs::{Mode, OFlags};
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;

/// How long is waited before a socket is tried again whose queue is full.
const QUEUE_POLL: Duration = Duration::from_millis(10);

/// Connects to a socket, through its directory, held open.
pub(crate) async fn connect(socket: &Path) -> io::Result<UnixStream> {
    let (Some(directory), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory, flags, Mode::empty())?;
    let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
    loop {
        match UnixStream::connect(&short).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(QUEUE_POLL).await,
            connected => return connected,
        }
    }
}
